"""A kernel that is another process's child, as jupyter_client wants to see it, and what is said about it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from typing import Any


class ForkedProcess:
    """What jupyter_client asks of `subprocess.Popen`, for a process that is the server's child.

    Parameters
    ----------
    channel : socket
        Where the server tells the process's id and, later, how it ended.
    timeout : float
        Seconds to wait for the id.

    Raises
    ------
    OSError, ValueError
        If there is no such process after all.
    """

    stdin = stdout = stderr = None

    def __init__(self, channel: socket.socket, timeout: float) -> None:
        self._channel = channel
        self._received = b""
        self.returncode: int | None = None
        first = self._message(timeout)
        if "pid" not in first:
            raise ValueError(first.get("refused", "it forked no kernel"))
        self.pid = int(first["pid"])

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises
        ------
        subprocess.TimeoutExpired
            If it runs longer than `timeout` seconds.
        """
        if self.returncode is None:
            try:
                message = self._message(timeout)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"kernel {self.pid}", timeout or 0) from None
            except OSError:
                message = {}
            self._channel.close()
            if "exit" not in message:
                # The server has died. The kernel would follow in a second, and nobody could say how it ended.
                self._signal(signal.SIGKILL)
            self.returncode = int(message.get("exit", -signal.SIGKILL))
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            self._signal(signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def _message(self, timeout: float | None) -> dict[str, Any]:
        """Return the next message; {} if there is none to come."""
        message, self._received = read_line(self._channel, self._received, timeout)
        return message


def read_line(channel: socket.socket, received: bytes, timeout: float | None) -> tuple[dict[str, Any], bytes]:
    """Return the next line of JSON, {} at the end, and what came after it.

    Raises
    ------
    OSError
        If it doesn't come within `timeout` seconds, or the other side has died.
    """
    until = None if timeout is None else time.monotonic() + timeout
    while b"\n" not in received:
        channel.settimeout(None if until is None else max(until - time.monotonic(), 0))
        part = channel.recv(65536)
        if not part:
            return {}, b""
        received += part
    line, _, rest = received.partition(b"\n")
    message: dict[str, Any] = json.loads(line)
    return message, rest
