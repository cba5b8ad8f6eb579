"""Scoring containers: content is laid out as Azure does it, and Azure's own server started there."""

from __future__ import annotations

import atexit
import base64
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.azure.cloud.artifacts import CONTAINER, Artifacts
from tests.azure.cloud.assets import Assets
from tests.azure.cloud.models import ASSET, Models
from tests.azure.cloud.server import Cloud
from utils import project
from utils.scoring.integrity import SIGNATURE

SERVER = project.root() / ".venv-inference-server" / "bin" / "azmlinfsrv"
ARTIFACT = "aml://artifact/"
SECONDS = 60.0


class ContentError(Exception):
    """What an image shall be made of isn't there; the message says what."""


@dataclass(frozen=True)
class Content:
    """What an image is made of.

    Attributes
    ----------
    files : mapping
        The content of each file below the application's folder.
    variables : mapping
        Of the environment.
    entry, models : str
        Where the entry script and the models are, below that folder.
    """

    files: Mapping[str, bytes]
    variables: Mapping[str, str]
    entry: str
    models: str

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it but signatures, of which no two are the same."""
        told = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in self.files.items()
            if not name.endswith(f"/{SIGNATURE}") and not name.startswith("main")
        }
        return hashlib.sha256(json.dumps([told, dict(self.variables)], sort_keys=True).encode()).hexdigest()


def content(cloud: Cloud, request: Mapping[str, Any]) -> Content:
    """Collect what a request for an image names: models, the entry script's folder, variables.

    Raises
    ------
    ContentError
        If something isn't there.
    """
    found: dict[str, bytes] = {}
    for asset in request["assets"]:
        data = _artifact(cloud, asset["url"])
        if asset.get("unpack"):
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive.getmembers():
                    packed = archive.extractfile(member)
                    if packed is not None:
                        found[member.name] = packed.read()
        else:
            found["main.py" if asset["id"] == request["driverProgram"] else asset["id"]] = data
    named = [model for key in request.get("modelIds") or [] for model in [_model(cloud, key)]]
    for model in named:
        for path, data in _files(cloud, model).items():
            found[f"azureml-models/{model.name}/{model.version}/{path}"] = data
    variables = dict((request.get("environment") or {}).get("environmentVariables") or {})
    single = f"azureml-models/{named[0].name}/{named[0].version}" if len(named) == 1 else "azureml-models"
    return Content(found, variables, variables.get("AZUREML_ENTRY_SCRIPT", "main.py"), single)


def _artifact(cloud: Cloud, url: str) -> bytes:
    key = url.removeprefix(ARTIFACT)
    if not any(each.artifact_id == key for each in cloud.area(Artifacts).found.values()):
        raise ContentError(f"There is no artifact {url}.")
    return bytes(cloud.blobs.get_blob_client(CONTAINER, key).download_blob().readall())


def _model(cloud: Cloud, key: str) -> Any:
    if key not in cloud.area(Models).found:
        raise ContentError(f"There is no model {key}.")
    return cloud.area(Models).found[key]


def _files(cloud: Cloud, model: Any) -> dict[str, bytes]:
    """Return the files of a model, by their paths below the folder that it is kept in."""
    found = {}
    for part in cloud.area(Assets).found[model.url.removeprefix(ASSET)].artifacts:
        origin, container, prefix = part.prefix.split("/", 2)
        parent = prefix.rpartition("/")[0]
        for each in cloud.area(Artifacts).below(origin, container, prefix):
            found[each.path.removeprefix(f"{parent}/")] = _artifact(cloud, ARTIFACT + each.artifact_id)
    return found


@dataclass
class Server:
    """A scoring server that was started.

    Attributes
    ----------
    port : int
    digest : str
        Of what it was started from.
    folder : Path
        Its files, and its log.
    users : int
        How many services it answers for.
    """

    process: subprocess.Popen[bytes]
    port: int
    digest: str
    folder: Path
    users: int = 1
    begun: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(errors="replace")

    def ready(self) -> bool | None:
        """Whether it answers; None as long as nobody knows."""
        if self.process.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return None if time.monotonic() - self.begun < SECONDS else False

    def leave(self) -> None:
        """Need it no more: it is kept for the next service of the same content, some of them."""
        self.users = max(0, self.users - 1)
        idle = [each for each in _KEPT.values() if not each.users]
        for each in idle[: max(0, len(idle) - IDLE)]:
            each.end()

    def free(self) -> None:
        """Be needed by nobody any more."""
        self.users = min(self.users, 1)
        self.leave()

    def end(self) -> None:
        """End it."""
        _KEPT.pop(self.digest, None)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


# By the digest of their content. A start takes seconds, and most tests start what others have started before.
_KEPT: dict[str, Server] = {}
IDLE = 4


@atexit.register
def end_all() -> None:
    """End what was kept."""
    for server in list(_KEPT.values()):
        server.end()


def start(cloud: Cloud, content: Content) -> Server:
    """Lay out an image's files and start Azure's server in them, unless one answers from the same."""
    server = _KEPT.pop(content.digest, None)
    if server is None or server.process.poll() is not None:
        server = _started(cloud, content)
    else:
        server.users += 1
    _KEPT[server.digest] = server
    cloud.at_end(server.free)
    return server


def _started(cloud: Cloud, content: Content) -> Server:
    folder = cloud.home / f"container-{len(list(cloud.home.glob('container-*')))}"
    for name, data in content.files.items():
        path = folder / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "WORKER_COUNT": "1",
        "OMP_NUM_THREADS": "1",
        "AML_APP_ROOT": str(folder / "app"),
        "AZUREML_MODEL_DIR": str(folder / "app" / content.models),
        **content.variables,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(SERVER), "--entry_script", content.entry, "--port", str(port)],
            cwd=folder / "app",
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, port, content.digest, folder)


def ask(
    server: Server, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, bytes, str]:
    """Pass a request on; return the answer's status, body and type."""
    asked = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", body or None, method=method)
    asked.add_header("Content-Type", headers.get("content-type", "application/json"))
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers["Content-Type"]
    except OSError as error:
        return (
            502,
            json.dumps({"error": f"the container doesn't answer: {error}"}).encode(),
            "application/json",
        )


def authorized(header: str) -> str:
    """Return what a registry's basic authorization says, "user:password"; "" for nothing."""
    kind, _, encoded = header.partition(" ")
    return base64.b64decode(encoded).decode() if kind.lower() == "basic" else ""
