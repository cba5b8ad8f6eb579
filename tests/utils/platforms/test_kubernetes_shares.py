"""Shares of the requests by numbers of pods: as near as can be, or refused."""

import pytest

from utils.platforms.local.targets import shares
from utils.platforms.protocol import PlatformError


@pytest.mark.parametrize(
    ("asked", "at_least", "given"),
    [
        ([10, 90], 2, [1, 8]),
        ([90, 10], 2, [8, 1]),
        ([50, 50], 2, [1, 1]),
        ([50, 50], 5, [3, 2]),
        ([25, 75], 2, [1, 3]),
        ([5, 95], 3, [1, 16]),
        ([20, 30, 50], 3, [1, 2, 3]),
    ],
)
def test_the_fewest_pods_are_taken_that_come_near_enough(
    asked: list[int], at_least: int, given: list[int]
) -> None:
    found = shares.pods(asked, at_least, 20)
    assert found == given
    for count, share in zip(found, asked, strict=True):
        assert abs(100 * count / sum(found) - share) <= 0.2 * share


def test_there_are_never_fewer_pods_than_before() -> None:
    for now in range(1, 20):
        assert sum(shares.pods([10, 90], now, 20)) >= now


def test_a_share_that_is_too_small_for_the_pods_there_may_be_is_refused_with_the_smallest_possible() -> None:
    with pytest.raises(PlatformError, match=r"at least 21 %, or raise maxReplicas"):
        shares.pods([10, 90], 1, 4)
    assert shares.pods([21, 79], 1, 4) == [1, 3]


def test_versions_that_share_take_the_label_of_the_one_with_most_pods() -> None:
    assert shares.group({"large": "l", "small": "s"}, ["o"]) == "l"


def test_a_label_that_another_version_has_too_is_not_taken() -> None:
    fresh = shares.group({"large": "l", "small": "s"}, ["l"])
    assert fresh not in ("l", "s")
    assert fresh == shares.group({"small": "s", "large": "l"}, ["s"])
    assert fresh != shares.group({"large": "l", "third": "t"}, ["l"])
