"""Long operations: begun by one call, asked after by others, done after some of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.azure.cloud.routing import identity


@dataclass
class Operation:
    """A long operation.

    Attributes
    ----------
    polls : int
        How often it is still asked after before it ends.
    then : callable, optional
        What is done when it ends.
    error : tuple of (str, str), optional
        The code and message that it ends with.
    details : dict
        What else is known of it.
    """

    id: str
    kind: str
    polls: int
    then: Callable[[], object] | None = None
    error: tuple[str, str] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    done: bool = False

    def look(self) -> str:
        """Ask after it once: "Running", "Succeeded" or "Failed"."""
        if not self.done:
            self.polls -= 1
            if self.polls > 0:
                return "Running"
            self.done = True
            if self.then is not None and self.error is None:
                self.then()
        return "Failed" if self.error else "Succeeded"


class Operations:
    """All of them; a test can say how those that begin from now on will go."""

    def __init__(self) -> None:
        self._known: dict[str, Operation] = {}
        self._failing: list[tuple[str, int, tuple[str, str]]] = []
        self.polls = 2

    def begin(
        self,
        kind: str = "",
        then: Callable[[], object] | None = None,
        polls: int | None = None,
        **details: Any,
    ) -> str:
        """Begin one; return its id."""
        made = Operation(identity(), kind, self.polls if polls is None else polls, then, details=details)
        for number, (failing, after, error) in enumerate(self._failing):
            if failing in kind:
                made.polls, made.error = after, error
                del self._failing[number]
                break
        self._known[made.id] = made
        return made.id

    def fail(self, kind: str, code: str, message: str, after: int = 10) -> None:
        """Let the next operation of a kind fail, after it was asked after so often."""
        self._failing.append((kind, after, (code, message)))

    def find(self, operation: str) -> Operation | None:
        """Return one, or None."""
        return self._known.get(operation)
