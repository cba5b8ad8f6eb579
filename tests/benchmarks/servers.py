"""The servers that are compared: each started as its documentation recommends, with one worker.

All serve the same model. Their logs go to a file, as they would anywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks.wrk import Request

ROOT = Path(__file__).resolve().parents[2]
SERVICES = Path(__file__).with_name("services")
INFERENCE_SERVER = ROOT / ".venv-inference-server" / "bin"
KEY = "benchmark-key-0123456789abcdefghijkl"


@dataclass(frozen=True)
class Server:
    """A server to compare with.

    Attributes
    ----------
    name : str
        As the table shows it.
    command : callable
        Gives the words that start it on a port.
    path : str
        Where it scores.
    body : callable, optional
        Makes its request of columns and rows; None: it scores nothing, and is asked by GET.
    env : mapping
        Added to the environment.
    headers : mapping
        Added to each request.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    path: str = "/score"
    body: Callable[[list[str], list[list[float]]], object] | None = lambda _, rows: {"data": rows}
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def contestants(folder: Path) -> dict[str, Server]:
    """Return the servers by a short name, for a folder that `prepare` has filled."""
    package = folder / "package"
    keys = folder / "keys"
    keys.write_text(KEY + "\n", encoding="utf-8")
    keys.chmod(0o600)
    azure = {"WORKER_COUNT": "1", "AML_APP_ROOT": str(folder)}
    return {
        "ours": Server(
            "ours",
            lambda port: [sys.executable, "-I", "-B", str(package / "serve.py"), "--port", str(port)],
            env={
                "SCORING_KEYS_FILE": str(keys),
                "SCORING_REQUIRE_KEYS": "1",
                "SCORING_PUBLIC_KEY": (folder / "signing.pub").read_text(encoding="utf-8"),
            },
            headers={"Authorization": f"Bearer {KEY}"},
        ),
        "bare": Server(
            "ours without key check, limits, metrics and log line",
            lambda port: [sys.executable, "-I", "-B", str(SERVICES / "bare.py"), str(package), str(port)],
        ),
        "hello": Server(
            "bare ASGI hello on uvicorn, uvloop and httptools",
            lambda port: [sys.executable, "-I", "-B", str(SERVICES / "hello.py"), str(port)],
            path="/",
            body=None,
        ),
        "azure": Server(
            "azureml-inference-server-http",
            lambda port: _azure(SERVICES / "azure_entry.py", port),
            env={**azure, "AZUREML_MODEL_DIR": str(folder / "joblib")},
        ),
        "azure_ours": Server(
            "our score.py under Azure's server",
            lambda port: _azure(package / "score.py", port),
            env={**azure, "AZUREML_MODEL_DIR": str(package)},
        ),
        "mlflow": Server(
            "`mlflow models serve`",
            lambda port: [
                *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "mlflow")),
                *("--env-manager", "local", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
            ],
            path="/invocations",
            body=lambda columns, rows: {"dataframe_split": {"columns": columns, "data": rows}},
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        ),
    }


def _azure(script: Path, port: int) -> list[str]:
    return [str(INFERENCE_SERVER / "azmlinfsrv"), "--entry_script", str(script), "--port", str(port)]


@dataclass(frozen=True)
class Running:
    """A server that runs and has answered rightly.

    Attributes
    ----------
    seconds : float
        From its start to its first right answer.
    """

    server: Server
    port: int
    process: psutil.Process
    folder: Path
    seconds: float

    def request(self, rows: str) -> Request:
        """Return a request for "one" row or a "batch"."""
        return _request(self.server, self.port, self.folder, rows)

    def memory(self) -> int:
        """Return the proportional memory of its processes, in bytes."""
        return sum(process.memory_full_info().pss for process in _tree(self.process))


@contextmanager
def running(server: Server, folder: Path, patience: float = 120.0) -> Iterator[Running]:
    """Start a server, wait for its first right answer, and stop it at the end.

    Raises
    ------
    SystemExit
        If it ends, answers wrongly, or doesn't answer within `patience` seconds.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        started = psutil.Popen(
            server.command(port),
            cwd=folder,
            env={**os.environ, **server.env},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        request = _request(server, port, folder, "one")
        while True:
            try:
                request.check(patience)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                ended = started.poll() is not None
                if ended or time.perf_counter() - began > patience:
                    told = log.read_text(errors="replace")[-4000:]
                    raise SystemExit(f"{server.name} doesn't get ready ({error}):\n{told}") from None
                time.sleep(0.005)
        seconds = time.perf_counter() - began
        yield Running(server, port, psutil.Process(started.pid), folder, seconds)
    finally:
        _stop(started)


def _request(server: Server, port: int, folder: Path, rows: str) -> Request:
    url = f"http://127.0.0.1:{port}{server.path}"
    if server.body is None:
        return Request(url, headers=server.headers)
    content = json.loads((folder / f"{rows}.json").read_text(encoding="utf-8"))
    body = json.dumps(server.body(content["columns"], content["data"])).encode()
    headers = {"Content-Type": "application/json", **server.headers}
    return Request(url, body, content["expected"], headers)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _stop(started: psutil.Popen) -> None:
    """End a server and what it has started, and what of it doesn't end by asking."""
    try:
        processes = _tree(started)
    except psutil.NoSuchProcess:
        processes = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    started.wait()
