"""An MLflow server is asked by its REST API, and what it doesn't say for sure is refused."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from utils import platforms, project
from utils.platforms.local.lookup import Server
from utils.platforms.protocol import PlatformError


@pytest.fixture
def mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real MLflow server on loopback, which MLFLOW_TRACKING_URI names."""
    store = tmp_path / "server"
    store.mkdir()
    address = f"sqlite:///{store}/mlflow.db"
    code = (
        "import socket, sys, uvicorn; from mlflow.server.fastapi_app import app;"
        "bound = socket.socket(); bound.bind(('127.0.0.1', 0)); bound.listen();"
        "print(bound.getsockname()[1], flush=True);"
        "uvicorn.Server(uvicorn.Config(app, log_level='error')).run([bound])"
    )
    environment = os.environ | {
        "_MLFLOW_SERVER_FILE_STORE": address,
        "_MLFLOW_SERVER_REGISTRY_STORE": address,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(store / "artifacts"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the server did not start"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_a_real_server_answers_as_it_answers_mlflows_client(mlflow_server: str, model_folder: Path) -> None:
    there = platforms.get("local")
    assert there.registry.champion_version("demo") is None
    run = there.history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    there.registry.register("demo", run, tags={}, key="run-1")
    assert there.registry.champion_version("demo") is None
    there.registry.promote("demo", "1")
    champion = there.registry.champion("demo")
    assert champion is not None
    assert there.registry.champion_version("demo") == champion.version == "1"
    identity = there.history.identity()
    assert identity is not None
    address, _, made = identity.partition(" ")
    assert address == mlflow_server
    assert made.isdecimal()
    assert not (project.home() / "workspace" / "mlflow.db").exists()


class Answers(ThreadingHTTPServer):
    """A web server that answers by path with a status and a body; what it was sent is kept."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.known: dict[str, tuple[int, bytes]] = {}
        self.seen: list[str | None] = []

    def give(self, method: str, answer: Any, status: int = 200) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.known[f"/api/2.0/mlflow/{method}"] = status, body


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Answers)
        self.server.seen.append(self.headers.get("Authorization"))
        status, body = self.server.known.get(self.path.partition("?")[0], (404, b"nothing here"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body.decode())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


ALIASED = {"registered_model": {"name": "demo", "aliases": [{"alias": "champion", "version": "4"}]}}
NONE = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"<html>log in</html>", 200),
        ([], 200),
        ({}, 200),
        (b"", 404),
        ({"error_code": "PERMISSION_DENIED"}, 403),
        ({"error_code": "INTERNAL_ERROR"}, 500),
        (["RESOURCE_DOES_NOT_EXIST"], 404),
    ],
)
def test_what_is_no_answer_of_mlflows_is_no_absence(answers: Answers, answer: Any, status: int) -> None:
    answers.give("registered-models/get", answer, status)
    answers.give("experiments/get", answer, status)
    server = Server(f"http://127.0.0.1:{answers.server_port}")
    with pytest.raises(PlatformError):
        server.alias("demo", "champion")
    with pytest.raises(PlatformError):
        server.made()


def test_an_alias_of_a_version_that_is_gone_is_refused(answers: Answers) -> None:
    answers.give("registered-models/get", ALIASED)
    answers.give("model-versions/get", NONE, 404)
    server = Server(f"http://127.0.0.1:{answers.server_port}/")
    with pytest.raises(PlatformError, match="no version 4, which is its champion"):
        server.alias("demo", "champion")
    answers.give("model-versions/get", {"model_version": {}})
    assert server.alias("demo", "champion") == "4"
    assert server.alias("demo", "other") is None


def test_credentials_are_sent_to_the_server_alone_and_never_shown(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = answers.server_port
    answers.give("registered-models/get", NONE, 404)
    basic = "Basic " + base64.b64encode(b"me:sec@ret").decode()
    Server(f"http://me:sec%40ret@127.0.0.1:{port}").alias("demo", "champion")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    Server(f"http://127.0.0.1:{port}").alias("demo", "champion")
    assert answers.seen == [basic, "Bearer a-token"]
    with Answers() as other:
        # Another place, to which the server sends its visitors: it is not given the password.
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        answers.give("registered-models/get", f"http://127.0.0.1:{other.server_port}/".encode(), 302)
        with pytest.raises(PlatformError) as refusal:
            Server(f"http://me:secret@127.0.0.1:{port}").alias("demo", "champion")
        other.shutdown()
        thread.join()
        assert other.seen == [None]
    assert "secret" not in str(refusal.value)


def test_a_server_that_does_not_answer_is_refused() -> None:
    with pytest.raises(PlatformError, match=r"http://127\.0\.0\.1:9 can't be asked"):
        Server("http://127.0.0.1:9").made()
