"""The command of a package: serve it over HTTP, by a supervisor and its workers."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from .control import ControlError
from .counts import Counts
from .settings import SettingError, Settings
from .supervisor import Supervisor

BACKLOG = 2048

_SETTINGS = """\
environment variables:
  SCORING_KEYS_FILE        a file with one or two API keys, one a line; it is read again when it
                           changes. Without it no key is asked for.
  SCORING_REQUIRE_KEYS     1: refuse to start without SCORING_KEYS_FILE
  SCORING_PUBLIC_KEY       a public key, as PEM: the package must be signed by its owner
  SCORING_MAX_BYTES        of a request's body (8388608)
  SCORING_MAX_ROWS         in a request (1000)
  SCORING_MAX_CONNECTIONS  open at a time, in each worker (1000)
  SCORING_TIMEOUT_SECONDS  in which a request must have come in whole (30)
  SCORING_DRAIN_SECONDS    for which idle connections are kept when pausing or ending (10)

The service writes one JSON line for each request to standard output, and what fails to standard
error. SIGTERM or ^C ends it once all requests are answered; a second one ends it at once.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve this package until SIGTERM or SIGINT.

    Raises
    ------
    SystemExit
        0 when it was told to end, 1 if it couldn't be started, 2 for wrong usage.
    """
    given = _parser().parse_args(arguments)
    if bool(given.tls_certificate) != bool(given.tls_key):
        _parser().error("--tls-certificate and --tls-key belong together")
    try:
        settings = Settings.read()
        listener = _listener(given)
        counts = Counts(given.workers)
        tls = (given.tls_certificate, given.tls_key) if given.tls_certificate else None
        supervisor = Supervisor(
            listener,
            partial(_work, listener, settings, counts, tls),
            workers=given.workers,
            counts=counts,
            path=given.control,
            standby=given.standby,
            drain_seconds=settings.drain_seconds,
        )
        sys.exit(supervisor.run())
    except (SettingError, ControlError, OSError) as error:
        print(f"The service is not started: {error}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serve.py",
        description="Serve the package that this file is in.",
        epilog=_SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, default=5001, help="port to listen on (5001); 0: a free one")
    where.add_argument("--fd", type=int, help="a socket that listens already, instead of host and port")
    parser.add_argument("--workers", type=_positive, default=1, help="processes that answer (1)")
    parser.add_argument(
        "--control",
        type=Path,
        metavar="PATH",
        help="a Unix socket that takes orders: status, serve, pause, socket",
    )
    parser.add_argument(
        "--standby", action="store_true", help="load and check everything, but wait for the order to serve"
    )
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="serve HTTPS with this (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    return parser


def _positive(text: str) -> int:
    if not (text.isdigit() and 1 <= int(text) <= 1024):
        raise argparse.ArgumentTypeError("give a whole number of at least 1")
    return int(text)


def _listener(given: argparse.Namespace) -> socket.socket:
    if given.fd is not None:
        found = socket.socket(fileno=given.fd)
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(f"the file descriptor {given.fd} is no socket that listens")
        return found
    family = socket.AF_INET6 if ":" in given.host else socket.AF_INET
    try:
        found = socket.create_server((given.host, given.port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise OSError(f"it can't listen on {given.host}, port {given.port}: {error}") from error
    scheme = "https" if given.tls_certificate else "http"
    host = f"[{given.host}]" if family == socket.AF_INET6 else given.host
    print(f"scoring: listening on {scheme}://{host}:{found.getsockname()[1]}", file=sys.stderr, flush=True)
    return found


def _work(
    listener: socket.socket,
    settings: Settings,
    counts: Counts,
    tls: tuple[Path, Path] | None,
    channel: socket.socket,
    number: int,
) -> int:
    """Do what a worker does; in its own process, for the supervisor imports none of it."""
    from . import worker

    folder = Path(__file__).resolve().parent.parent
    return worker.run(folder, listener, channel, settings, counts, number, tls)
