"""Intervals hold the truth as often as they say, and are refused where they could not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from utils import comparison, metrics
from utils.comparison import ComparisonError, difference

RMSE = metrics.find("root_mean_squared_error")


def root_mean_squared_error(truth: np.ndarray, response: np.ndarray) -> float:
    """Do without scikit-learn's checks, which cost more than the arithmetic in simulations."""
    return float(np.sqrt(np.mean((truth - response) ** 2)))


QUICK = dataclasses.replace(RMSE, function=root_mean_squared_error)


def _errors(seed: int, rows: int, challenger: float = 1.0, opponent: float = 1.2) -> list[np.ndarray]:
    """Truth and the responses of two models, whose errors have these spreads and much in common."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=rows)
    off = [scale * (0.8 * shared + 0.6 * random.normal(size=rows)) for scale in (challenger, opponent)]
    truth = random.normal(size=rows)
    return [truth, truth + off[0], truth + off[1]]


@pytest.mark.parametrize(("rows", "limit"), [(60, 100_000), (1_000, 0)])
def test_nine_of_ten_intervals_hold_the_true_difference(rows: int, limit: int) -> None:
    held = 0
    for seed in range(200):
        found = difference(
            QUICK, *_errors(seed, rows), confidence=0.9, seed=seed, resamples=400, limit=limit, blocks=50
        )
        held += found.low <= -0.2 <= found.high
    assert 0.85 <= held / 200 <= 0.95


def test_without_a_true_difference_few_intervals_exclude_zero() -> None:
    wrong = 0
    for seed in range(200):
        found = difference(QUICK, *_errors(seed, 80, 1.0, 1.0), confidence=0.95, resamples=400)
        wrong += not found.low <= 0 <= found.high
    assert wrong / 200 <= 0.09


@pytest.mark.parametrize("limit", [100_000, 0])
def test_identical_predictions_differ_by_exactly_nothing(limit: int) -> None:
    truth, response, _ = _errors(0, 500)
    found = difference(RMSE, truth, response, response.copy(), limit=limit)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["root_mean_squared_error", "r2", "roc_auc"])
def test_both_methods_agree_around_the_limit(name: str) -> None:
    truth, challenger, opponent = _errors(1, 4_000, 1.0, 1.1)
    if name == "roc_auc":
        truth = (truth > 0).astype(np.int64)
    below, above = (
        difference(metrics.find(name), truth, challenger, opponent, resamples=300, limit=limit)
        for limit in (40_000, 100)
    )
    assert below.method.startswith("paired bootstrap")
    assert above.method.startswith("batch means")
    assert below.estimate == above.estimate
    assert (above.high - above.low) == pytest.approx(below.high - below.low, rel=0.25)


def test_above_the_limit_every_row_is_evaluated_a_fixed_number_of_times() -> None:
    seen: list[int] = []

    def counted(truth: np.ndarray, response: np.ndarray) -> float:
        seen.append(len(truth))
        return float(np.mean(truth - response))

    metric = dataclasses.replace(RMSE, function=counted)
    for rows in (20_000, 200_000):
        seen.clear()
        difference(metric, *_errors(2, rows))
        assert sum(seen) == 4 * rows


def test_the_same_seed_gives_the_same_interval() -> None:
    errors = _errors(3, 100)
    assert difference(RMSE, *errors, seed=5) == difference(RMSE, *errors, seed=5)
    assert difference(RMSE, *errors, seed=5) != difference(RMSE, *errors, seed=6)


@pytest.mark.parametrize("limit", [100_000, 0])
def test_rows_that_are_told_five_times_make_nothing_surer_when_grouped(limit: int) -> None:
    errors = _errors(4, 200)
    once = difference(RMSE, *errors, limit=limit, blocks=40)
    five = difference(
        RMSE, *(np.tile(e, 5) for e in errors), groups=np.tile(np.arange(200), 5), limit=limit, blocks=40
    )
    assert (five.low, five.high) == pytest.approx((once.low, once.high))
    assert difference(RMSE, *(np.tile(e, 5) for e in errors), limit=limit).high < once.high


def test_a_metric_that_is_undefined_on_some_resamples_is_drawn_again() -> None:
    truth = np.array([1] * 4 + [0] * 60)
    random = np.random.default_rng(0)
    found = difference(metrics.find("roc_auc"), truth, random.random(64), random.random(64), resamples=300)
    assert found.low < found.estimate < found.high


def test_a_metric_that_is_undefined_on_many_resamples_is_refused() -> None:
    truth = np.array([1] + [0] * 60)
    random = np.random.default_rng(0)
    with pytest.raises(ComparisonError, match=r"ROC AUC is undefined on \d+% of the resamples"):
        difference(metrics.find("roc_auc"), truth, random.random(61), random.random(61))


def test_blocks_without_a_positive_are_made_larger_or_refused() -> None:
    random = np.random.default_rng(0)
    truth = (np.arange(6_000) % 40 == 0).astype(np.int64)
    scores = random.random((2, 6_000)) + truth / 2
    found = difference(metrics.find("roc_auc"), truth, *scores, limit=0)
    assert found.method == "batch means (25 blocks, Student's t)"
    truth[80:] = 0
    with pytest.raises(ComparisonError, match="undefined on blocks"):
        difference(metrics.find("roc_auc"), truth, *scores, limit=0)


def test_a_metric_that_is_undefined_on_all_rows_is_refused() -> None:
    with pytest.raises(ComparisonError, match="undefined on the held-out rows"):
        difference(metrics.find("roc_auc"), np.zeros(50, dtype=int), np.arange(50.0), np.arange(50.0))


def test_too_few_rows_or_groups_are_refused() -> None:
    with pytest.raises(ComparisonError, match="9 rows"):
        difference(RMSE, *_errors(0, 9))
    with pytest.raises(ComparisonError, match="3 groups"):
        difference(RMSE, *_errors(0, 90), groups=np.arange(90) % 3)


def test_a_difference_that_chance_can_not_move_has_no_width() -> None:
    truth = np.arange(50.0)
    found = difference(RMSE, truth, truth + 1, truth + 2)
    assert (found.low, found.high) == (-1.0, -1.0)


def test_many_rows_are_compared_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = _errors(5, 300)
    whole = difference(RMSE, *errors, resamples=200)
    monkeypatch.setattr(comparison, "CELLS", 3_000)
    portions = difference(RMSE, *errors, resamples=200)
    assert (portions.low, portions.high) == pytest.approx((whole.low, whole.high))
