"""Whether two samples are of one distribution: a test, and the distance between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Below this expected count in a bin the chi-square approximation is not relied on: Cochran (1954),
# "Some methods for strengthening the common chi-square tests", Biometrics 10(4).
LEAST_EXPECTED = 5


def homogeneity(reference: NDArray[np.int64], observed: NDArray[np.int64]) -> tuple[float, float] | None:
    """Compare two samples' counts in the same bins.

    Pearson's chi-square test of homogeneity. Neighbouring bins are merged until each is expected to
    hold five of either sample, as Cochran (1954) advises.

    Parameters
    ----------
    reference, observed : array of int, shape (bins,)

    Returns
    -------
    p_value, total_variation : float
        The distance is half the sum of the differences between the samples' shares. None if the
        samples are too small for more than one bin, although they have more.
    """
    bins = _merge(reference, observed)
    if len(bins) < 2:
        occupied = np.count_nonzero(reference + observed)
        return (1.0, 0.0) if bins and occupied == 1 else None
    table = np.array(bins, dtype=np.int64).T
    shares = table / table.sum(axis=1, keepdims=True)
    p_value = float(stats.chi2_contingency(table, correction=False).pvalue)
    return p_value, float(np.abs(shares[0] - shares[1]).sum() / 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for being several, so that rejecting those up to a rate errs at all with that rate.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6(2); it holds however the tests depend on each other.
    """
    adjusted, floor = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = floor
    return adjusted


def _merge(reference: NDArray[np.int64], observed: NDArray[np.int64]) -> list[tuple[int, int]]:
    # By the pooled counts alone, so that merging favours neither agreement nor difference.
    total = int(reference.sum() + observed.sum())
    smaller = min(int(reference.sum()), int(observed.sum()))
    bins: list[tuple[int, int]] = []
    left = right = 0
    for one, other in zip(reference.tolist(), observed.tolist(), strict=True):
        left, right = left + one, right + other
        if total and (left + right) * smaller / total >= LEAST_EXPECTED:
            bins.append((left, right))
            left = right = 0
    if (left or right) and bins:
        bins[-1] = (bins[-1][0] + left, bins[-1][1] + right)
    return bins
