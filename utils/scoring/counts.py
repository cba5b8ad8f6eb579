"""Counts: what was asked and how it went, in memory that all workers share.

The supervisor makes the memory before it starts the workers. Each counts in a part of its own, where no
other writes, so that counting needs no lock. What a worker has counted outlives it, and the worker
that replaces it counts on.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left

# What a request to /score can end with. 499, as NGINX has it: the client went away before the answer.
STATUSES = (200, 400, 401, 405, 408, 413, 415, 422, 431, 499, 500, 503)

# Upper bounds of the histogram, in seconds.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_PLACES = {status: place for place, status in enumerate(STATUSES)}
_OTHER = _PLACES[500]
_BUCKETS = len(STATUSES)
_SECONDS = _BUCKETS + len(BOUNDS) + 1
_ROWS, _IN_FLIGHT, _ALIVE = _SECONDS + 1, _SECONDS + 2, _SECONDS + 3
_LENGTH = _ALIVE + 1


class Counts:
    """The counts of some workers.

    Parameters
    ----------
    workers : int
    """

    def __init__(self, workers: int = 1) -> None:
        # Anonymous and shared: a forked process sees the same memory, and no file is left behind.
        self._memory = memoryview(mmap.mmap(-1, 8 * _LENGTH * workers)).cast("d")
        self._start = 0

    def mine(self, worker: int) -> None:
        """Count for one of the workers from now on."""
        self._start = worker * _LENGTH
        self._memory[self._start + _ALIVE] = 1.0

    def gone(self, worker: int) -> None:
        """Forget what a worker that has ended was about to do."""
        for place in (_IN_FLIGHT, _ALIVE):
            self._memory[worker * _LENGTH + place] = 0.0

    def begin(self) -> None:
        """Count a request that is there and not answered."""
        self._memory[self._start + _IN_FLIGHT] += 1.0

    def end(self, status: int, seconds: float, rows: int) -> None:
        """Count a request that is answered, or whose client is gone."""
        memory, start = self._memory, self._start
        memory[start + _IN_FLIGHT] -= 1.0
        memory[start + _PLACES.get(status, _OTHER)] += 1.0
        memory[start + _BUCKETS + bisect_left(BOUNDS, seconds)] += 1.0
        memory[start + _SECONDS] += seconds
        memory[start + _ROWS] += rows

    def refused(self, status: int) -> None:
        """Count a request that was refused before it was whole."""
        self._memory[self._start + _PLACES.get(status, _OTHER)] += 1.0

    # ------------------------------------------------------------------ sums

    def requests(self) -> dict[int, float]:
        """Return how many requests ended with each status."""
        return {status: self._sum(place) for place, status in enumerate(STATUSES)}

    def buckets(self) -> list[float]:
        """Return how many requests took at most each of BOUNDS but more than the one before, and longer."""
        return [self._sum(_BUCKETS + place) for place in range(len(BOUNDS) + 1)]

    @property
    def seconds(self) -> float:
        """All requests' time."""
        return self._sum(_SECONDS)

    @property
    def rows(self) -> float:
        """All rows scored."""
        return self._sum(_ROWS)

    @property
    def in_flight(self) -> float:
        """The requests that are there and not answered."""
        return self._sum(_IN_FLIGHT)

    @property
    def workers(self) -> float:
        """The workers that are alive."""
        return self._sum(_ALIVE)

    def _sum(self, place: int) -> float:
        return sum(self._memory[place::_LENGTH])
