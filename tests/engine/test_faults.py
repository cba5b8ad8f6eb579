"""What goes wrong around an engine: it is told, nothing half-made stays, the same call goes on."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import debian, dockerd
from tests.engine.registry import Registry, cutting
from utils import images
from utils.images import ImageError
from utils.images.engines import Engine
from utils.packaging import Package

pytestmark = pytest.mark.engine


@pytest.fixture
def own_registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that the test may end."""
    made = Registry(tmp_path / "registry")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _grow(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


# ------------------------------------------------------------------ registries


def test_a_registry_that_is_down_is_told_after_some_tries_and_the_image_stays(
    package: Package,
    layers: Path,
    base_image: str,
    engine: Engine,
    own_registry: Registry,
    tmp_path: Path,
) -> None:
    def build() -> images.Image:
        return images.build(
            package,
            folder=tmp_path / "image",
            cache=layers,
            base_image=base_image,
            engine="docker",
            registry=own_registry.address,
        )

    own_registry.stop()
    with pytest.raises(
        ImageError, match=rf"registry 127\.0\.0\.1:{own_registry.port} doesn't answer.*run this"
    ):
        build()
    own_registry.start()
    assert build().digest.startswith("sha256:")


def test_a_push_that_is_cut_off_goes_on_where_it_was(
    package: Package, layers: Path, base_image: str, containers: Path, own_registry: Registry, tmp_path: Path
) -> None:
    # By then the base image has gone through, and most of the packages, which go beside it.
    with cutting(own_registry.port, 48_000_000) as proxy:

        def build() -> images.Image:
            return images.build(
                package,
                folder=tmp_path / "image",
                cache=layers,
                base_image=base_image,
                engine="podman",
                registry=f"127.0.0.1:{proxy.port}/mlops",
            )

        with pytest.raises(ImageError, match=r"doesn't answer as it should: .* run this again"):
            build()
        assert proxy.left < 0
        proxy.reopen()
        before = proxy.left
        image = build()
        sent = before - proxy.left
    assert image.reference.endswith(f"/diabetes-progression@{image.digest}")
    assert 0 < sent < own_registry.stored()


def test_docker_itself_goes_on_when_the_registry_is_back_in_time(
    package: Package, layers: Path, base_image: str, engine: Engine, own_registry: Registry, tmp_path: Path
) -> None:
    with cutting(own_registry.port, 20_000_000) as proxy:
        restarted: list[bool] = []

        def restart() -> None:
            if proxy.cut.wait(60):
                proxy.reopen()
                restarted.append(True)

        waiting = threading.Thread(target=restart)
        waiting.start()
        image = images.build(
            package,
            folder=tmp_path / "image",
            cache=layers,
            base_image=base_image,
            engine="docker",
            registry=f"127.0.0.1:{proxy.port}/mlops",
        )
        waiting.join()
    assert restarted
    assert image.digest.startswith("sha256:")


# ------------------------------------------------------------------ base images


def test_a_base_image_that_is_not_there_is_named(
    package: Package, layers: Path, engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=r"The base image 127\.0\.0\.1:1/none:1 can't be had"):
        images.build(
            package,
            folder=tmp_path / "image",
            cache=layers,
            base_image="127.0.0.1:1/none:1",
            engine="docker",
        )


# ------------------------------------------------------------------ engines and disks


@pytest.fixture
def own_engine(
    engine: Engine, base_image: str, shared: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dockerd.Daemon]:
    """An engine that the test may end, with its images on a disk of 200 MB."""
    if not dockerd.usable():
        pytest.skip("no engine")
    _grow(disk, "200m")
    daemon = dockerd.start(Path(tempfile.mkdtemp(prefix="engine.")), data=disk / "data")
    monkeypatch.setenv("DOCKER_HOST", daemon.host)
    debian.load(engine, debian.tar("python", shared), base_image)
    yield daemon
    dockerd.stop(daemon)


def test_a_full_disk_of_the_engine_is_told_and_the_build_goes_on_when_there_is_room(
    own_engine: dockerd.Daemon,
    disk: Path,
    package: Package,
    layers: Path,
    base_image: str,
    engine: Engine,
    tmp_path: Path,
) -> None:
    def build() -> images.Image:
        return images.build(
            package, folder=tmp_path / "image", cache=layers, base_image=base_image, engine="docker"
        )

    with pytest.raises(ImageError, match="The disk is full: free some space"):
        build()
    assert engine.run("image", "ls", "--quiet").stdout.split() == [_short(engine, base_image)]
    _grow(disk, "1g")
    assert engine.run("image", "inspect", build().reference).returncode == 0


def _short(engine: Engine, image: str) -> str:
    told = engine.run("image", "ls", "--quiet", image).stdout
    return told.strip()


def test_an_engine_that_ends_while_it_builds_is_told(
    own_engine: dockerd.Daemon, disk: Path, package: Package, layers: Path, base_image: str, tmp_path: Path
) -> None:
    _grow(disk, "1g")
    before = _used(disk)

    def end_it() -> None:
        end = time.monotonic() + 60
        while _used(disk) < before + 10_000_000 and time.monotonic() < end:
            time.sleep(0.01)
        dockerd.kill(own_engine, force=True)

    ending = threading.Thread(target=end_it)
    ending.start()
    with pytest.raises(ImageError, match="The engine doesn't answer any more: start it"):
        images.build(package, folder=tmp_path / "image", cache=layers, base_image=base_image, engine="docker")
    ending.join()
    # The next call finds none that answers, and says which were asked.
    with pytest.raises(
        ImageError, match=r"No container engine answers: start docker(.|\n)*/docker: Cannot connect"
    ):
        images.build(package, folder=tmp_path / "image", cache=layers, base_image=base_image, engine="docker")


def _used(disk: Path) -> int:
    told = os.statvfs(disk)
    return (told.f_blocks - told.f_bfree) * told.f_frsize


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_a_full_disk_of_ours_is_told_and_leaves_nothing(
    where: str, package: Package, layers: Path, disk: Path, base_image: str, engine: Engine, tmp_path: Path
) -> None:
    cache, folder = (disk / "cache", tmp_path / "image") if where == "cache" else (layers, disk / "image")
    with pytest.raises(ImageError, match=rf"The disk is full: free some space where {disk}"):
        images.build(package, folder=folder, cache=cache, base_image=base_image, engine="docker")
    assert not folder.exists()
    left = [path.name for path in disk.rglob("*") if path.is_file()]
    assert left in ([], [".lock"])
