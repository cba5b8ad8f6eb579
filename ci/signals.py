"""Signals that ask a process to end, so that it leaves a true record."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end, as Ctrl-C does.

    asyncio keeps every other exception that a signal handler raises within one of its callbacks:
    the kernel's messages are read in those, and the run would never end.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into Stopped, so that they leave a true record as Ctrl-C does.

    One that is ignored stays so: whoever starts a run with nohup wants it to outlive the terminal.
    """

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        raise Stopped(number)

    heeded = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
