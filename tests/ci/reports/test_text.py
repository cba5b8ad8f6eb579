from typing import Any

import pytest

from ci.reports import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (53.1213, "53.12"),
        (-0.0123456, "−0.01235"),
        (442, "442"),
        (1234567, "1,234,567"),
        (12345.678, "12,346"),
        (0.0, "0"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (True, "–"),
        ("12", "–"),
    ],
)
def test_numbers_get_four_digits_a_real_minus_and_a_dash_where_there_is_none(value: Any, shown: str) -> None:
    assert text.number(value) == shown


def test_a_difference_has_its_sign_unless_it_is_zero_as_shown() -> None:
    assert text.number(1.5, 1, sign=True) == "+1.5"
    assert text.number(-0.04, 1, sign=True) == "0.0"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (7800, "2 h 10 min"),
        (-1, "0.0 s"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (48213, "48.2 kB"), (5e6, "5 MB"), (7.2e9, "7.2 GB"), (None, "–")],
)
def test_sizes(count: float | None, shown: str) -> None:
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("root_mean_squared_error", "minimize"),
        ("log_loss", "minimize"),
        ("r2", "maximize"),
        ("balanced_accuracy", "maximize"),
        ("roc_auc_ovr", "maximize"),
        ("neg_log_loss", "minimize"),
        ("churn", ""),
    ],
)
def test_the_direction_of_a_metric_follows_the_convention_in_its_name(name: str, direction: str) -> None:
    assert text.metric_direction(name) == direction


def test_metrics_are_named_as_people_name_them() -> None:
    names = ["root_mean_squared_error", "neg_mean_absolute_error", "roc_auc", "r2", "max_error"]
    assert [text.metric_name(name) for name in names] == ["RMSE", "MAE", "ROC AUC", "R²", "max error"]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "–"),
        (True, "yes"),
        (-0.5, "−0.5"),
        ([], "none"),
        (["a", 1], "a, 1"),
        ({"alpha": 1.0}, "alpha: 1"),
        ([{"a": 1}], '[{"a": 1}]'),
        ("x" * 200, "x" * 159 + "…"),
    ],
)
def test_values_of_any_kind_fit_in_a_line(content: Any, shown: str) -> None:
    assert text.value(content) == shown


def test_a_time_that_cannot_be_read_stays_as_it_is() -> None:
    assert text.moment("yesterday") == "yesterday"
    assert text.moment(None) == "–"
    assert text.moment("2026-11-23T10:15:02+00:00") == "23 Nov 2026, 10:15 UTC"
