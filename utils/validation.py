"""Cross-validation: how good a model is on rows that it hasn't learned from, by the training rows alone.

The held-out rows have no part in it. So models may be chosen by it, and the comparison on the held-out rows
stays as fair as if there had been no choice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import Pipeline

from utils import metrics, models, splits, tables
from utils.data import Snapshot

Rows = NDArray[np.intp]


class ValidationError(RuntimeError):
    """The rows can't be cross-validated as asked; the message says what to change."""


@dataclass(frozen=True)
class Validation:
    """What cross-validation found.

    Attributes
    ----------
    metric : Metric or None
        None where there was none to be made.
    values : sequence of float
        The metric on each fold, in its natural sign.
    how : str
        How the folds were made, in words.
    """

    metric: metrics.Metric | None = None
    values: Sequence[float] = ()
    how: str = ""

    @property
    def mean(self) -> float:
        """The mean of the folds' values."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation of the folds' values."""
        return statistics.stdev(self.values)

    @property
    def standard_error(self) -> float:
        """The standard error of the mean, as if the folds were independent.

        They share training rows, so it is somewhat too small, and no unbiased estimate exists.

        References
        ----------
        Y. Bengio and Y. Grandvalet, "No Unbiased Estimator of the Variance of K-Fold Cross-Validation",
        Journal of Machine Learning Research 5 (2004).
        """
        return self.deviation / math.sqrt(len(self.values))

    @property
    def metrics(self) -> dict[str, float]:
        """What the run history keeps of it: mean and standard error; {} where there is none."""
        if self.metric is None:
            return {}
        name = f"validation_{self.metric.name}"
        return {name: self.mean, f"{name}_standard_error": self.standard_error}

    def record(self) -> dict[str, Any]:
        """Return it as a scrap: metric, direction, mean, standard_error, values, how; {} if there is none."""
        if self.metric is None:
            return {}
        return {
            "metric": self.metric.name,
            "direction": self.metric.direction,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "values": list(self.values),
            "how": self.how,
        }

    def facts(self) -> dict[str, Any]:
        """Return it as a table's lines: mean with its standard error, spread, each fold, how it was done."""
        if self.metric is None:
            return {"cross-validation": "none: the parameter folds is 0"}
        return {
            self.metric.label: f"{tables.shown(self.mean)} ± {tables.shown(self.standard_error)}",
            "standard deviation": self.deviation,
            "fold by fold": list(self.values),
            "how": self.how,
        }


def cross_validate(model: Pipeline, rows: Snapshot, *, metric: str, folds: int, seed: int) -> Validation:
    """Score a model's kind on each fold of the training rows, having learned from the others.

    Parameters
    ----------
    model : Pipeline
        What `utils.models.build` returns, fitted or not; it stays as it is. Of its columns only
        the kind is taken as known; whatever is learned is learned from the rows of each fold.
    rows : Snapshot
        The data. Its held-out rows aren't looked at.
    metric : str
        A metric's name, as `utils.metrics.find` knows it.
    folds : int
        How many; 0 for no cross-validation.
    seed : int
        Chooses among the possible folds.

    Raises
    ------
    ValidationError
        If the rows can't be parted into so many folds, or the metric is undefined on one of them.
    MetricError, ModelError
        As `utils.metrics` and `utils.models` do.
    """
    if folds == 0:
        return Validation()
    if folds < 2:
        raise ValidationError(f"folds is {folds}: it has to be 2 or more, or 0 for no cross-validation.")
    X, y = rows.training
    found = metrics.find(metric)
    values: list[float] = []
    for learned, held in parts(rows, folds, classify=is_classifier(model), seed=seed):
        candidate = models.fit(clone(model), X.iloc[learned], y.iloc[learned])
        value = found(found.truth(candidate, y.iloc[held]), found.respond(candidate, X.iloc[held]))
        if not math.isfinite(value):
            raise ValidationError(
                f"{found.label} is undefined on fold {len(values) + 1} of {folds} ({len(held)} rows): "
                "take fewer folds, or another metric."
            )
        values.append(value)
    return Validation(found, values, _described(rows.split, folds, classify=is_classifier(model)))


def parts(rows: Snapshot, folds: int, *, classify: bool, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Part the training rows into folds.

    Whole groups stay together where the split has a group; with a time the folds go forward in it: each
    is scored by what was learned from the rows before. Rows that are the same under the split
    (`utils.splits.row_hashes`) are always in one fold. Classes have about the same shares in all folds.

    Yields
    ------
    learned, scored : ndarray of int
        Positions among the training rows.

    Raises
    ------
    ValidationError
        If there are too few rows, groups, times, or rows of a class.
    """
    _, y = rows.training
    classes = np.asarray(y) if classify else np.zeros(len(y))
    try:
        if rows.split.method == "time":
            yield from _forward(rows, folds)
        elif rows.split.method == "group":
            groups = rows.row_hashes[~rows.held_out_rows]
            splitter = (
                StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
                if classify
                else GroupKFold(folds)
            )
            yield from splitter.split(np.zeros(len(y)), classes, groups)
        else:
            # Whoever is there several times is drawn once.
            _, first, place = np.unique(
                rows.row_hashes[~rows.held_out_rows], return_index=True, return_inverse=True
            )
            kind = StratifiedKFold if classify else KFold
            for learned, scored in kind(folds, shuffle=True, random_state=seed).split(first, classes[first]):
                yield np.flatnonzero(np.isin(place, learned)), np.flatnonzero(np.isin(place, scored))
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValidationError(
            f"The {len(y)} training rows can't be parted into {folds} folds ({reason}): take fewer folds."
        ) from error


def _forward(rows: Snapshot, folds: int) -> Iterator[tuple[Rows, Rows]]:
    """Part rows by time. Rows of one moment stay together, so that none learns from its own present."""
    moments = splits.moments(rows.frame.loc[~rows.held_out_rows, rows.split.time])
    distinct, place = np.unique(moments.to_numpy(), return_inverse=True)
    for learned, scored in TimeSeriesSplit(folds).split(distinct):
        yield np.flatnonzero(np.isin(place, learned)), np.flatnonzero(np.isin(place, scored))


def _described(plan: splits.SplitPlan, folds: int, *, classify: bool) -> str:
    way = {"group": f", whole groups of {plan.group}", "time": f", forward in {plan.time}"}.get(
        plan.method, ""
    )
    even = ", the same shares of classes in each" if classify and plan.method != "time" else ""
    return f"{folds}-fold cross-validation on the training rows{way}{even}"
