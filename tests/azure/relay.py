"""A relay before the blob store, which can cut connections in the middle of what is sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.azure import names

ADDRESS = "127.0.0.3"


class Relay:
    """Passes on what it is sent.

    Attributes
    ----------
    cut : list of int
        After how many bytes to the store a connection is cut, of each of the next ones.
    """

    def __init__(self) -> None:
        self.cut: list[int] = []
        self._listening = socket.create_server((ADDRESS, 443))
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                store = socket.create_connection((names.BLOBS, 443))
                limit = self.cut.pop(0) if self.cut else None
                for pair in ((caller, store, limit), (store, caller, None)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while content := source.recv(65536):
                passed += len(content)
                if limit is not None and passed > limit:
                    break
                target.sendall(content)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def before_the_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Lead this process's connections to the blob store over a relay."""
    relay, found = Relay(), socket.getaddrinfo

    def lead(host: Any, *others: Any, **named: Any) -> Any:
        return found(ADDRESS if str(host).endswith(names.BLOB_SUFFIX) else host, *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lead)
    try:
        yield relay
    finally:
        relay.end()
