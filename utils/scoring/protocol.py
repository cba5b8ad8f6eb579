"""HTTP/1.1 for one connection: uvicorn's protocol, with limits for clients that keep it waiting."""

from __future__ import annotations

import json
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .counts import Counts
from .journal import Journal
from .settings import Settings

# Of a request's line and headers together. uvicorn itself has no limit.
MAX_HEAD = 32 * 1024

# The headers by which another protocol is offered.
_OFFER = (b"connection", b"upgrade", b"http2-settings")


class Joining:
    """A transport that holds an answer's head back until its body comes: one system call for both.

    uvloop writes at once what it is given, and uvicorn gives it head and body apart.
    """

    __slots__ = ("_held", "_protocol", "_transport")

    def __init__(self, transport: Any, protocol: HttpToolsProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write, or wait for the rest."""
        if self._held:
            data, self._held = self._held + data, b""
        else:
            cycle = self._protocol.cycle
            if cycle is not None and cycle.response_started and not cycle.response_complete:
                self._held = data
                return
        self._transport.write(data)

    def flush(self) -> None:
        """Write what is held back: there is no body."""
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def close(self) -> None:
        """Write what is held back, and close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether it is closed, or about to be."""
        closing: bool = self._transport.is_closing()
        return closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """A connection.

    Parameters
    ----------
    settings : Settings
    counts : Counts
    journal : Journal
    options
        As uvicorn gives them.
    """

    def __init__(self, settings: Settings, counts: Counts, journal: Journal, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings
        self._counts = counts
        self._journal = journal
        self._head = 0

    def connection_made(self, transport: Any) -> None:
        """Take a connection, unless there are too many."""
        joining: Any = Joining(transport, self)
        self._joining = joining
        super().connection_made(joining)
        if len(self.connections) > self._settings.max_connections:
            self.refuse(503, "The service has too many connections: try again.")

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, unless its head gets too large."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.refuse(400, "The request is not valid HTTP/1.1.")
        if self._in_head():
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.refuse(431, f"The request's head is larger than {MAX_HEAD // 1024} kB.")
        else:
            self._head = 0

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        self._joining.flush()
        super().on_response_complete()

    def on_headers_complete(self) -> None:
        """Begin to answer a request, unless it is offered to go on in another protocol."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take note that a request is whole."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _go_on(self, rest: bytes) -> None:
        """Stay with HTTP/1.1 when a client offers another protocol, as Java's does with HTTP/2.

        The parser reads no further then, not even the body: a new one gets the request without the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse(405, "The service is no proxy.")
            return
        lines = [b"%b %b HTTP/1.1" % (method, self.url)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] not in _OFFER]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _in_head(self) -> bool:
        # uvicorn makes a new scope when a request begins, and the cycle that answers it after its head.
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def refuse(self, status: int, reason: str) -> None:
        """Answer a request that isn't whole, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            content = json.dumps({"error": reason}).encode()
            self.transport.write(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[status], len(content), content)
            )
        self.transport.close()
        self._counts.refused(status)
        self._journal.add("-", "-", "-", status, 0, 0.0, 0)

    # ------------------------------------------------------------------ waiting, pausing

    def awaited(self) -> object | None:
        """Return what the client has yet to do, another object for each thing; None if it's our turn."""
        cycle = self.cycle
        if self.transport.is_closing():
            return self.transport  # to read the last answer
        if self._in_head():
            return self.scope  # to finish a request's head
        if cycle is None:
            return self  # to send its first request
        if not cycle.response_complete:
            # To read an answer. How long the body of a request may take is the application's matter.
            return cycle.scope if cycle.response_started else None
        # To finish a body that nobody reads. Between two requests, uvicorn's own timer runs.
        return cycle if self.timeout_keep_alive_task is None else None

    def cut(self) -> None:
        """Give up on a client that keeps us waiting."""
        if self._in_head() or self.cycle is None:
            self.refuse(408, f"No whole request came in {self._settings.timeout_seconds:g} seconds.")
        else:
            self.transport.abort()

    def last(self) -> None:
        """Let the answer under way be the last one of this connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def idle(self) -> bool:
        """Tell whether no request is under way."""
        return not self._in_head() and (self.cycle is None or self.cycle.response_complete)
