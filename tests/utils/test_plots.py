"""Figures say what they show, leave nothing in memory, and stay calm when there is nothing to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from sklearn.pipeline import Pipeline

from utils import comparison, decisions, evaluation, metrics, models, plots
from utils.evaluation import Evaluation


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": np.r_[np.nan, random.normal(50, 9, 59)],
            "town of birth, or of residence": random.choice(["Ulm", "Bonn", "Kiel"], 60),
            "member": random.random(60) > 0.5,
            "void": np.full(60, np.nan),
        }
    )


@pytest.fixture
def y() -> pd.Series[float]:
    return pd.Series(np.random.default_rng(1).normal(100, 20, 60), name="price")


def _model(estimator: str, table: pd.DataFrame, y: pd.Series[Any], **hyperparameters: object) -> Pipeline:
    return models.fit(models.build(estimator, hyperparameters, table, scale=True), table, y)


def _evaluation(
    low: float, high: float, metric: str = "root_mean_squared_error", least: float = 0
) -> Evaluation:
    evidence = decisions.Evidence(
        policy=decisions.Policy(metric=metric, minimum_improvement=least),
        rows=89,
        challenger={metric: 0.5},
        opponent="champion version 3",
        opponent_metrics={metric: 0.5 - (low + high) / 2},
        difference=comparison.Difference(
            estimate=(low + high) / 2, low=low, high=high, confidence=0.95, method="paired bootstrap"
        ),
    )
    return Evaluation(*decisions.decide(evidence), evidence, metrics.find(metric))


def _words(figure: plots.Plot) -> str:
    """Everything that is written in a figure."""
    found = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in axes.texts]
        found += [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
        legend = axes.get_legend()
        found += [text.get_text() for text in legend.get_texts()] if legend else []
    return "\n".join(found)


def _check(figure: plots.Plot) -> str:
    """Draw a figure as a notebook would; return what is written in it."""
    data, size = figure._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size["width"] == 800
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    assert all(to_hex(axes.get_facecolor()) == "#ffffff" for axes in figure.axes)
    assert pyplot.get_fignums() == []
    assert figure.get_suptitle()
    return _words(figure)


def test_distributions_show_both_sides_and_the_share_held_out(
    table: pd.DataFrame, y: pd.Series[float]
) -> None:
    words = _check(plots.distributions((table[:45], y[:45]), (table[45:], y[45:])))
    assert "45 training rows, 15 held out (25.0 %)" in words
    assert "price (target)" in words
    assert "town of birth, …" in words
    assert "share of rows" in words
    assert "Bonn" in words


def test_predictions_of_numbers_stand_side_by_side(table: pd.DataFrame, y: pd.Series[float]) -> None:
    both = {
        "challenger": _model("sklearn.linear_model.Ridge", table, y),
        "opponent": _model("sklearn.dummy.DummyRegressor", table, y),
    }
    asked = evaluation.predictions(both, table, y)
    figure = plots.predictions(asked, "baseline", target="price (EUR)")
    words = _check(figure)
    assert len(figure.axes) == 2
    for expected in (
        "Baseline (RMSE",
        "Challenger (RMSE",
        "true price (EUR)",
        "predicted price (EUR)",
        "60 held-out",
    ):
        assert expected in words
    assert len(plots.predictions(asked[["truth", "challenger"]], rows="training rows").axes) == 1


def test_predictions_of_two_classes_come_with_their_roc_curves(
    table: pd.DataFrame, y: pd.Series[float]
) -> None:
    classes = y.gt(100).map({True: "dear", False: "cheap"})
    path = "sklearn.linear_model.LogisticRegression"
    both = {"challenger": _model(path, table, classes), "opponent": _model(path, table, classes, C=0.01)}
    figure = plots.predictions(
        evaluation.predictions(both, table, classes), "champion version 3", target="price"
    )
    words = _check(figure)
    assert len(figure.axes) == 3
    for expected in ("true price", "predicted price", "cheap", "false positive rate", "challenger\n(area 0."):
        assert expected in words


def test_predictions_of_several_classes_keep_the_models_order(
    table: pd.DataFrame, y: pd.Series[float]
) -> None:
    classes = pd.Series(np.arange(60) % 11, name="n")
    model = _model("sklearn.tree.DecisionTreeClassifier", table, classes, max_depth=2)
    asked = evaluation.predictions({"challenger": model}, table, classes.replace(3, 99))
    assert asked["truth"].cat.categories.tolist() == [*range(11), 99]
    figure = plots.predictions(asked)
    _check(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][-2:] == ["10", "99"]


def test_rows_of_one_class_have_no_roc_curve_but_a_figure(table: pd.DataFrame, y: pd.Series[float]) -> None:
    classes = y.gt(100).map({True: "dear", False: "cheap"})
    model = _model("sklearn.linear_model.LogisticRegression", table, classes)
    asked = evaluation.predictions(
        {"challenger": model}, table[classes == "dear"], classes[classes == "dear"]
    )
    assert "area" not in _check(plots.predictions(asked))


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("sklearn.linear_model.Ridge", "Coefficients of Ridge"),
        ("sklearn.linear_model.LogisticRegression", "mean over the classes"),
        ("sklearn.tree.DecisionTreeRegressor", "share of the impurity removed"),
        ("sklearn.dummy.DummyRegressor", "knows neither coefficients nor importances"),
    ],
)
def test_importances_are_what_the_estimator_knows(
    table: pd.DataFrame, y: pd.Series[float], estimator: str, expected: Any
) -> None:
    target = pd.qcut(y, 3, labels=["a", "b", "c"]).astype(str) if "Logistic" in estimator else y
    words = _check(plots.importances(_model(estimator, table, target)))
    assert expected in words
    assert "Dummy" in estimator or "town of birth" in words


def test_of_many_importances_the_largest_are_shown(table: pd.DataFrame, y: pd.Series[float]) -> None:
    figure = plots.importances(_model("sklearn.linear_model.Ridge", table, y), most=2)
    assert "the 2 largest of 6" in _check(figure)
    assert len(figure.axes[0].patches) == 2


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            _evaluation(-2.4, -0.2),
            ["RMSE: challenger minus champion version 3", "-2.4", "-1.3", "-0.2", "89 rows"],
        ),
        (_evaluation(-0.01, 0.07, "accuracy"), ["Accuracy", "+0.07", "challenger better"]),
        (_evaluation(-2.4, -0.2, least=0.5), ["asked for"]),
        (_evaluation(0.0, 0.0), ["+0"]),
    ],
)
def test_the_difference_is_drawn_with_its_interval_and_the_better_side(
    found: Evaluation, expected: list[str]
) -> None:
    words = _check(plots.difference(found, unit="EUR"))
    assert all(each in words for each in expected)
    assert "difference (EUR), 95 % interval by paired bootstrap" in words


def test_the_improvement_asked_for_is_on_the_better_side() -> None:
    for metric, place in (("root_mean_squared_error", -0.5), ("accuracy", 0.5)):
        figure = plots.difference(_evaluation(-2.4, 2.2, metric, least=0.5))
        written = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
        assert written["asked for"] == place
        assert (written["challenger better"] > 0) == (place > 0)


def test_a_blocked_evaluation_has_a_figure_that_says_why() -> None:
    evidence = decisions.Evidence(
        policy=decisions.Policy(metric="r2"), rows=0, challenger={}, opponent="", opponent_metrics={},
        difference=None, problems=["The champion version 3 can't be read"],
    )  # fmt: skip
    blocked = Evaluation(*decisions.decide(evidence), evidence)
    assert "Blocked: The champion version 3 can't be read." in _check(plots.difference(blocked))
    assert "the models were not asked" in _check(plots.predictions(blocked.predictions))


def test_latency_shows_its_percentiles_and_tells_what_it_leaves_out() -> None:
    times = np.r_[np.linspace(1, 2, 999), 80.0]
    words = _check(plots.latency(times))
    for expected in (
        "Latency of 1,000 requests",
        "50 %: 1.5 ms",
        "99 %: 1.99 ms",
        "1 slower, up to 80 ms",
        "(ms)",
    ):
        assert expected in words
    assert "No request" in _check(plots.latency([]))
    _check(plots.latency([3.0]))


def test_a_saved_figure_is_a_png_of_twice_the_pixels(tmp_path: Path) -> None:
    path = plots.save(plots.explained("Title", "Text"), tmp_path / "plots" / "figure.png")
    width = int.from_bytes(path.read_bytes()[16:20])
    assert width == 1600
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


def test_a_figure_is_drawn_again_only_if_something_in_it_has_changed() -> None:
    figure = plots.latency([1.0, 2.0, 3.0])
    first = figure.png()
    assert figure.png() is first
    figure.axes[0].lines[0].set_color("red")
    assert figure.png() != first
