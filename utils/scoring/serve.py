"""Serve a package over HTTP: ``POST /score`` and ``GET /health``.

    python serve.py [--host 127.0.0.1] [--port 5001] | --fd N

`--fd` takes over a socket that listens already, so that no port is lost between choosing and using it.
Requests are scored one after the other, in the event loop itself: scikit-learn holds Python's lock
while it predicts, so that threads would only add their switching to each request.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if __package__:
    from utils.scoring import score
else:  # in a package, where score.py lies beside this file
    sys.dont_write_bytecode = True  # a package holds what its manifest names and nothing else
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import score  # type: ignore[import-not-found, no-redef]

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 8 * 2**20
# A body that is too large is still read up to here: a client that is cut off while it sends never sees why.
DRAINED_BYTES = 8 * MAX_BYTES


def application(folder: Path) -> Starlette:
    """Build the service of a package; its model must have been loaded.

    Parameters
    ----------
    folder : Path
        Of the package: manifest.json and the files that it names.

    Raises
    ------
    RuntimeError
        If a file isn't the one that the manifest names.
    """
    content = (folder / "manifest.json").read_bytes()
    manifest = json.loads(content)
    for name, digest in manifest["files"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise RuntimeError(f"{name} is not the file that manifest.json names: build the package again.")
    health = {
        "status": "ok",
        "digest": hashlib.sha256(content).hexdigest(),
        "model": manifest["name"],
        "version": manifest["version"],
    }

    async def answer_health(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse(health)

    async def answer_score(request: Request) -> Response:
        try:
            return JSONResponse(score.run(await _body(request)))
        except score.BadRequest as refused:
            return _error(refused.status, refused.message)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    service = Starlette(
        routes=[
            Route("/score", answer_score, methods=["POST"]),
            Route("/health", answer_health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    service.router.redirect_slashes = False
    return service


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Send the rows as JSON, with the header Content-Type: application/json.")
    chunks: list[bytes] = []
    size = 0
    # A length that is told may be wrong or missing: what arrives is what counts.
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BYTES:
            chunks.append(chunk)
        elif size > DRAINED_BYTES:
            break
        else:
            chunks.clear()
    if size > MAX_BYTES:
        raise HTTPException(
            413, f"The body is larger than {MAX_BYTES // 2**20} MB: send fewer rows at a time."
        )
    return b"".join(chunks)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    message = {
        404: f"There is no {request.url.path}: POST /score, GET /health.",
        405: f"{request.url.path} doesn't take {request.method}.",
    }.get(error.status_code, error.detail)
    return _error(error.status_code, message, error.headers)


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001
    # Starlette raises the error again after this answer, and uvicorn writes its traceback to the log.
    return _error(500, "The service failed to score this request; its log says why.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the model and serve until SIGTERM or SIGINT; requests under way are answered first."""
    parser = argparse.ArgumentParser(description="Serve the package that this file is in.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--fd", type=int, help="a socket that listens already, instead of host and port")
    given = parser.parse_args(arguments)
    score.init()
    config = uvicorn.Config(
        application(Path(__file__).resolve().parent),
        host=given.host,
        port=given.port,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    # Not by uvicorn's own fd option, which takes every socket for a Unix one.
    sockets = None if given.fd is None else [socket.socket(fileno=given.fd)]
    uvicorn.Server(config).run(sockets=sockets)


if __name__ == "__main__":
    main()
