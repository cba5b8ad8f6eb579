"""A worker: one process that answers requests, as its supervisor tells it to.

They talk over a pair of sockets, one word a line: the supervisor says "serve", "pause" or "stop", the worker
answers "ready <digest>" once and then "serving" or "paused". When the supervisor is gone, the
worker stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
from pathlib import Path

import uvloop

from . import loading
from .application import Application
from .counts import Counts
from .journal import Journal
from .server import Server
from .settings import Settings

# The exit code of a worker that must not serve this package, however often it is started.
REFUSED = 3


def run(
    folder: Path,
    listener: socket.socket,
    channel: socket.socket,
    settings: Settings,
    counts: Counts,
    number: int,
    tls: tuple[Path, Path] | None,
) -> int:
    """Load a package, then serve it until told to stop, by the supervisor or by SIGTERM.

    Parameters
    ----------
    channel : socket
        To the supervisor.
    number : int
        Of this worker, from 0.
    tls : (Path, Path) or None
        The certificate and its key.

    Returns
    -------
    int
        The exit code: 0, or REFUSED with the reason on standard error.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what is no HTTP is in the journal
    journal = Journal()
    try:
        context = None if tls is None else _tls(*tls)
        loaded = loading.load(folder, settings)
        application = Application(loaded, settings, counts, journal)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"The service is not started: {error}", file=sys.stderr, flush=True)
        return REFUSED
    # What is loaded now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    counts.mine(number)

    async def serve() -> None:
        server = Server(application, listener, settings, counts, journal, context)
        await _obey(server, channel, loaded.identity.digest)
        journal.flush()

    uvloop.run(serve())
    return 0


async def _obey(server: Server, channel: socket.socket, digest: str) -> None:
    """Do what the supervisor says, one thing after the other, until it says stop."""
    channel.setblocking(False)
    loop = asyncio.get_running_loop()
    words: asyncio.Queue[str] = asyncio.Queue()
    loop.add_signal_handler(signal.SIGTERM, words.put_nowait, "stop")
    told = b""

    def hear() -> None:
        nonlocal told
        try:
            part = channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        told += part
        *lines, told = told.split(b"\n")
        for line in lines:
            words.put_nowait(line.decode())
        if not part:
            loop.remove_reader(channel)
            words.put_nowait("stop")

    def say(word: str) -> None:
        with contextlib.suppress(OSError):
            channel.send(word.encode() + b"\n")

    loop.add_reader(channel, hear)
    say(f"ready {digest}")
    while (word := await words.get()) != "stop":
        if word == "serve":
            await server.accept()
            say("serving")
        else:
            server.pause()
            say("paused")
    await server.end()


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ValueError(f"the certificate {certificate} and its key {key} can't be used: {error}") from error
    return context
