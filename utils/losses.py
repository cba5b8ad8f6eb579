"""What common metrics are made of, so that thousands of resamples need no call of the metric for each.

Every function here gives what scikit-learn's of the same name gives; the tests hold them to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _log_loss(truth: NDArray[Any], response: Floats) -> Floats:
    if response.ndim == 1:
        response = np.column_stack([1 - response, response])
    loss: Floats = -np.log(np.clip(response, np.finfo(np.float64).eps, 1))[np.arange(len(truth)), truth]
    return loss


ROWS: dict[str, Callable[[NDArray[Any], NDArray[Any]], Floats]] = {
    "accuracy_score": lambda y, p: (y == p).astype(np.float64),
    "zero_one_loss": lambda y, p: (y != p).astype(np.float64),
    "brier_score_loss": lambda y, p: (y - p) ** 2,
    "log_loss": _log_loss,
    "mean_absolute_error": lambda y, p: np.abs(y - p),
    "mean_squared_error": lambda y, p: (y - p) ** 2,
    "root_mean_squared_error": lambda y, p: (y - p) ** 2,
    "mean_squared_log_error": lambda y, p: (np.log1p(y) - np.log1p(p)) ** 2,
    "root_mean_squared_log_error": lambda y, p: (np.log1p(y) - np.log1p(p)) ** 2,
    "mean_pinball_loss": lambda y, p: 0.5 * np.abs(y - p),
}


def auc(truth: NDArray[Any], response: Floats, counts: NDArray[np.int64]) -> Floats:
    """Area under the ROC curve of each resample, as the share of rightly ordered pairs, ties counted half.

    Parameters
    ----------
    truth : ndarray, shape (rows,)
        1 for the positive class.
    response : ndarray of float, shape (rows,)
        What speaks for the positive class.
    counts : ndarray of int, shape (resamples, rows)
        How often each resample holds each row.

    Returns
    -------
    ndarray, shape (resamples,)
        NaN for a resample of one class.

    References
    ----------
    J. A. Hanley and B. J. McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", Radiology 143 (1982), 29-36.
    """
    order = np.argsort(response, kind="stable")
    starts = np.flatnonzero(np.diff(response[order], prepend=-np.inf) > 0)
    drawn = counts[:, order].astype(np.float64)
    positive = np.add.reduceat(drawn * (truth[order] == 1), starts, axis=1)
    negative = np.add.reduceat(drawn * (truth[order] != 1), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    right = (positive * below).sum(axis=1)
    area: Floats = np.divide(right, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
    return area


def agreement(
    name: str, average: str, truth: NDArray[np.int64], response: NDArray[np.int64], counts: NDArray[np.int64]
) -> Floats:
    """Precision, recall, F1, Jaccard index or balanced accuracy of each resample, from its confusion matrix.

    Parameters
    ----------
    name : str
        One of `AGREEMENTS`.
    average : str
        "binary" for that of class 1, "micro", "macro" or "weighted"; not used by balanced accuracy.
    truth, response : ndarray of int, shape (rows,)
        True and predicted classes, counted from 0.
    counts : ndarray of int, shape (resamples, rows)
        How often each resample holds each row.

    Returns
    -------
    ndarray, shape (resamples,)
        NaN where the denominator of a class that occurs is zero.
    """
    classes = max(2, int(truth.max()) + 1, int(response.max()) + 1)
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + response] = 1
    confusion = (counts @ cells).reshape(-1, classes, classes)
    right, actual, predicted = np.einsum("rcc->rc", confusion), confusion.sum(axis=2), confusion.sum(axis=1)
    if average == "micro":
        right, actual, predicted = (part.sum(axis=1, keepdims=True) for part in (right, actual, predicted))
    above, below = {
        "balanced_accuracy_score": (right, actual),
        "f1_score": (2 * right, actual + predicted),
        "jaccard_score": (right, actual + predicted - right),
        "precision_score": (right, predicted),
        "recall_score": (right, actual),
    }[name]
    score: Floats = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    if name == "balanced_accuracy_score":
        found: Floats = np.nansum(score, axis=1) / (actual > 0).sum(axis=1)
    elif average == "binary":
        found = score[:, 1]
    else:
        occurs = actual + predicted > 0
        weights = actual if average == "weighted" else occurs.astype(np.float64)
        found = np.where(occurs, score * weights, 0).sum(axis=1) / weights.sum(axis=1)
    return found


AGREEMENTS = ("balanced_accuracy_score", "f1_score", "jaccard_score", "precision_score", "recall_score")
