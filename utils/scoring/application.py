"""The service over HTTP, as a plain ASGI application: routes, keys, limits, and an answer to everything.

Requests are scored one after the other, in the event loop itself: a row takes some microseconds, and
threads would only add their switching.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from itertools import count
from time import perf_counter
from typing import Any

import msgspec

from . import metrics, openapi, page
from .counts import Counts
from .deadlines import Deadlines
from .journal import Journal
from .keys import Keys
from .loading import Loaded
from .misfits import BadRequest
from .settings import MB, Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"

# What a client may give as a request's id, to find it again in the log.
_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,100}")

_LONGEST_PATH = 100

_logger = logging.getLogger("scoring")


class _Refusal(Exception):  # noqa: N818 - it becomes an answer
    """A request that is answered by a status, a reason, and perhaps further headers."""

    def __init__(self, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class _GoneError(Exception):
    """The client has gone away before its request was whole."""


class Application:
    """The service of a loaded package.

    Parameters
    ----------
    loaded : Loaded
    settings : Settings
    counts : Counts
    journal : Journal

    Attributes
    ----------
    draining : bool
        Whether the service is about to pause or end: then it says that it isn't ready.

    Raises
    ------
    KeysError
        If the settings name a file of keys that isn't as it should be.
    """

    def __init__(self, loaded: Loaded, settings: Settings, counts: Counts, journal: Journal) -> None:
        self.draining = False
        self._scorer = loaded.scorer
        self._settings = settings
        self._keys = None if settings.keys_file is None else Keys(settings.keys_file)
        self._counts = counts
        self._journal = journal
        self._deadlines = Deadlines(settings.timeout_seconds)
        self._encode = msgspec.json.Encoder().encode
        self._origin = os.urandom(8).hex()
        self._number = count(1)
        self._metrics = metrics.Metrics(counts, loaded.identity)
        self._identity = {
            "digest": loaded.identity.digest,
            "model": loaded.identity.name,
            "version": loaded.identity.version,
        }
        document = openapi.document(loaded, settings, keys=self._keys is not None)
        described = self._encode(document)
        human = page.render(loaded, keys=self._keys is not None)
        # What each path answers to GET: status, type, content.
        self._pages: Mapping[str, Callable[[], tuple[int, bytes, bytes]]] = {
            "/health/live": lambda: (200, JSON, b'{"status":"alive"}'),
            "/health/ready": self._ready,
            "/metrics": lambda: (200, metrics.CONTENT_TYPE, self._metrics.page()),
            "/openapi.json": lambda: (200, JSON, described),
            "/": lambda: (200, b"text/html; charset=utf-8", human),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, by the ASGI protocol."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        begin = perf_counter()
        method, path = scope["method"], scope["path"]
        kind = length = authorization = given = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = value
            elif name == b"authorization":
                authorization = value
            elif name == b"content-length":
                length = value
            elif name == b"x-request-id" or (name == b"x-ms-request-id" and given is None):
                given = value
        if given is not None and _ID.fullmatch(given):
            request = given.decode()
        else:
            request = f"{self._origin}-{next(self._number):x}"
        headers: list[tuple[bytes, bytes]] = [(b"x-request-id", request.encode())]
        scoring = path == "/score"
        if scoring:
            self._counts.begin()
        rows = size = 0
        status, answered, content = 499, JSON, b""
        try:
            if self._keys is not None and (scoring or path == "/metrics"):
                self._admit(self._keys, authorization)
            if scoring:
                body = await self._body(method, kind, length, receive)
                size = len(body)
                result = self._scorer.score(body)
                rows = len(result)
                status, content = 200, self._encode({"result": result})
            else:
                status, answered, content = self._page(method, path)
        except BadRequest as refused:
            status, content = refused.status, self._encode({"error": refused.message})
        except _Refusal as refused:
            status, content = refused.status, self._encode({"error": refused.reason})
            headers.extend(refused.headers)
        except _GoneError:
            return
        except Exception:
            _logger.exception("request %s failed", request)
            status = 500
            content = self._encode({"error": "The service failed to answer this request; its log says why."})
        finally:
            # Counted before it is sent: a client that has its answer finds it counted.
            seconds = perf_counter() - begin
            if scoring:
                self._counts.end(status, seconds, rows)
            self._journal.add(request, method, path[:_LONGEST_PATH], status, rows, seconds, size)
        headers.append((b"content-type", answered))
        headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _admit(self, keys: Keys, authorization: bytes | None) -> None:
        if not keys.admit(authorization):
            raise _Refusal(
                401,
                "Send an API key of this service in the header Authorization: Bearer <key>.",
                (b"www-authenticate", b"Bearer"),
            )

    def _page(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        found = self._pages.get(path)
        if found is None:
            known = f"POST /score, GET {', '.join(self._pages)}"
            raise _Refusal(404, f"There is no {path[:_LONGEST_PATH]}: {known}.")
        if method not in ("GET", "HEAD"):
            raise _Refusal(405, f"{path} doesn't take {method}: GET it.", (b"allow", b"GET, HEAD"))
        return found()

    def _ready(self) -> tuple[int, bytes, bytes]:
        status, word = (503, "draining") if self.draining else (200, "ready")
        return status, JSON, self._encode({"status": word, **self._identity})

    async def _body(self, method: str, kind: bytes | None, length: bytes | None, receive: Receive) -> bytes:
        """Read the body, within the limits of size and time."""
        if method != "POST":
            raise _Refusal(405, f"/score doesn't take {method}: POST the rows.", (b"allow", b"POST"))
        if kind != JSON and (kind or b"").partition(b";")[0].strip().lower() != JSON:
            raise _Refusal(415, "Send the rows as JSON, with the header Content-Type: application/json.")
        most = self._settings.max_bytes
        # What is too large is refused at once; the server reads on for a while, and throws it away, for a
        # client that is cut off while it sends would never see why.
        if length is not None and length.isdigit() and int(length) > most:
            raise self._too_large()
        task = self._deadlines.begin()
        try:
            message = await receive()
            if not message.get("more_body") and message["type"] == "http.request":
                body: bytes = message.get("body", b"")
                if len(body) > most:
                    raise self._too_large()
                return body
            chunks: list[bytes] = []
            size = 0
            while message["type"] == "http.request":
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    raise self._too_large()
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
                message = await receive()
        except asyncio.CancelledError:
            if not self._deadlines.late(task):
                raise
            seconds = self._settings.timeout_seconds
            raise _Refusal(
                408, f"The request wasn't whole after {seconds:g} seconds.", (b"connection", b"close")
            ) from None
        finally:
            self._deadlines.end(task)
        raise _GoneError

    def _too_large(self) -> _Refusal:
        most = self._settings.max_bytes
        words = f"{most / MB:g} MB" if most >= MB else f"{most} bytes"
        return _Refusal(413, f"The body is larger than {words}: send fewer rows at a time.")
