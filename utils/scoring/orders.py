"""Orders: what comes in over the control socket, and its answers."""

from __future__ import annotations

import json
import selectors
import socket
from typing import Any, Protocol

from .control import MOST_BYTES

_STATES = {"serve": "serving", "pause": "paused"}


class Service(Protocol):
    """What takes the orders."""

    @property
    def listener(self) -> socket.socket:
        """The listening socket."""

    def want(self, state: str) -> None:
        """Begin to bring the service into a state."""

    def settled(self) -> bool:
        """Tell whether it is in the state that was wanted last."""

    def status(self) -> dict[str, Any]:
        """Describe it."""


class Orders:
    """Reads orders and answers them, between the other work of a selector.

    Parameters
    ----------
    listener : socket
        The control socket.
    selector : selector
        Whose keys' data is called when there is something to read.
    service : Service
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, service: Service) -> None:
        self._selector = selector
        self._service = service
        self._listener = listener
        self._waiting: list[socket.socket] = []
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def answer(self) -> None:
        """Answer those who wait for a state, once it is reached."""
        if self._waiting and self._service.settled():
            for connection in self._waiting:
                self._send(connection, self._service.status())
            self._waiting.clear()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        heard = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(connection, heard))

    def _hear(self, connection: socket.socket, heard: bytearray) -> None:
        try:
            part = connection.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        heard += part
        if part and b"\n" not in heard and len(heard) <= MOST_BYTES:
            return
        self._selector.unregister(connection)
        if b"\n" in heard:
            self._obey(connection, bytes(heard).partition(b"\n")[0])
        else:
            connection.close()

    def _obey(self, connection: socket.socket, line: bytes) -> None:
        try:
            do = json.loads(line)["do"]
        except (ValueError, TypeError, KeyError, RecursionError):
            do = None
        if do == "status":
            self._send(connection, self._service.status())
        elif do == "socket":
            self._send(connection, self._service.status(), self._service.listener.fileno())
        elif do in _STATES:
            self._service.want(_STATES[do])
            self._waiting.append(connection)
        else:
            self._send(
                connection, {"error": 'send one line: {"do": "status" | "serve" | "pause" | "socket"}'}
            )

    def _send(self, connection: socket.socket, answer: dict[str, Any], *descriptors: int) -> None:
        content = json.dumps(answer).encode() + b"\n"
        with connection:
            connection.settimeout(1.0)
            try:
                if descriptors:
                    socket.send_fds(connection, [content], descriptors)
                else:
                    connection.sendall(content)
            except OSError:
                pass  # who asked is gone
