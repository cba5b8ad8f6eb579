"""What goes wrong in the cloud, as a test has asked for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """What happens to a call instead of its answer.

    Attributes
    ----------
    status : int
        It is answered by this status; 0: it isn't answered, the connection is cut.
    code, message : str
        Of the error.
    headers : mapping
        Of the answer.
    after : callable, optional
        Called before; it may wait for what the test does next.
    late : bool
        Whether the call is carried out, and only its answer is lost.
    torn : bool
        Whether the connection is cut while the call is still being sent.
    """

    status: int
    code: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after: Callable[[], object] | None = None
    late: bool = False
    torn: bool = False


def too_many(retry_after: float = 0) -> Fault:
    """Throttle a call (429)."""
    return Fault(
        429, "TooManyRequests", "The request is being throttled.", {"Retry-After": f"{retry_after:g}"}
    )


def server_error(status: int = 500) -> Fault:
    """Let a call fail in the service."""
    return Fault(status, "InternalServerError", "An internal error occurred.")


def refused(status: int, code: str, message: str) -> Fault:
    """Refuse a call."""
    return Fault(status, code, message)


def cut() -> Fault:
    """Cut the connection before the call is carried out."""
    return Fault(0)


def lost() -> Fault:
    """Carry out the call, and cut the connection in the place of an answer."""
    return Fault(0, late=True)


def torn() -> Fault:
    """Cut the connection when half of the call's body has come."""
    return Fault(0, torn=True)


def delayed(after: Callable[[], object]) -> Fault:
    """Carry out a call after something else has happened."""
    return Fault(-1, after=after)


# What is over when the same is asked again, without a pause.
_AT_ONCE = {"Retry-After": "0"}
PASSING = {
    "throttled": too_many(0),
    "failing": Fault(500, "InternalServerError", "An internal error occurred.", _AT_ONCE),
    "away": Fault(503, "ServiceUnavailable", "The service is unavailable.", _AT_ONCE),
    "cut": cut(),
    "lost": lost(),
}


class Faults:
    """What is to go wrong next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[frozenset[str], re.Pattern[str], list[Fault]]] = []
        self.happened = 0

    def add(self, methods: str, path: str, faults: Sequence[Fault]) -> None:
        """Let the next calls of these methods ("PUT|POST") whose path has this expression end so, in turn."""
        with self._lock:
            self._rules.append((frozenset(methods.split("|")), re.compile(path, re.IGNORECASE), list(faults)))

    def next(self, method: str, path: str) -> Fault | None:
        """Return what happens to a call, or None."""
        with self._lock:
            for methods, pattern, faults in self._rules:
                if faults and method in methods and pattern.search(path):
                    self.happened += 1
                    return faults.pop(0)
        return None

    @property
    def left(self) -> int:
        """How many are still to happen."""
        with self._lock:
            return sum(len(faults) for _, _, faults in self._rules)

    def clear(self) -> None:
        """Forget all that hasn't happened."""
        with self._lock:
            self._rules.clear()
            self.happened = 0
