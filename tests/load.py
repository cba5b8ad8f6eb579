"""A steady load on a scoring service, which counts every request: answered, wrongly predicted, or lost.

    with Load(f"http://127.0.0.1:{port}/score", body, expected=[[152.1]], rate=300) as load:
        load.wait(500)
        ...  # replace the service
        load.wait(500)
    assert not load.counts.lost and not load.counts.wrong

Each connection is a thread with a blocking socket. It behaves as good clients do: before it writes on a
connection that was kept alive it looks whether the server has closed it, and opens another if so. A request
that was written and not answered in full is lost; so is one for which no connection could be had.
"""

from __future__ import annotations

import http.client
import json
import math
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass
class Counts:
    """What has become of the requests so far; sent is the sum of answered and lost once the load has ended.

    Attributes
    ----------
    sent : int
        Requests that were begun.
    answered : Counter
        Whole answers, by their status.
    wrong : int
        Answers with status 200 whose predictions aren't among the expected.
    lost : Counter
        Requests without a whole answer, by the reason: "refused" (no connection), "reset", "cut" (closed
        before the answer's end), "timeout".
    reopened : int
        Kept-alive connections that the server had closed before the next request was written.
    slowest : float
        The longest time from a request's start (its connection included) to its whole answer, in seconds.
    faults : list of str
        When and how: the first losses, wrong predictions and answers that aren't 2xx.
    """

    sent: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    reopened: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Requests whose end is known."""
        return self.answered.total() + self.lost.total()


class Load:
    """Sends the same request again and again from its start (``with``) to its end, and counts.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:5001/score``.
    body : bytes
        JSON, for POST.
    key : str, optional
        The API key.
    keep_alive : bool
        Whether a connection serves many requests, or one alone.
    connections : int
        How many requests may be under way at once.
    expected : sequence of sequences
        The right predictions; several, where the version that answers may change. None: not looked at.
    rate : float, optional
        Requests a second, over all connections; None: each as soon as the one before is answered.
    timeout : float
        Seconds after which a request without an answer is lost.

    Attributes
    ----------
    counts : Counts
        A copy of what is known now.
    """

    def __init__(
        self,
        url: str,
        body: bytes,
        key: str | None = None,
        *,
        keep_alive: bool = True,
        connections: int = 4,
        expected: Sequence[Sequence[Any]] = (),
        rate: float | None = None,
        timeout: float = 30.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url!r} can't be loaded: give an address such as http://127.0.0.1:5001/score.")
        self._address = (parts.hostname, parts.port or 80)
        head = [
            f"POST {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"Authorization: Bearer {key}"] if key else []),
            *([] if keep_alive else ["Connection: close"]),
        ]
        self._request = "\r\n".join([*head, "", ""]).encode() + body
        self._keep_alive = keep_alive
        self._expected = expected
        self._right: dict[bytes, bool] = {}
        self._interval = connections / rate if rate else 0.0
        self._timeout = timeout
        self._counts = Counts()
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number / connections,), name=f"load-{number}")
            for number in range(connections)
        ]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @property
    def counts(self) -> Counts:
        with self._changed:
            now = self._counts
            return replace(now, answered=now.answered.copy(), lost=now.lost.copy(), faults=list(now.faults))

    def wait(self, more: int, timeout: float = 60.0) -> None:
        """Wait until the end of so many more requests is known.

        Raises
        ------
        TimeoutError
            If that takes longer than `timeout` seconds.
        """
        with self._changed:
            aim = self._counts.done + more
            if not self._changed.wait_for(lambda: self._counts.done >= aim, timeout):
                raise TimeoutError(f"{aim - self._counts.done} of {more} requests had no end: {self._counts}")

    # -------------------------------------------------------------- one connection

    def _send(self, offset: float) -> None:
        connection: socket.socket | None = None
        due = self._began + offset * self._interval
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            # What is late stays late: a service that stood still isn't met by a burst afterwards.
            due = max(due, time.monotonic() - self._interval) + self._interval
            if connection is not None and _closed(connection):
                connection.close()
                connection = None
                with self._changed:
                    self._counts.reopened += 1
            connection = self._ask(connection)
        if connection is not None:
            connection.close()

    def _ask(self, connection: socket.socket | None) -> socket.socket | None:
        """Send a request and count what becomes of it; return the connection if it can be used again."""
        with self._changed:
            self._counts.sent += 1
        began = time.monotonic()
        try:
            if connection is None:
                connection = socket.create_connection(self._address, self._timeout)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(self._request)
            answer = http.client.HTTPResponse(connection, method="POST")
            answer.begin()
            content = answer.read()
            answer.close()
        except (OSError, http.client.HTTPException) as error:
            self._lose(error, refused=connection is None)
            if connection is not None:
                connection.close()
            return None
        self._count(answer.status, content, time.monotonic() - began)
        if self._keep_alive and not answer.will_close:
            return connection
        connection.close()
        return None

    def _lose(self, error: Exception, *, refused: bool) -> None:
        if isinstance(error, TimeoutError):
            reason = "timeout"
        elif refused:
            reason = "refused"
        # RemoteDisconnected is a ConnectionResetError too, yet says that the server closed without an answer.
        elif isinstance(error, http.client.HTTPException):
            reason = "cut"
        else:
            reason = "reset"
        with self._changed:
            self._counts.lost[reason] += 1
            self._fault(f"{reason}: {error!r}")
            self._changed.notify_all()

    def _count(self, status: int, content: bytes, took: float) -> None:
        with self._changed:
            self._counts.answered[status] += 1
            self._counts.slowest = max(self._counts.slowest, took)
            if not 200 <= status < 300:
                self._fault(f"{status}: {content[:200]!r}")
            elif self._expected and not self._is_right(content):
                self._counts.wrong += 1
                self._fault(f"wrong: {content[:200]!r}")
            self._changed.notify_all()

    def _fault(self, what: str) -> None:
        if len(self._counts.faults) < 20:
            self._counts.faults.append(f"after {time.monotonic() - self._began:.3f} s: {what}")

    def _is_right(self, content: bytes) -> bool:
        if content not in self._right:  # the same few answers come again and again
            try:
                result = json.loads(content)["result"]
                self._right[content] = any(_same(result, expected) for expected in self._expected)
            except (ValueError, KeyError, TypeError):
                self._right[content] = False
        return self._right[content]


def _closed(connection: socket.socket) -> bool:
    """Say whether the server has closed a connection on which nothing is to come (then EOF can be read)."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable)


def _same(result: Any, expected: Sequence[Any]) -> bool:
    return isinstance(result, list) and len(result) == len(expected) and all(map(_equal, result, expected))


def _equal(value: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return isinstance(value, int | float) and math.isclose(value, expected, rel_tol=1e-5)
    return bool(value == expected)
