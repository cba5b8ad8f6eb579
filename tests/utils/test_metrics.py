"""Metrics are found by scikit-learn's names, know their direction, and give what its scorers give."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from sklearn.pipeline import Pipeline

from utils import columns, metrics, models
from utils.metrics import MetricError

Case = tuple[Pipeline, pd.DataFrame, "pd.Series[Any]"]


def _classified(labels: list[object]) -> Case:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"a": rng.normal(size=120), "b": rng.normal(size=120)})
    place = np.digitize(table["a"] + rng.normal(size=120), np.linspace(-0.5, 0.5, len(labels) - 1))
    y = pd.Series([labels[i] for i in place], name="y")
    return models.fit(models.build("sklearn.linear_model.LogisticRegression", {}, table), table, y), table, y


@pytest.fixture
def binary() -> Case:
    return _classified(["benign", "malignant"])


@pytest.fixture
def several() -> Case:
    return _classified([3, 1, 2])


@pytest.fixture
def regression() -> Case:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"a": rng.uniform(1, 5, 120)})
    y = pd.Series(np.exp(table["a"] / 3 + rng.normal(size=120) / 5), name="y")
    return models.fit(models.build("sklearn.linear_model.Ridge", {}, table), table, y), table, y


def _value(name: str, case: Case) -> float:
    metric = metrics.find(name)
    model, table, y = case
    return metric(metric.truth(model, y), metric.respond(model, table))


def _scored(name: str, case: Case, **options: object) -> float:
    model, table, y = case
    scorer = sklearn.metrics.get_scorer(name)
    if options:
        scorer = sklearn.metrics.make_scorer(
            scorer._score_func, response_method=scorer._response_method, **options
        )
    return float(scorer(model, columns.prepare(table), y))


@pytest.mark.parametrize(
    "name",
    ["accuracy", "balanced_accuracy", "roc_auc", "neg_log_loss", "matthews_corrcoef"],
)
def test_a_binary_classifier_gets_what_the_scorer_gives(binary: Case, name: str) -> None:
    assert _value(name, binary) == pytest.approx(abs(_scored(name, binary)))


@pytest.mark.parametrize(
    "name", ["f1", "precision", "recall", "jaccard", "neg_brier_score", "average_precision"]
)
def test_the_last_class_is_the_positive_one_also_if_classes_are_texts(binary: Case, name: str) -> None:
    expected = _scored(name, binary, pos_label="malignant")
    assert _value(name, binary) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["accuracy", "f1_macro", "roc_auc_ovr", "roc_auc_ovo_weighted", "neg_log_loss", "neg_brier_score"]
)
def test_a_classifier_of_several_classes_gets_what_the_scorer_gives(several: Case, name: str) -> None:
    assert _value(name, several) == pytest.approx(abs(_scored(name, several)))


@pytest.mark.parametrize(
    "name",
    [
        "r2",
        "neg_root_mean_squared_error",
        "neg_mean_absolute_percentage_error",
        "neg_max_error",
        "neg_mean_poisson_deviance",
        "neg_root_mean_squared_log_error",
    ],
)
def test_a_regressor_gets_what_the_scorer_gives_in_the_natural_sign(regression: Case, name: str) -> None:
    assert _value(name, regression) == pytest.approx(abs(_scored(name, regression)))


@pytest.mark.parametrize(
    ("name", "shown", "direction", "label"),
    [
        ("neg_root_mean_squared_error", "root_mean_squared_error", "minimize", "RMSE"),
        ("root_mean_squared_error", "root_mean_squared_error", "minimize", "RMSE"),
        ("neg_log_loss", "log_loss", "minimize", "log loss"),
        ("log_loss", "log_loss", "minimize", "log loss"),
        ("neg_brier_score", "brier_score_loss", "minimize", "brier score loss"),
        ("roc_auc", "roc_auc", "maximize", "ROC AUC"),
        ("roc_auc_score", "roc_auc_score", "maximize", "ROC AUC"),
        ("mean_pinball_loss", "mean_pinball_loss", "minimize", "mean pinball loss"),
        ("cohen_kappa_score", "cohen_kappa_score", "maximize", "cohen kappa"),
        ("hinge_loss", "hinge_loss", "minimize", "hinge loss"),
    ],
)
def test_direction_and_names_are_known(name: str, shown: str, direction: str, label: str) -> None:
    metric = metrics.find(name)
    assert (metric.name, metric.direction, metric.label) == (shown, direction, label)
    assert metrics.find(name, direction).direction == direction
    assert metric.gain(1.0) == (1.0 if direction == "maximize" else -1.0)


@pytest.mark.parametrize(
    ("name", "direction", "message"),
    [
        ("rot_mean_squared_error", "", "nearest is root_mean_squared_error"),
        ("xyzzy", "", "take one of scikit-learn's"),
        ("roc_curve", "", "state direction"),
        ("fbeta_score", "", "There is no metric"),
        ("davies_bouldin_score", "", "There is no metric"),
        ("root_mean_squared_error", "maximize", "is to minimize, but direction is maximize"),
        ("accuracy", "up", "has to be maximize, minimize, or empty"),
    ],
)
def test_what_is_no_metric_or_stated_wrongly_is_refused(name: str, direction: str, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        metrics.find(name, direction)


def test_what_gives_more_than_one_number_is_refused(binary: Case) -> None:
    metric = metrics.find("confusion_matrix", "maximize")
    with pytest.raises(MetricError, match="doesn't give one number"):
        metric(np.array([0, 1]), np.array([0, 1]))


def test_every_metric_is_found_again_by_the_name_that_it_is_shown_with() -> None:
    for name in sklearn.metrics.get_scorer_names():
        found = metrics.find(name)
        assert (metrics.find(found.name).name, metrics.find(found.name).direction) == (
            found.name,
            found.direction,
        )


def test_every_scorer_of_scikit_learn_is_found() -> None:
    assert {metrics.find(name).direction for name in sklearn.metrics.get_scorer_names()} == {
        "maximize",
        "minimize",
    }


def test_what_is_undefined_is_nan_and_warns_nobody() -> None:
    one_class = np.zeros(5, dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metrics.find("roc_auc")(one_class, np.arange(5.0)))
        assert math.isnan(metrics.find("precision")(np.array([0, 1, 1]), np.array([0, 0, 0])))
        assert math.isnan(metrics.find("r2")(np.array([1.0]), np.array([1.0])))


def test_rows_that_a_function_refuses_are_an_error_with_its_reason() -> None:
    with pytest.raises(MetricError, match="root_mean_squared_error can't be evaluated: Input contains NaN"):
        metrics.find("root_mean_squared_error")(np.array([1.0]), np.array([np.nan]))


def test_a_class_that_the_model_never_saw_counts_as_a_miss_or_is_refused(binary: Case) -> None:
    model, table, y = binary
    strange = y.where(y.index > 0, "unheard of")
    accuracy = metrics.find("accuracy")
    assert accuracy(accuracy.truth(model, strange), accuracy.respond(model, table)) <= _value(
        "accuracy", binary
    )
    with pytest.raises(MetricError, match="never saw the class 'unheard of'"):
        metrics.find("neg_log_loss").truth(model, strange)


def test_a_metric_for_regression_does_not_judge_a_classifier(several: Case) -> None:
    model, _, y = several
    with pytest.raises(MetricError, match="metric for regression"):
        metrics.find("root_mean_squared_error").truth(model, y)


def test_a_metric_of_probabilities_does_not_judge_a_regressor(regression: Case) -> None:
    model, table, _ = regression
    with pytest.raises(models.ModelError, match="Ridge can't decision_function or predict_proba"):
        metrics.find("roc_auc").respond(model, table)


@pytest.mark.parametrize(
    "name",
    [
        "root_mean_squared_error",
        "neg_mean_squared_error",
        "neg_mean_absolute_error",
        "neg_root_mean_squared_log_error",
        "neg_mean_squared_log_error",
        "mean_pinball_loss",
        "r2",
    ],
)
def test_resamples_of_a_regression_equal_the_function_on_repeated_rows(regression: Case, name: str) -> None:
    _check_resamples(name, regression)


AGREEMENTS = [
    "balanced_accuracy",
    *(
        f"{name}_{average}"
        for name in ("f1", "precision", "recall")
        for average in ("macro", "micro", "weighted")
    ),
    "jaccard_macro",
]


@pytest.mark.parametrize(
    "name",
    [
        *("accuracy", "zero_one_loss", "roc_auc", "neg_log_loss", "neg_brier_score"),
        *("f1", "precision", "recall", "jaccard", "f1_score", "matthews_corrcoef", *AGREEMENTS),
    ],
)
def test_resamples_of_a_classification_equal_the_function_on_repeated_rows(binary: Case, name: str) -> None:
    _check_resamples(name, binary)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc_ovr", "neg_log_loss", "neg_brier_score", *AGREEMENTS])
def test_resamples_of_several_classes_equal_the_function_on_repeated_rows(several: Case, name: str) -> None:
    _check_resamples(name, several)


def _check_resamples(name: str, case: Case) -> None:
    model, table, y = case
    metric = metrics.find(name)
    truth, response = metric.truth(model, y), metric.respond(model, table)
    response = np.round(response, 1) if response.ndim == 1 and metric.methods != ("predict",) else response
    counts = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), size=5)
    counts[0] = 1
    if truth.dtype.kind == "i":  # a resample of one class, on which much is undefined
        counts[1] = np.where(truth == truth[0], counts[1], 0)
    drawn = [np.repeat(np.arange(len(y)), row) for row in counts]
    expected = [metric(truth[rows], response[rows]) for rows in drawn]
    np.testing.assert_allclose(metric.resampled(truth, response, counts), expected)


def test_a_resample_of_one_class_has_no_auc() -> None:
    truth, response = np.array([0, 1]), np.array([0.2, 0.7])
    found = metrics.find("roc_auc").resampled(truth, response, np.array([[2, 0], [1, 1], [0, 2]]))
    np.testing.assert_array_equal(found, [np.nan, 1.0, np.nan])
