"""The places of workers: a process in each, started again when it has ended, and told what to do."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable

# Runs a worker in a forked process, given its channel to us and its number; returns the exit code.
Work = Callable[[socket.socket, int], int]

_WORDS = {"serving": "serve", "paused": "pause"}


class Place:
    """A place for a worker, and the process in it.

    Parameters
    ----------
    number : int
    selector : selector
        Whose keys' data is called when there is something to read.
    work : callable
        What the worker does.

    Attributes
    ----------
    pid : int
        0 while there is none.
    state : str
        What it said last: "starting", "ready", "serving" or "paused".
    digest : str
        Of the package that it serves, once it was ready.
    failures : int
        How often in a row it has ended before it was ready.
    due : float
        When it is to be started again, by the monotonic clock.
    """

    def __init__(self, number: int, selector: selectors.BaseSelector, work: Work) -> None:
        self.number = number
        self.pid = 0
        self.state = "starting"
        self.digest = ""
        self.failures = 0
        self.due = 0.0
        self._selector = selector
        self._work = work
        self._channel: socket.socket | None = None
        self._wanted = ""
        self._told = ""
        self._heard = b""

    def start(self, wanted: str) -> None:
        """Start a worker, and bring it to a state once it is ready."""
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            self._be_worker(theirs)
        theirs.close()
        ours.setblocking(False)
        self.state, self._wanted, self._told, self._heard = "starting", wanted, "", b""
        self._channel = ours
        self._selector.register(ours, selectors.EVENT_READ, self.hear)

    def want(self, state: str) -> None:
        """Bring the worker to a state, now or when it is ready.

        Parameters
        ----------
        state : {"ready", "serving", "paused"}
        """
        self._wanted = state
        word = _WORDS.get(state)
        if word is None or self.state == "starting" or self._told == word:
            return
        if word == "pause" and not self._told:  # it has accepted nothing yet
            self.state = "paused"
            return
        self._told = word
        self.send(word)

    def send(self, word: str) -> None:
        """Tell the worker something, if it is there."""
        if self._channel is not None:
            with contextlib.suppress(OSError):  # it has ended; that will be seen
                self._channel.send(word.encode() + b"\n")

    def hear(self) -> None:
        """Take in what the worker has said."""
        if self._channel is None:
            return
        try:
            part = self._channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self._close()
            return
        *lines, self._heard = (self._heard + part).split(b"\n")
        for line in lines:
            self.state, _, rest = line.decode().partition(" ")
            if self.state == "ready":
                self.digest = rest
                self.failures = 0
                self.want(self._wanted)

    def ended(self) -> bool:
        """Take note that the worker has ended; return whether it had been ready before."""
        self.hear()  # it may have been so for a moment
        self._close()
        ready, self.state, self.pid = self.state != "starting", "starting", 0
        return ready

    def _close(self) -> None:
        if self._channel is not None:
            self._selector.unregister(self._channel)
            self._channel.close()
            self._channel = None

    def kill(self) -> None:
        """End the worker by force."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _be_worker(self, channel: socket.socket) -> None:
        """Work, in the forked process, and end it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            # Ctrl-C goes to all of us; the supervisor says what to do.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # A sibling must see the end of its channel when the supervisor is gone: no copy may stay here.
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            self._selector.close()
            code = self._work(channel, self.number)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
