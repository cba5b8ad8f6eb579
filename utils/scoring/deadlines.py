"""Deadlines: how long a client may take to send a request's body."""

from __future__ import annotations

import asyncio
from typing import Any


class Deadlines:
    """Cancels tasks that wait too long, looking at all of them now and then.

    A timer of its own for each request would cost more than scoring a row.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looking = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> asyncio.Task[Any]:
        """Let the time of the current task run; return the task."""
        # In Python 3.11 each question for the running loop is a system call: it is asked once for each loop.
        loop = self._loop
        task = None if loop is None else asyncio.current_task(loop)
        if loop is None or task is None:
            loop = self._loop = asyncio.get_running_loop()
            task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - an ASGI server calls us in one
        self._waiting[task] = loop.time() + self._seconds
        if not self._looking:
            self._looking = True
            loop.call_later(self._seconds / 4, self._look, loop)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Stop the time."""
        self._waiting.pop(task, None)

    def late(self, task: asyncio.Task[Any]) -> bool:
        """Tell, once, whether a task was cancelled because its time was over; it lives on then."""
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task in [task for task, until in self._waiting.items() if until <= now]:
            del self._waiting[task]
            self._late.add(task)
            task.cancel()
        self._looking = bool(self._waiting)
        if self._looking:
            loop.call_later(self._seconds / 4, self._look, loop)
