"""The test of homogeneity: right where the answer is known, and no more false alarms than stated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from utils import drift


def counts(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def test_equal_samples_have_no_distance() -> None:
    assert drift.homogeneity(counts(50, 30, 20), counts(50, 30, 20)) == (1.0, 0.0)


def test_the_p_value_is_pearsons_and_the_distance_half_the_differences() -> None:
    result = drift.homogeneity(counts(50, 50), counts(30, 70))
    assert result is not None
    # By hand: each count is 10 from the expected 40 or 60; one degree of freedom.
    statistic = 2 * 10**2 / 40 + 2 * 10**2 / 60
    assert result == pytest.approx((stats.chi2.sf(statistic, 1), 0.2))


def test_bins_are_merged_until_five_are_expected_in_each() -> None:
    merged = drift.homogeneity(counts(40, 1, 1, 58, 2), counts(30, 2, 2, 66, 1))
    # 1 + 1 + 58 reach five together; the last two join the bin before.
    assert merged == drift.homogeneity(counts(40, 62), counts(30, 71))


@pytest.mark.parametrize(
    ("reference", "observed"),
    [(counts(50, 50), counts(2, 2)), (counts(50, 50), counts(0, 0)), (counts(0, 0), counts(0, 0))],
)
def test_samples_too_small_to_compare_are_not_compared(
    reference: NDArray[np.int64],
    observed: NDArray[np.int64],
) -> None:
    assert drift.homogeneity(reference, observed) is None


def test_a_constant_that_stays_the_same_is_no_drift() -> None:
    assert drift.homogeneity(counts(100, 0), counts(80, 0)) == (1.0, 0.0)


def test_a_constant_that_becomes_another_is_drift() -> None:
    result = drift.homogeneity(counts(100, 0), counts(0, 80))
    assert result is not None
    assert result[0] < 1e-9
    assert result[1] == 1.0


def test_holms_adjustment_is_that_of_a_worked_example() -> None:
    assert drift.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert drift.holm([0.9, 0.8]) == [1.0, 1.0]
    assert drift.holm([]) == []
