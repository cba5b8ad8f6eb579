"""Services of a package: as an application in this process, and as processes behind a socket."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from utils.scoring import control, loading
from utils.scoring.application import Application
from utils.scoring.counts import Counts
from utils.scoring.journal import Journal
from utils.scoring.settings import Settings

GOOD = [24.5, 88.0, 40, True, "north", "a"]
KEY, OTHER_KEY = "first-key-of-the-service", "second-key-of-the-service"


def body_of(*rows: Any) -> bytes:
    return json.dumps({"data": list(rows)}).encode()


# ------------------------------------------------------------------ in this process


@dataclass
class Answer:
    """What an application has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Asked:
    """An application that is asked without a socket; `log` is its journal."""

    def __init__(self, folder: Path, log: Path, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.counts = Counts()
        self._log = log
        self._output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.application = Application(
            loading.load(folder, self.settings), self.settings, self.counts, Journal(self._output)
        )

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def close(self) -> None:
        os.close(self._output)

    def ask(
        self,
        method: str,
        path: str,
        *chunks: bytes,
        kind: str = "application/json",
        key: str = "",
        headers: dict[str, str] | None = None,
        gone: bool = False,
        silent: bool = False,
    ) -> Answer | None:
        """Send a request in chunks, without telling its length; then go away, be silent, or wait."""
        pending = list(chunks or [b""])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not pending:
                if silent:
                    await asyncio.sleep(60)
                return {"type": "http.disconnect"}
            chunk = pending.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(pending) or gone or silent}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {**(headers or {})}
        if kind:
            given["content-type"] = kind
        if key:
            given["authorization"] = f"Bearer {key}"
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }

        async def ask() -> None:
            await self.application(scope, receive, send)
            await asyncio.sleep(0.1)  # the journal writes now and then

        asyncio.run(ask())
        if not sent:
            return None
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], answered, b"".join(message["body"] for message in sent[1:]))


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Callable[..., Asked]]:
    """Makes applications of packages."""
    made: list[Asked] = []

    def make(folder: Path, **settings: Any) -> Asked:
        made.append(Asked(folder, tmp_path / f"journal.{len(made)}", **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


# ------------------------------------------------------------------ as processes


def until(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what is found, as soon as it is something."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "it didn't come"
        time.sleep(0.01)
    return result


@dataclass
class Service:
    """A package's serve.py, running."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path
    control: Path
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.connections.append(connection)
        return connection

    def ask(
        self,
        method: str = "POST",
        path: str = "/score",
        body: bytes | None = None,
        connection: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        given = {"Content-Type": "application/json", **headers}
        once = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            once.request(method, path, body, given)
            response = once.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            if connection is None:
                once.close()

    def status(self) -> dict[str, Any]:
        return control.ask(self.control, "status")

    def is_in(self, state: str) -> bool:
        with contextlib.suppress(control.ControlError):
            return bool(self.status()["state"] == state)
        assert self.process.poll() is None, self.errors
        return False

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services; none outlives the test."""
    made: list[Service] = []

    def start(
        package: Path,
        *words: str,
        listener: socket.socket | None = None,
        state: str = "serving",
        **settings: str,
    ) -> Service:
        folder = tmp_path / f"service.{len(made)}"
        folder.mkdir()
        own = socket.create_server(("127.0.0.1", 0)) if listener is None else listener
        with (folder / "log").open("wb") as log, (folder / "errors").open("wb") as errors:
            script = [sys.executable, "-I", "-B", str(package / "serve.py")]
            where = ["--fd", str(own.fileno()), "--control", str(folder / "control")]
            process = subprocess.Popen(
                [*script, *where, *words],
                pass_fds=[own.fileno()],
                stdout=log,
                stderr=errors,
                env={"SCORING_DRAIN_SECONDS": "5", **settings},
            )
        service = Service(process, own.getsockname()[1], folder, folder / "control")
        made.append(service)
        if listener is None:
            own.close()
        if state:
            until(lambda: service.is_in(state))
        return service

    yield start
    for service in made:
        for connection in service.connections:
            connection.close()
        service.process.kill()
        service.process.wait()
