"""Metrics by scikit-learn's names: which direction is better, what they ask of a model, their value."""

from __future__ import annotations

import difflib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import sklearn.metrics
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline

from utils import losses, models

Direction = Literal["maximize", "minimize"]
Floats = NDArray[np.float64]

LABELS = {
    "explained_variance": "explained variance",
    "f1": "F1",
    "mean_absolute_error": "MAE",
    "mean_absolute_percentage_error": "MAPE",
    "mean_squared_error": "MSE",
    "r2": "R²",
    "roc_auc": "ROC AUC",
    "root_mean_squared_error": "RMSE",
    "root_mean_squared_log_error": "RMSLE",
}


class MetricError(RuntimeError):
    """A metric is unknown, stated wrongly, or can't judge this model; the message says what to do next."""


@dataclass(frozen=True)
class Metric:
    """A metric in its own natural sign.

    Attributes
    ----------
    name : str
        scikit-learn's name for it. A scorer that negates a loss ("neg_log_loss") has the loss's name.
    direction : "maximize" or "minimize"
    function : callable
        Takes (truth, response), both as `truth` and `respond` give them.
    methods : tuple of str
        What it asks of a model; the first that the model has is used.
    options : mapping
        Keyword arguments for `function`.
    """

    name: str
    direction: Direction
    function: Callable[..., Any]
    methods: tuple[str, ...] = ("predict",)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A short name for people: "RMSE", "ROC AUC", "log loss"."""
        short = self.name.removesuffix("_score")
        return LABELS.get(short, short.replace("_", " "))

    def gain(self, difference: float) -> float:
        """Turn a difference, challenger minus opponent, into an improvement: positive is better."""
        return difference if self.direction == "maximize" else -difference

    def truth(self, model: Pipeline, y: pd.Series[Any]) -> NDArray[Any]:
        """Return the true values; for a classifier, the position of each class in the model's order.

        scikit-learn's functions take class 1 for the positive one, as its scorers take the last
        of the model's classes, whatever these are called.

        Raises
        ------
        MetricError
            If a class is none of the model's and the metric is about classes' probabilities or
            scores, or the metric is one for regression and the model a classifier.
        """
        values = np.asarray(y)
        if not is_classifier(model):
            return values.astype(np.float64)
        if self.function.__module__.endswith("._regression"):
            raise MetricError(f"{self.name} is a metric for regression: take one for classification.")
        places = _places(model, values)
        unknown = places == len(model.classes_)
        if unknown.any() and self.methods != ("predict",):
            raise MetricError(
                f"The model never saw the class {values[unknown][0]!r} in training, "
                f"so that its {self.label} is undefined: train it on rows of every class."
            )
        return places

    def respond(self, model: Pipeline, X: pd.DataFrame) -> NDArray[Any]:
        """Ask the model what the metric needs, in the form that it needs it.

        Returns
        -------
        ndarray
            Shape (rows,): predicted values, positions of predicted classes, or what speaks for
            the last of two classes. Shape (rows, classes) for more than two.

        Raises
        ------
        ModelError
            If the model can't give it.
        """
        response, method = models.respond(model, X, self.methods)
        if method == "predict":
            return _places(model, response) if is_classifier(model) else response.astype(np.float64)
        if response.ndim == 2 and response.shape[1] == 2:
            response = response[:, 1]
        return response.astype(np.float64)

    def __call__(self, truth: NDArray[Any], response: NDArray[Any]) -> float:
        """Evaluate.

        Returns
        -------
        float
            NaN where the metric is undefined, such as ROC AUC where all rows are of one class, also where
            scikit-learn would put a number in the place of what is undefined.

        Raises
        ------
        MetricError
            If the function refuses these rows, or gives something else than one number.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", UndefinedMetricWarning)
            try:
                value = self.function(truth, response, **self.options, **self._labels(response))
            except UndefinedMetricWarning:
                return math.nan
            except (TypeError, ValueError, IndexError) as error:
                raise MetricError(f"{self.name} can't be evaluated: {error}") from error
        if np.ndim(value) != 0 or isinstance(value, str | dict):
            raise MetricError(f"{self.name} doesn't give one number: take another metric.")
        return float(value)

    def rows(self, truth: NDArray[Any], response: NDArray[Any]) -> Floats | None:
        """Return each row's part of a metric that is a mean, or its root, of such; None for others."""
        part = losses.ROWS.get(self.function.__name__)
        binary_only = self.function.__name__ == "brier_score_loss" and response.ndim == 2
        return None if part is None or self.options or binary_only else part(truth, response)

    def resampled(self, truth: NDArray[Any], response: NDArray[Any], counts: NDArray[np.int64]) -> Floats:
        """Evaluate on resamples of the rows.

        Parameters
        ----------
        counts : ndarray of int, shape (resamples, rows)
            How often each resample holds each row.

        Returns
        -------
        ndarray, shape (resamples,)
            NaN where the metric is undefined on a resample.
        """
        parts = self.rows(truth, response)
        if parts is not None:
            mean: Floats = counts @ parts / counts.sum(axis=1)
            return np.sqrt(mean) if self.function.__name__.startswith("root_") else mean
        if self.function.__name__ == "roc_auc_score" and response.ndim == 1 and not self.options:
            return losses.auc(truth, response, counts)
        average = self.options.get("average", "binary")
        if self._is_agreement and average in ("binary", "micro", "macro", "weighted"):
            return losses.agreement(self.function.__name__, average, truth, response, counts)
        places = np.arange(len(truth))
        drawn = (np.repeat(places, row) for row in counts)
        return np.array([self(truth[rows], response[rows]) for rows in drawn])

    @property
    def _is_agreement(self) -> bool:
        others = set(self.options) - {"average", "pos_label"}
        return self.function.__name__ in losses.AGREEMENTS and not others

    def quick(self, truth: NDArray[Any], response: NDArray[Any]) -> bool:
        """Tell whether `resampled` needs no call of the function for each resample."""
        parts = self.rows(truth, response) is not None
        return (
            parts or self._is_agreement or (self.function.__name__ == "roc_auc_score" and response.ndim == 1)
        )

    def _labels(self, response: NDArray[Any]) -> dict[str, Any]:
        """Name all classes to functions that else would know only of those among the rows."""
        if self.methods == ("predict",):
            return {}
        known = inspect.signature(self.function).parameters
        found: dict[str, Any] = {}
        if "labels" in known:
            found["labels"] = np.arange(2 if response.ndim == 1 else response.shape[1])
        if "pos_label" in known and response.ndim == 1:
            found["pos_label"] = 1
        return found


def find(name: str, direction: str = "") -> Metric:
    """Find a metric.

    Parameters
    ----------
    name : str
        The name of a scorer ("neg_root_mean_squared_error", "roc_auc") or of a function
        of sklearn.metrics ("root_mean_squared_error", "mean_pinball_loss").
    direction : str
        "maximize" or "minimize"; "" for the metric's own.

    Raises
    ------
    MetricError
        If there is no such metric, naming the nearest, or if the direction is wrong or has to be stated.

    References
    ----------
    scikit-learn, User Guide, "Metrics and scoring": functions ending with _score return a value to
    maximize, those ending with _error, _loss or _deviance one to minimize.
    """
    if direction not in ("", "maximize", "minimize"):
        raise MetricError(f"direction is {direction!r}: it has to be maximize, minimize, or empty.")
    metric = _scorer(name) or _function(name) or _scorer(f"neg_{name}")
    if metric is None:
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f"the nearest is {near[0]}" if near else "take one of scikit-learn's"
        raise MetricError(f"There is no metric {name!r}: {hint}.")
    own, *known = metric
    if own is None and not direction:
        raise MetricError(f"Whether {name} is to maximize or to minimize can't be known: state direction.")
    if own is not None and direction not in ("", own):
        raise MetricError(f"{known[0]} is to {own}, but direction is {direction}: correct or remove it.")
    return Metric(known[0], own or direction, *known[1:])  # type: ignore[arg-type]


@cache
def names() -> tuple[str, ...]:
    """Return the names that `find` knows."""
    functions = (name for name in sklearn.metrics.__all__ if _function(name) is not None)
    return tuple(sorted({*sklearn.metrics.get_scorer_names(), *functions}))


_Found = tuple[str | None, str, Callable[..., Any], tuple[str, ...], Mapping[str, Any]]


def _scorer(name: str) -> _Found | None:
    if name not in sklearn.metrics.get_scorer_names():
        return None
    scorer = sklearn.metrics.get_scorer(name)
    function = scorer._score_func
    natural = name if scorer._sign > 0 else function.__name__
    return _sense(scorer), natural, function, _methods(scorer), scorer._kwargs


def _function(name: str) -> _Found | None:
    function = getattr(sklearn.metrics, name, None) if name in sklearn.metrics.__all__ else None
    if not inspect.isfunction(function):
        return None
    parameters = list(inspect.signature(function).parameters.values())
    needs_more = any(each.default is each.empty for each in parameters[2:])
    if needs_more or len(parameters) < 2 or parameters[0].name not in ("y_true", "labels_true", "y1"):
        return None  # not a judgement of a response by the truth, or one that needs to be told more
    for scorer in map(sklearn.metrics.get_scorer, sklearn.metrics.get_scorer_names()):
        if scorer._score_func is function:
            return _sense(scorer), name, function, _methods(scorer), {}
    asked = {
        "y_score": ("decision_function", "predict_proba"),
        "y_proba": ("predict_proba",),
        "pred_decision": ("decision_function",),
    }
    own = None
    if name.endswith("_score"):
        own = "maximize"
    elif name.endswith(("_error", "_loss", "_deviance")):
        own = "minimize"
    return own, name, function, asked.get(parameters[1].name, ("predict",)), {}


def _sense(scorer: Any) -> str:
    return "maximize" if scorer._sign > 0 else "minimize"


def _methods(scorer: Any) -> tuple[str, ...]:
    asked = scorer._response_method
    return (asked,) if isinstance(asked, str) else tuple(asked)


def _places(model: Pipeline, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return each class's position in the model's order; one past the last for a class unknown to it."""
    found: NDArray[np.int64] = pd.Index(model.classes_).get_indexer(pd.Index(values)).astype(np.int64)
    found[found < 0] = len(model.classes_)
    return found
