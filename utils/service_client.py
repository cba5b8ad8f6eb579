"""A connection to a scoring service, for its test."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

MAX_ANSWER = 64 * 2**20
VERSION_HEADER = "x-scoring-version"


class Client:
    """One connection that is kept open. http.client: it follows nothing, asks no proxy, and costs little.

    `ask` answers by (status, parsed JSON or text), or by (None, what happened); `answered` counts the
    answers by their status.

    Parameters
    ----------
    url : str
        The base address.
    timeout : float
        Seconds for each wait on the network.
    key : str
        An API key of the service; "" if it asks for none.
    version : str
        By which a router that knows several versions finds the right one; "" for any.
    certificate : str
        A PEM file with the one certificate that the service has to show; "" for what this machine trusts.
    """

    def __init__(
        self, url: str, timeout: float, key: str = "", version: str = "", certificate: str = ""
    ) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._path = self._over = ""
        self._key = key
        self.answered: Counter[int] = Counter()
        self._headers = {VERSION_HEADER: version} if version else {}
        with contextlib.suppress(ValueError, OSError, http.client.HTTPException):
            parts = urlsplit(url)
            if parts.hostname and parts.scheme in ("http", "https"):
                self._connection = _connection(parts, timeout, certificate)
                self._path = parts.path.rstrip("/")
        if self._connection is None:
            self._over = f"{url!r} is no address of a service"

    @classmethod
    @contextlib.contextmanager
    def to(
        cls,
        url: str,
        timeout: float,
        deadline: float,
        key: str = "",
        *,
        version: str = "",
        certificate: str = "",
    ) -> Iterator[Client]:
        """Connect, for no longer than until the deadline, in seconds."""
        client = cls(url, timeout, key, version, certificate)
        watch = threading.Timer(deadline, client._cut, [f"the test took longer than {deadline:g} seconds"])
        watch.daemon = True
        watch.start()
        try:
            yield client
        finally:
            watch.cancel()
            if client._connection is not None:
                client._connection.close()

    def give_up(self) -> None:
        """Send nothing more: every wait for a silent service would last its timeout."""
        self._over = self._over or "not asked: the service had stopped answering"

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, key: str | None = None
    ) -> tuple[int | None, Any]:
        """Send a request, with our own key unless another one is given."""
        if self._over or self._connection is None:
            return None, self._over
        # The service may have closed a connection that was idle: only then a second one is opened.
        kept = self._connection.sock is not None
        try:
            return self._ask(method, path, body, self._key if key is None else key)
        except (ConnectionError, http.client.HTTPException) as error:
            self._connection.close()
            if not kept or self._over:
                return None, self._over or _no_answer(error)
        except OSError as error:
            self._connection.close()
            return None, self._over or _no_answer(error)
        try:
            return self._ask(method, path, body, self._key if key is None else key)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return None, self._over or _no_answer(error)

    def _ask(self, method: str, path: str, body: bytes | None, key: str) -> tuple[int, Any]:
        connection = self._connection
        assert connection is not None  # noqa: S101 - for the type checker
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request(method, self._path + path, body, headers)
        response = connection.getresponse()
        content = response.read(MAX_ANSWER)
        self.answered[response.status] += 1
        if not response.isclosed():  # more than we read: what follows on this connection is no new answer
            connection.close()
        try:
            return response.status, json.loads(content)
        except (ValueError, RecursionError):
            return response.status, content.decode(errors="replace")

    def _cut(self, reason: str) -> None:
        self._over = reason
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def trust(certificate: Path) -> ssl.SSLContext:
    """Trust one certificate, whoever issued it and whatever host it names: it is the service's own."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _connection(parts: SplitResult, timeout: float, certificate: str) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout)
    context = trust(Path(certificate)) if certificate else None
    return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)


def _no_answer(error: Exception) -> str:
    return f"no answer ({str(error) or type(error).__name__})"
