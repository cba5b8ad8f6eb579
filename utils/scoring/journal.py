"""The journal: one JSON line on standard output for each request, with nothing of what was asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import msgspec

FLUSH_SECONDS = 0.05
FULL = 256

# A pipe takes this much at once, never mixed with what another process writes (PIPE_BUF of POSIX).
ATOMIC_BYTES = 4096


class Journal:
    """Gathers lines and writes them together: a system call for each would cost more than the line.

    A line has time (when it was answered, UTC), id (of the request, which was answered too), method, path,
    status, rows, milliseconds, and bytes (of the request's body, as far as it was read).

    Parameters
    ----------
    output : int
        The file descriptor that takes the lines.
    """

    def __init__(self, output: int = 1) -> None:
        self._output = output
        self._pending: list[tuple[float, str, str, str, int, int, float, int]] = []
        self._quote = msgspec.json.Encoder().encode
        self._timed = False

    def add(
        self, request: str, method: str, path: str, status: int, rows: int, seconds: float, size: int
    ) -> None:
        """Note a request that was answered."""
        self._pending.append((time.time(), request, method, path, status, rows, seconds, size))
        if not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        elif len(self._pending) >= FULL:
            self._write()

    def flush(self) -> None:
        """Write what is pending."""
        self._timed = False
        self._write()

    def _write(self) -> None:
        pending, self._pending = self._pending, []
        second, text = 0, ""
        part: list[bytes] = []
        length = 0
        for at, request, method, path, status, rows, seconds, size in pending:
            if int(at) != second:
                second = int(at)
                text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            # Only these two can hold what a client chose freely; all else needs no quoting.
            if path != "/score" or method != "POST":
                method, path = (self._quote(part).decode()[1:-1] for part in (method, path))
            encoded = (
                f'{{"time":"{text}.{int(at % 1 * 1000):03}Z","id":"{request}","method":"{method}",'
                f'"path":"{path}","status":{status},"rows":{rows},"milliseconds":{seconds * 1000:.3f},'
                f'"bytes":{size}}}\n'
            ).encode()
            if length + len(encoded) > ATOMIC_BYTES:
                self._send(b"".join(part))
                part, length = [], 0
            part.append(encoded)
            length += len(encoded)
        self._send(b"".join(part))

    def _send(self, content: bytes) -> None:
        # A full disk or a reader that is gone must not end the service.
        with contextlib.suppress(OSError):
            while content:
                content = content[os.write(self._output, content) :]
