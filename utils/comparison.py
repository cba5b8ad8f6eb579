"""How sure it is that one model is better than another: an interval for the difference on the same rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

from utils.metrics import Metric

Floats = NDArray[np.float64]

LEAST_UNITS = 10
LEAST_BLOCKS = 20
MOST_UNDEFINED = 0.1
CELLS = 2_000_000  # of a block of resamples by rows, to keep it within some 50 MB


class ComparisonError(RuntimeError):
    """No interval can be had that deserves trust; the message says why and what to do next."""


class Difference(BaseModel):
    """A difference between two models, challenger minus opponent, in the metric's own units.

    Attributes
    ----------
    estimate : float
        On all rows.
    low, high : float
        Bounds of the two-sided interval.
    confidence : float
        The interval's nominal coverage, between 0 and 1.
    method : str
        How the interval was found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


def difference(
    metric: Metric,
    truth: NDArray[Any],
    challenger: NDArray[Any],
    opponent: NDArray[Any],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
    resamples: int = 2_000,
    limit: int = 100_000,
    blocks: int = 100,
) -> Difference:
    """Estimate the difference of a metric between two models and how far chance may have moved it.

    Up to `limit` rows by a paired bootstrap; above, where that becomes slow, from the spread over disjoint
    blocks of rows, whose cost is that of evaluating the metric twice. Metrics that have to be called anew
    for every resample (see `utils.metrics.Metric.resampled`) change over at a tenth of `limit`.

    Parameters
    ----------
    truth, challenger, opponent : ndarray, shape (rows,) or (rows, classes)
        The true values and both models' responses on the same rows, as the metric gives them.
    confidence : float
        Nominal coverage of the two-sided interval.
    groups : ndarray, shape (rows,), optional
        Rows of one group (a patient, a day) are drawn together, as they tell less than independent rows.

    Raises
    ------
    ComparisonError
        If the metric is undefined on the rows or on many resamples, or there are too few rows or groups.
    """
    estimate = metric(truth, challenger) - metric(truth, opponent)
    if not math.isfinite(estimate):
        raise ComparisonError(f"The difference in {metric.label} is undefined on the held-out rows.")
    codes = np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = int(codes.max()) + 1
    if units < LEAST_UNITS:
        what = "rows" if groups is None else "groups"
        raise ComparisonError(
            f"There are {units} {what} to compare on, which is too few for an interval: hold out more."
        )
    pair = _Pair(metric, truth, challenger, opponent, codes, None if groups is None else units)
    if len(truth) > (limit if metric.quick(truth, challenger) else limit // 10):
        low, high, method = _batch_means(pair, estimate, confidence, seed, min(blocks, units // 2))
    else:
        low, high, method = _bootstrap(pair, estimate, confidence, seed, resamples)
    return Difference(estimate=estimate, low=low, high=high, confidence=confidence, method=method)


class _Pair:
    """Two models' responses on the same rows, to be compared on many draws of these."""

    def __init__(
        self,
        metric: Metric,
        truth: NDArray[Any],
        challenger: NDArray[Any],
        opponent: NDArray[Any],
        codes: NDArray[Any],
        groups: int | None,
    ) -> None:
        self.metric, self.truth, self.challenger, self.opponent = metric, truth, challenger, opponent
        self.codes, self.groups, self.units = codes, groups, int(codes.max()) + 1
        self.identical = bool(np.array_equal(challenger, opponent))
        self.chunk = max(1, CELLS // len(truth))

    def differences(self, counts: NDArray[np.int64]) -> Floats:
        """Return the difference on each of several draws; counts has shape (draws, units)."""
        if self.groups is not None:
            counts = counts[:, self.codes]
        first = self.metric.resampled(self.truth, self.challenger, counts)
        return first - self.metric.resampled(self.truth, self.opponent, counts)

    def on(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> float:
        """Return the difference on some of the rows."""
        truth = self.truth[rows]
        return self.metric(truth, self.challenger[rows]) - self.metric(truth, self.opponent[rows])


def _bootstrap(
    pair: _Pair, estimate: float, confidence: float, seed: int, resamples: int
) -> tuple[float, float, str]:
    """Find the bias-corrected and accelerated (BCa) interval of the paired bootstrap.

    BCa rather than plain percentiles, because a metric such as RMSE on some hundred rows is skewed, and BCa's
    error in coverage falls with the rows where that of percentiles falls with their square root. Resamples
    on which the metric is undefined (one class alone) are drawn again, so the interval holds given
    that it is defined; that is refused where it would matter.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 14. Groups
    drawn as a whole: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (1997), 3.8.
    """
    method = f"paired bootstrap (BCa, {resamples:,} resamples"
    method += ")" if pair.groups is None else f" of {pair.groups:,} groups)"
    if pair.identical:
        return 0.0, 0.0, method
    found = _redrawn(pair, seed, resamples)
    if np.ptp(found) == 0:
        return float(found[0]), float(found[0]), method
    # The share below the estimate, ties counted half: metrics such as accuracy have many.
    below = (np.mean(found < estimate) + np.mean(found <= estimate)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / (resamples + 1), resamples / (resamples + 1)))
    acceleration = _acceleration(pair, seed)
    tails = stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    shares = stats.norm.cdf(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(found, shares)
    return float(low), float(high), method


def _redrawn(pair: _Pair, seed: int, resamples: int) -> Floats:
    random = np.random.default_rng(seed)
    found: list[Floats] = []
    kept = drawn = 0
    while kept < resamples:
        size = min(pair.chunk, resamples - kept)
        places = random.integers(0, pair.units, (size, pair.units)) + np.arange(size)[:, None] * pair.units
        counts = np.bincount(places.ravel(), minlength=size * pair.units).reshape(size, pair.units)
        values = pair.differences(counts)
        values = values[np.isfinite(values)]
        drawn, kept = drawn + size, kept + len(values)
        found.append(values)
        if drawn - kept > MOST_UNDEFINED * resamples:
            raise ComparisonError(
                f"{pair.metric.label} is undefined on {1 - kept / drawn:.0%} of the resamples: "
                "hold out more rows, or choose a metric that is defined on them."
            )
    return np.concatenate(found)


def _acceleration(pair: _Pair, seed: int) -> float:
    """Estimate the skewness of the difference by a jackknife that leaves out at most 200 blocks of units."""
    blocks = np.random.default_rng(seed).permutation(np.arange(pair.units) % min(pair.units, 200))
    left_out = np.arange(blocks.max() + 1)
    parts = [
        pair.differences((blocks[None, :] != some[:, None]).astype(np.int64))
        for some in np.array_split(left_out, math.ceil(len(left_out) / pair.chunk))
    ]
    values = np.concatenate(parts)
    off = np.mean(values[np.isfinite(values)]) - values[np.isfinite(values)]
    spread = float(np.sum(off**2))
    return float(np.sum(off**3)) / (6 * spread**1.5) if spread > 0 else 0.0


def _batch_means(
    pair: _Pair, estimate: float, confidence: float, seed: int, blocks: int
) -> tuple[float, float, str]:
    """Find the interval from the spread of the difference over disjoint random blocks of the rows.

    Each block is a small sample of its own; the variance on all rows is that between blocks divided by
    their number, for any metric that is smooth in the rows. The interval is that of Student's t
    around the estimate on all rows. Blocks are halved in number while the metric is undefined on one.

    References
    ----------
    K. M. Wolter, Introduction to Variance Estimation, 2nd ed. (2007), chapter 2 (random groups);
    B. Schmeiser, "Batch size effects in the analysis of simulation output", Operations Research 30
    (1982), 556-568.
    """
    while blocks >= LEAST_BLOCKS:
        method = f"batch means ({blocks} blocks, Student's t)"
        if pair.identical:
            return 0.0, 0.0, method
        order = np.random.default_rng(seed).permutation(pair.units) % blocks
        block = order[pair.codes]
        ends = np.cumsum(np.bincount(block, minlength=blocks))[:-1]
        values = np.array([pair.on(rows) for rows in np.split(np.argsort(block, kind="stable"), ends)])
        if np.isfinite(values).all():
            half = stats.t.ppf((1 + confidence) / 2, blocks - 1) * values.std(ddof=1) / math.sqrt(blocks)
            return float(estimate - half), float(estimate + half), method
        blocks //= 2
    raise ComparisonError(
        f"{pair.metric.label} is undefined on blocks of the held-out rows, or there are too few groups: "
        "choose a metric that is defined on fewer rows, or a finer group."
    )
