"""A container engine, base images, a registry and a package to build images from.

All workers of a test session share one engine: two would want the same network and build the same layers.
The first that needs it starts it, or finds one that answers; the last one ends it. Whatever is missing, the
tests are skipped, saying what.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil
import pytest

from tests.engine import debian, dockerd, packages
from tests.engine.registry import PROGRAM as REGISTRY
from tests.engine.registry import Registry
from utils import files, images
from utils.images import engines
from utils.images.engines import Engine
from utils.packaging import Package

BASE_IMAGE = "localhost/mlops-notebooks/python:3.11"
ROUTER_IMAGE = "localhost/mlops-notebooks/haproxy:2.6"

# The limits that containers get where nobody says otherwise: such as may be set in a virtual machine too.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test session see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "engine"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def engine(shared: Path) -> Iterator[Engine]:
    """A Docker engine that answers; DOCKER_HOST leads to it."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(images.ImageError):
            if not (shared / "daemon.json").exists():
                yield engines.find("docker")
                return
        if not dockerd.usable():
            pytest.skip("no engine")
        daemon = _join(shared)
        try:
            patch.setenv("DOCKER_HOST", daemon.host)
            yield engines.find("docker")
        finally:
            _leave(shared)


def _join(shared: Path) -> dockerd.Daemon:
    with filelock.FileLock(shared / "daemon.lock"):
        record = (
            files.read_json(shared / "daemon.json") if (shared / "daemon.json").exists() else {"users": []}
        )
        if record["users"]:
            daemon = dockerd.Daemon(Path(record["folder"]), record["bridge"])
        else:
            # Not below pytest's folder: the path of a socket may have some hundred characters only.
            daemon = dockerd.start(Path(tempfile.mkdtemp(prefix="engine.")))
        users = [*record["users"], os.getpid()]
        files.write_json(
            shared / "daemon.json", {"folder": str(daemon.folder), "bridge": daemon.bridge, "users": users}
        )
        return daemon


def _leave(shared: Path) -> None:
    with filelock.FileLock(shared / "daemon.lock"):
        record = files.read_json(shared / "daemon.json")
        # A worker that was killed has not left by itself.
        record["users"] = [pid for pid in record["users"] if pid != os.getpid() and psutil.pid_exists(pid)]
        files.write_json(shared / "daemon.json", record)
        if not record["users"]:
            dockerd.stop(dockerd.Daemon(Path(record["folder"]), record["bridge"]))


def _debian(engine: Engine, shared: Path, image: str, tag: str, *entrypoint: str) -> str:
    if absent := debian.missing(image):
        pytest.skip(f"no packages: run make engine-base for {', '.join(absent)}")
    with filelock.FileLock(shared / f"{image}.lock"):
        return debian.load(engine, debian.tar(image, shared), tag, *entrypoint)


@pytest.fixture(scope="session")
def base_image(engine: Engine, shared: Path) -> str:
    """An image with Debian's Python, as small as the official slim one; it has no shell."""
    if platform.python_version_tuple()[:2] != ("3", "11"):
        pytest.skip("no base image: Debian 12 has Python 3.11 alone")
    return _debian(engine, shared, "python", BASE_IMAGE)


@pytest.fixture(scope="session")
def router_image(engine: Engine, shared: Path) -> str:
    """An image with Debian's HAProxy, started by its entrypoint."""
    return _debian(engine, shared, "haproxy", ROUTER_IMAGE, "/usr/sbin/haproxy")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that runs; a test that ends it uses one of its own."""
    if not REGISTRY.exists():
        pytest.skip("no registry")
    made = Registry(tmp_path_factory.mktemp("registry") / "registry")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def containers(base_image: str, shared: Path) -> Iterator[Path]:
    """Settings under which Podman and Buildah run here, with a storage that holds the base image.

    CONTAINERS_CONF and CONTAINERS_STORAGE_CONF lead to them.
    """
    if shutil.which("podman") is None or os.geteuid() != 0:
        pytest.skip("no podman")
    folder = Path(tempfile.mkdtemp(prefix="podman."))
    files.write_text(folder / "containers.conf", _CONTAINERS)
    files.write_text(folder / "storage.conf", _STORAGE.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        podman = engines.find("podman")
        debian.load(podman, debian.tar("python", shared), base_image)
        yield folder
        podman.run("system", "reset", "--force", seconds=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def layers(shared: Path) -> Path:
    """Where the layers of packages are kept, for all workers."""
    return shared / "layers"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package whose model is ONNX, and which imports what a service of such a model does."""
    return packages.make(tmp_path_factory.mktemp("package") / "package")


@pytest.fixture
def image(package: Package, layers: Path, base_image: str, tmp_path: Path) -> images.Image:
    """Its image in the engine."""
    return images.build(
        package, folder=tmp_path / "image", cache=layers, base_image=base_image, engine="docker"
    )
