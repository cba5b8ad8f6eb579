"""The server of one worker: it accepts connections, pauses, and ends without losing a request."""

from __future__ import annotations

import asyncio
import socket
import ssl
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from .application import Application
from .counts import Counts
from .journal import Journal
from .protocol import Protocol
from .settings import Settings

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75

_CLOSE = (b"connection", b"close")


class Server:
    """Serves an application on a listening socket that other processes may share.

    Parameters
    ----------
    application : Application
    listener : socket
        It stays open, and goes on queueing connections, while nobody accepts.
    tls : SSLContext or None
    """

    def __init__(
        self,
        application: Application,
        listener: socket.socket,
        settings: Settings,
        counts: Counts,
        journal: Journal,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._application = application
        self._listener = listener
        self._settings = settings
        self._tls = tls
        self._config = Config(
            application,
            interface="asgi3",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._counts = counts
        self._journal = journal
        self._accepting: asyncio.AbstractServer | None = None
        self._stalled: dict[Protocol, tuple[object, float]] = {}
        self._loop = asyncio.get_running_loop()
        self._tick()
        self._look()

    # ------------------------------------------------------------------ accepting, pausing, ending

    async def accept(self) -> None:
        """Begin, or begin again, to accept connections."""
        if self._accepting is not None:
            return
        self._application.draining = False
        self._head()
        self._accepting = await self._loop.create_server(
            self._connection,
            sock=self._listener.dup(),
            backlog=BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._settings.timeout_seconds if self._tls else None,
        )

    def pause(self) -> None:
        """Accept no more. What is connected is answered once more, then the connection is closed.

        Connections that nobody has accepted stay in the socket's queue, for whoever shares it. Those on which
        nothing is asked are closed after the settings' drain_seconds: no client can then have asked
        just before.
        """
        if self._accepting is None:
            return
        self._accepting.close()
        self._accepting = None
        self._application.draining = True
        self._head()
        for connection in self._connections():
            connection.last()
        self._loop.call_later(self._settings.drain_seconds, self._close_idle)

    async def end(self) -> None:
        """Pause, and return when all connections are closed; those that don't end in time are cut."""
        self.pause()
        until = self._loop.time() + self._settings.drain_seconds
        while self._state.connections and self._loop.time() < until:
            await asyncio.sleep(0.02)
        self._close_idle()
        until = self._loop.time() + 1.0
        while self._state.connections and self._loop.time() < until:
            await asyncio.sleep(0.02)
        for connection in self._connections():
            connection.transport.abort()

    def _close_idle(self) -> None:
        if self._accepting is None:
            for connection in self._connections():
                if connection.idle():
                    connection.transport.close()

    # ------------------------------------------------------------------ connections

    def _connection(self) -> Protocol:
        return Protocol(
            self._settings,
            self._counts,
            self._journal,
            config=self._config,
            server_state=self._state,
            app_state={},
            _loop=self._loop,
        )

    def _connections(self) -> list[Any]:
        return list(self._state.connections)

    def _head(self) -> None:
        """Set what every answer's head begins with."""
        date = (b"date", formatdate(usegmt=True).encode())
        self._state.default_headers = [date, _CLOSE] if self._application.draining else [date]

    def _tick(self) -> None:
        self._head()
        self._loop.call_later(1.0, self._tick)

    def _look(self) -> None:
        """Cut the clients that have kept us waiting for too long."""
        now = self._loop.time()
        stalled: dict[Protocol, tuple[object, float]] = {}
        for connection in self._connections():
            awaited = connection.awaited()
            if awaited is None:
                continue
            before, since = self._stalled.get(connection, (None, now))
            if before is not awaited:
                since = now
            if now - since >= self._settings.timeout_seconds:
                connection.cut()
            stalled[connection] = (awaited, since)
        self._stalled = stalled
        self._loop.call_later(self._settings.timeout_seconds / 4, self._look)
