"""A container of an image, run as an image of ours is meant to be run."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

from utils.images.engines import Engine

# No way to write but to a temporary folder in memory, no rights, no root.
CONFINED = (
    *("--read-only", "--tmpfs", "/tmp", "--user", "65532", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "512m", "--pids-limit", "64"),
)
READY_SECONDS = 60.0


@contextlib.contextmanager
def running(engine: Engine, image: str, *options: str) -> Iterator[tuple[str, int]]:
    """Run an image until the end of the block.

    Yields
    ------
    tuple of str and int
        The container's id, and the port of loopback that its service is on.
    """
    started = engine.run("run", "--detach", "--publish", "127.0.0.1:0:5001", *CONFINED, *options, image)
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    try:
        told = engine.run("port", container, "5001/tcp").stdout
        port = int(told.split()[0].rpartition(":")[2])
        wait_until_answering(engine, container, port)
        yield container, port
    finally:
        engine.run("rm", "--force", container)


def wait_until_answering(engine: Engine, container: str, port: int) -> None:
    """Wait for the service, or fail by what it has printed."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(port, "GET", "/health/ready")
            return
        state = engine.run("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
        if state != "true":
            break
        time.sleep(0.05)
    logs = engine.run("logs", container)
    raise AssertionError(f"the service doesn't answer:\n{logs.stdout}{logs.stderr}")


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """Ask a service, and return the JSON that it answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return answer
    finally:
        connection.close()
