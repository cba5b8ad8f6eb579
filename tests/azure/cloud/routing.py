"""Routes: which function answers which call, and what it is given and gives."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.azure.cloud import exact

if TYPE_CHECKING:
    from tests.azure.cloud.server import Cloud

WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)

Handler = Callable[["Cloud", "Request"], "Answer"]
Guard = Callable[["Cloud", "Request"], "Answer | None"]
GUARDS: list[Guard] = []
_ROUTES: list[tuple[frozenset[str], re.Pattern[str], str, Handler]] = []


@dataclass
class Request:
    """A call.

    Attributes
    ----------
    method, host, path : str
        The path without its quoting.
    names : mapping
        What stands at the route's braces.
    query, queries : mapping
        The last and all values of each query parameter.
    headers : mapping
        Their names in lower case.
    """

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    queries: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    names: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body, or None if it is empty."""
        return json.loads(self.body) if self.body else None

    def model(self, model: type) -> Any:
        """Read the body as one of the SDK's models, strictly."""
        return exact.parse(model, self.json)

    def models(self, model: type) -> list[Any]:
        """Read the body as a list of them."""
        return [exact.parse(model, each) for each in self.json]


@dataclass
class Answer:
    """What is answered: JSON, one of the SDK's models, a list of them, or bytes as they are."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the body as it is sent."""
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(exact.render(self.body)).encode()


def refused(status: int, code: str, message: str, **headers: str) -> Answer:
    """Return an error as Azure writes it."""
    return Answer(status, {"error": {"code": code, "message": message}}, headers)


def missing(code: str, message: str) -> Answer:
    """Return that something isn't there."""
    return refused(404, code, message)


def identity() -> str:
    """Return a new identity, as Azure gives everything one."""
    return str(uuid.uuid4())


def route(methods: str, path: str) -> Callable[[Handler], Handler]:
    """Let a function answer these methods ("GET|PUT") of a path.

    Parameters
    ----------
    path : str
        {name} stands for one segment, {name:path} for all that follows. Upper and lower case are the same.
    """

    def registering(handler: Handler) -> Handler:
        pattern = "".join(
            (f"(?P<{name}>.*)" if rest else f"(?P<{name}>[^/]+)") if name else re.escape(literal)
            for literal, name, rest in re.findall(r"([^{]+)|\{(\w+)(:path)?\}", path)
        )
        _ROUTES.append(
            (frozenset(methods.split("|")), re.compile(pattern + "/?", re.IGNORECASE), path, handler)
        )
        return handler

    return registering


def guard(asked: Guard) -> Guard:
    """Let a function see each call before who answers it, and refuse it by an answer of its own."""
    GUARDS.append(asked)
    return asked


def find(method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
    """Return the function for a call, of several the one with the most literal route, and its names."""
    fitting = [
        (len(re.sub(r"\{.*?\}", "", written)), -written.count(":path"), handler, match.groupdict())
        for methods, pattern, written, handler in _ROUTES
        if method in methods and (match := pattern.fullmatch(path))
    ]
    if not fitting:
        return None
    *_, handler, names = max(fitting, key=lambda each: each[:2])
    return handler, names
