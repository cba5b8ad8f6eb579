"""The control socket: how a service is told to serve and to pause, and gives away its listening socket.

A Unix socket that only its owner may use. One connection takes one JSON line and answers one:

    {"do": "status"}  {"state": …, "digest": …, "workers": [pid, …], "port": …}
    {"do": "serve"}   the same, once every worker accepts connections
    {"do": "pause"}   the same, once none accepts any more
    {"do": "socket"}  the same, and with it the listening socket's file descriptor

What can't be done is answered by {"error": …}.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 4096

# What a Unix socket's address may be long (sun_path of unix(7)), with some to spare.
_LONGEST = 100


class ControlError(RuntimeError):
    """A service can't be told; the message says why."""


def ask(path: Path, do: str, seconds: float = 30.0) -> dict[str, Any]:
    """Tell a service to do something and return its answer.

    Parameters
    ----------
    path : Path
        The control socket.
    do : str
        "status", "serve" or "pause".
    seconds : float
        How long to wait for the answer.

    Raises
    ------
    ControlError
        If the service doesn't answer, or can't do it.
    """
    answer, received = _ask(path, do, seconds)
    for descriptor in received:
        os.close(descriptor)
    return answer


def take(path: Path, seconds: float = 30.0) -> socket.socket:
    """Return the listening socket of a service, to be handed to another.

    Raises
    ------
    ControlError
        If the service doesn't answer.
    """
    _, received = _ask(path, "socket", seconds)
    if len(received) != 1:
        raise ControlError(f"The service of {path} gave no socket.")
    return socket.socket(fileno=received[0])


def _ask(path: Path, do: str, seconds: float) -> tuple[dict[str, Any], list[int]]:
    received: list[int] = []
    try:
        with socket.socket(socket.AF_UNIX) as connection, address(path) as where:
            connection.settimeout(seconds)
            connection.connect(where)
            connection.sendall(json.dumps({"do": do}).encode() + b"\n")
            content = b""
            while not content.endswith(b"\n"):
                part, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, 1)
                received += descriptors
                if not part:
                    break
                content += part
        answer = json.loads(content)
    except (OSError, ValueError) as error:
        raise ControlError(f"The service of {path} doesn't answer: {error}") from error
    if not isinstance(answer, dict) or "error" in answer:
        raise ControlError(f"The service of {path} can't {do}: {answer}")
    return answer, received


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Give a path as an address: one that is too long is named by way of its folder."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Open a control socket, in the place of one that a dead service left.

    Raises
    ------
    ControlError
        If a live service has it, or there is something else.
    """
    try:
        if path.is_socket():
            if _answers(path):
                raise ControlError(f"{path} is another service's: stop that one, or name another path.")
            path.unlink()
        found = socket.socket(socket.AF_UNIX)
        # The socket's mode is what the umask leaves, from the moment that it can be seen.
        umask = os.umask(0o177)
        try:
            with address(path) as where:
                found.bind(where)
        finally:
            os.umask(umask)
    except OSError as error:
        raise ControlError(f"The control socket {path} can't be opened: {error}") from error
    found.listen()
    found.setblocking(False)
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, address(path) as where:
        try:
            connection.connect(where)
        except ConnectionRefusedError:
            return False
    return True
