"""Long operations: looked at now and then, with progress that a person can follow, until they have ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from utils.platforms.azureml import faults, settings
from utils.platforms.protocol import PlatformError

T = TypeVar("T")

# For so long, answers that fail in passing are taken for an outage that ends.
PATIENCE = 300.0
# Progress is shown at least this often, so that CI doesn't take silence for death.
HEARTBEAT = 60.0


def wait_for(
    what: str,
    look: Callable[[], tuple[T | None, str]],
    *,
    timeout: float,
    interval: float | None = None,
    say: Callable[[str], None] | None = None,
    resume: str = "",
) -> T:
    """Look at a long operation again and again until it has ended.

    Parameters
    ----------
    what : str
        The operation, as the subject of a sentence: "The cluster 'cpu-cluster'".
    look : callable
        Returns the result, or None as long as there is none, and the state in a few words. It raises if the
        operation has failed. An error in passing (throttled, 5xx, the connection) is borne for five minutes.
    timeout : float
        In seconds.
    interval : float, optional
        Seconds between two looks; `poll_seconds` of the settings if it isn't given.
    say : callable, optional
        Gets a line for each change of the state, and one a minute; by default it is printed.
    resume : str
        How to go on after an interruption, such as "run the same command again".

    Raises
    ------
    PlatformError
        If it takes longer than `timeout`: the operation goes on, and the message says how to take it up.
    KeyboardInterrupt
        As it came: the operation goes on, and that is said before.
    """
    every = settings.read().poll_seconds if interval is None else interval
    tell = say or show
    again = resume or "run the same command again: it takes up what goes on in Azure"
    began = shown = time.monotonic()
    since: float | None = None
    last = ""
    try:
        while True:
            wait = every
            try:
                result, state = look()
            except Exception as error:
                fault = faults.read(error)
                now = time.monotonic()
                since = now if since is None else since
                if not faults.passing(fault) or now - since > PATIENCE:
                    raise
                result, state = None, f"no answer now ({fault.code or fault.status or 'the connection'})"
                wait = max(every, min(fault.retry_after or 0.0, faults.LONGEST))
            else:
                since = None
            now = time.monotonic()
            if state != last or now - shown > HEARTBEAT:
                tell(f"{what}: {state or 'waiting'}, {_spent(now - began)}")
                last, shown = state, now
            if result is not None:
                return result
            if now - began > timeout:
                raise PlatformError(
                    f"{what} has taken longer than {_spent(timeout)} (last: {state or 'nothing'}). It goes "
                    f"on in Azure: {again}; more time: timeouts in {settings.FILE}."
                )
            time.sleep(wait)
    except KeyboardInterrupt:
        tell(f"{what} goes on in Azure: {again}.")
        raise


def _spent(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def show(words: str) -> None:
    """Print a line of progress."""
    # In a notebook it is part of the report, where stderr looks like an error.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    print(words, file=sys.stderr if shell is None else sys.stdout, flush=True)
