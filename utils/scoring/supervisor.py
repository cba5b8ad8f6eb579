"""The supervisor: it holds the listening socket, keeps the workers alive, and obeys the control socket.

It imports nothing heavy and answers no request itself, so that there is little that could end it. The
workers are forked; whatever happens to one, the socket stays open and queues connections.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from . import control
from .counts import Counts
from .orders import Orders
from .places import Place, Work

# A worker that has ended this often in a row before it was ready won't get better.
MOST_FAILURES = 5
RETRY_SECONDS = 0.1

# What a worker may take to end, beyond the time for idle connections.
GRACE_SECONDS = 5.0

# A worker's exit code if the package must not be served.
REFUSED = 3


class Supervisor:
    """Keeps workers alive behind one socket.

    Parameters
    ----------
    listener : socket
        Listens already.
    work : callable
        What a worker does.
    workers : int
    counts : Counts
        What they count in.
    path : Path or None
        Of the control socket.
    standby : bool
        Whether to wait for the word "serve" before accepting anything.
    drain_seconds : float
        For which the workers keep idle connections when they end.
    """

    def __init__(
        self,
        listener: socket.socket,
        work: Work,
        *,
        workers: int,
        counts: Counts,
        path: Path | None = None,
        standby: bool = False,
        drain_seconds: float = 10.0,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._counts = counts
        self._path = path
        self._wanted = "ready" if standby else "serving"
        self._drain_seconds = drain_seconds
        self._places = [Place(number, self._selector, work) for number in range(workers)]
        self._ending: int | None = None
        self._killing = float("inf")
        self._signals: list[int] = []
        self._orders: Orders | None = None

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; a second one doesn't wait for the requests under way.

        Returns
        -------
        int
            The exit code: 0, or 1 if the workers couldn't be started.

        Raises
        ------
        ControlError
            If the control socket can't be opened.
        """
        if self._path is not None:
            self._orders = Orders(control.listen(self._path), self._selector, self)
        woken = self._catch_signals()
        try:
            while True:
                self._start_due()
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                self._obey_signals()
                self._reap()
                if self._orders is not None:
                    self._orders.answer()
                if self._ending is not None and not any(place.pid for place in self._places):
                    return self._ending
        finally:
            self._kill()
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ what the control socket asks for

    @property
    def listener(self) -> socket.socket:
        """The listening socket."""
        return self._listener

    def want(self, state: str) -> None:
        """Tell all workers to serve or to pause, now and when they are started again.

        Parameters
        ----------
        state : {"serving", "paused"}
        """
        self._wanted = state
        for place in self._places:
            place.want(state)

    def settled(self) -> bool:
        """Tell whether every worker is as it is wanted."""
        return all(place.state == self._wanted for place in self._places)

    def status(self) -> dict[str, Any]:
        """Describe the service, as the control socket answers."""
        name = self._listener.getsockname()
        return {
            "state": self._state(),
            "digest": self._digest() or None,
            "workers": [place.pid for place in self._places if place.pid],
            "port": name[1] if isinstance(name, tuple) else None,
        }

    def _digest(self) -> str:
        """Return what the workers have said that they serve; "" if none was ready yet."""
        return next((place.digest for place in self._places if place.digest), "")

    def _state(self) -> str:
        if self._ending is not None:
            return "ending"
        if not self._digest() or any(place.state == "starting" for place in self._places):
            return "starting"
        return {"ready": "standby"}.get(self._wanted, self._wanted)

    # ------------------------------------------------------------------ workers

    def _start_due(self) -> None:
        for place in self._places:
            if not place.pid and self._ending is None and place.due <= time.monotonic():
                place.start(self._wanted)

    def _reap(self) -> None:
        """Take notice of what has ended; as a container's first process, also of others' children."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for place in self._places:
                if place.pid == pid:
                    self._ended(place, os.waitstatus_to_exitcode(status))

    def _ended(self, place: Place, code: int) -> None:
        pid, ready = place.pid, place.ended()
        self._counts.gone(place.number)
        if self._ending is not None:
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if ready:
            _say(f"the worker {pid} has ended ({how}), another one is started")
            place.due = 0.0
            return
        place.failures += 1
        if place.failures >= MOST_FAILURES or (code == REFUSED and not self._digest()):
            _say(f"the worker {pid} has ended while it started ({how}); the service ends")
            self._end(1)
            return
        _say(f"the worker {pid} has ended while it started ({how}), another one is started")
        place.due = time.monotonic() + RETRY_SECONDS * 2**place.failures

    # ------------------------------------------------------------------ ending

    def _catch_signals(self) -> socket.socket:
        """Let signals wake the selector; return what it then has to read."""
        woken, waking = socket.socketpair()
        woken.setblocking(False)
        waking.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, lambda: None)
        # Kept as an object, or it would be closed.
        self._waking = waking
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return woken

    def _obey_signals(self) -> None:
        while self._signals:
            self._signals.pop()
            if self._ending is None:
                self._end(0)
            else:
                self._kill()
        if time.monotonic() >= self._killing:
            self._killing = float("inf")
            self._kill()

    def _end(self, code: int) -> None:
        self._ending = code
        self._killing = time.monotonic() + self._drain_seconds + GRACE_SECONDS
        for place in self._places:
            if place.state == "starting" and place.pid:  # it has nothing to finish, and hears nothing yet
                place.kill()
            place.send("stop")

    def _kill(self) -> None:
        for place in self._places:
            place.kill()

    def _patience(self) -> float | None:
        """Return how many seconds nothing has to be done unless somebody asks for it."""
        due = [place.due for place in self._places if not place.pid and self._ending is None]
        until = min([*due, self._killing])
        return None if until == float("inf") else max(0.0, until - time.monotonic())


def _say(words: str) -> None:
    print(f"scoring: {words}.", file=sys.stderr, flush=True)
