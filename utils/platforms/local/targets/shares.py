"""Shares of the requests, given by numbers of pods: a Service gives each of its pods as many connections."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence

from utils.platforms.protocol import PlatformError

# How far a share may be from the one that was asked for, as a part of it: 10 % may be 8 to 12.
TOLERANCE = 0.2


def pods(shares: Sequence[int], at_least: int, at_most: int) -> list[int]:
    """Return how many pods each version has to have, so that each gets its share.

    Parameters
    ----------
    shares : sequence of int
        In per cent, each more than 0, together 100.
    at_least, at_most : int
        How many pods there may be in all; of those that do, the fewest are taken.

    Returns
    -------
    list of int
        One for each share, each at least 1.

    Raises
    ------
    PlatformError
        If no allowed number of pods comes near enough.
    """
    for total in range(max(at_least, len(shares)), at_most + 1):
        counts = _divided(shares, total)
        if all(
            abs(100 * count / total - share) <= TOLERANCE * share
            for count, share in zip(counts, shares, strict=True)
        ):
            return counts
    smallest = math.ceil(100 / ((1 + TOLERANCE) * at_most))
    raise PlatformError(
        f"Shares of {', '.join(f'{share} %' for share in shares)} can't be given with {at_least} to "
        f"{at_most} pods, of which each gets as much as the others: give each version at least {smallest} %, "
        "or raise maxReplicas in the environment's overlay."
    )


def _divided(shares: Sequence[int], total: int) -> list[int]:
    """Divide pods: everyone gets the nearest number that isn't 0, and the largest share what is left."""
    counts = [max(1, round(share * total / 100)) for share in shares]
    largest = shares.index(max(shares))
    counts[largest] += total - sum(counts)
    return counts


def group(members: Mapping[str, str], others: Collection[str]) -> str:
    """Return a label that those versions can have in common which share the requests, and no other has.

    Parameters
    ----------
    members : mapping
        By their names, the labels that they have, the one with the largest share first.
    others : collection of str
        The labels of all other versions.

    Returns
    -------
    str
        The first one's own if it can be: then none of its pods has to be replaced.
    """
    own = next(iter(members.values()))
    if own not in others:
        return own
    # Others can have been named so only as members of the very same group.
    return hashlib.sha256(" ".join(sorted(members)).encode()).hexdigest()[:16]
