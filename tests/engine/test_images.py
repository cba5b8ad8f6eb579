"""Images in a real engine: what is in them, how they run, and that they are the same each time."""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine import packages
from tests.engine.containers import ask, running
from tests.engine.registry import Registry
from utils import images, packaging
from utils.images.engines import Engine
from utils.packaging import Package, PackageError

pytestmark = pytest.mark.engine

MOST_BYTES = 140_000_000


@pytest.fixture(scope="module")
def image(
    package: Package, layers: Path, base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> images.Image:
    folder = tmp_path_factory.mktemp("image") / "context"
    return images.build(package, folder=folder, cache=layers, base_image=base_image, engine="docker")


def _inspect(engine: Engine, image: images.Image) -> Any:
    return json.loads(engine.run("image", "inspect", image.reference).stdout)[0]


def test_a_confined_container_answers_to_requests(
    image: images.Image, package: Package, engine: Engine
) -> None:
    with running(engine, image.reference) as (_, port):
        assert ask(port, "POST", "/score", {"data": [[3], [7]]})["result"] == pytest.approx(
            [11, 19], rel=1e-5
        )
        assert ask(port, "GET", "/health/ready")["digest"] == package.digest


def test_a_container_can_write_nowhere_and_has_no_rights(image: images.Image, engine: Engine) -> None:
    with running(engine, image.reference) as (container, _):
        told = engine.run("exec", container, "python3", "-I", "-c", _RIGHTS).stdout
    rights = json.loads(told)
    assert rights == {"written": [], "user": 65532, "capabilities": 0, "no_new_privileges": "1"}


_RIGHTS = """
import json, os, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
written = []
for folder in ("/", "/service", "/service/scoring", "/packages", "/etc", "/usr/lib"):
    try:
        pathlib.Path(folder, "written").write_text("")
        written.append(folder)
    except OSError:
        pass
print(json.dumps({"written": written, "user": os.getuid(), "capabilities": int(status["CapBnd"], 16),
                  "no_new_privileges": status["NoNewPrivs"].strip()}))
"""


def test_without_a_read_only_root_the_service_still_may_not_change_itself(
    image: images.Image, engine: Engine
) -> None:
    script = _RIGHTS.replace('"/", ', "")
    done = engine.run("run", "--rm", "--entrypoint", "python3", image.reference, "-I", "-c", script)
    assert json.loads(done.stdout)["written"] == []


def test_its_health_check_sees_a_service_that_answers_and_one_that_does_not(
    image: images.Image, engine: Engine
) -> None:
    with running(engine, image.reference, "--health-interval", "200ms") as (container, _):
        assert _health(engine, container, "healthy") == "healthy"
    silent = ("--entrypoint", "python3", "--health-start-period", "1ms", "--health-retries", "1")
    waiting = "import threading; threading.Event().wait()"
    started = engine.run(
        "run", "--detach", *silent, "--health-interval", "200ms", image.reference, "-c", waiting
    )
    container = started.stdout.strip()
    try:
        assert _health(engine, container, "unhealthy") == "unhealthy"
    finally:
        engine.run("rm", "--force", container)


def _health(engine: Engine, container: str, wanted: str) -> str:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        state = engine.run("inspect", "--format", "{{.State.Health.Status}}", container).stdout.strip()
        if state == wanted:
            return state
        time.sleep(0.05)
    return state


def test_labels_say_which_model_it_is_and_where_it_comes_from(
    layers: Path, base_image: str, engine: Engine, tmp_path: Path
) -> None:
    lineage = {"run": 'a "quoted" $HOME \\ run\nwith ${PATH}', "commit": "c0ffee", "fingerprint": "f00d"}
    made = packages.make(tmp_path / "package", lineage=lineage)
    image = images.build(
        made, folder=tmp_path / "image", cache=layers, base_image=base_image, engine="docker"
    )
    assert _inspect(engine, image)["Config"]["Labels"] == {
        "org.opencontainers.image.title": "Diabetes Progression",
        "org.opencontainers.image.version": "3",
        "org.opencontainers.image.revision": "c0ffee",
        "mlops-notebooks.run": 'a "quoted" $HOME \\ run with ${PATH}',
        "mlops-notebooks.data-fingerprint": "f00d",
        "mlops-notebooks.model-version": "3",
        "mlops-notebooks.package-digest": made.digest,
    }


def test_it_adds_no_more_to_its_base_than_it_may(image: images.Image, engine: Engine) -> None:
    history = engine.run(
        "history", "--no-trunc", "--human=false", "--format", "{{.CreatedBy}}\t{{.Size}}", image.reference
    ).stdout
    added = [int(line.rpartition("\t")[2]) for line in history.splitlines() if line.startswith("ADD ")]
    assert sum(added) == image.size == sum(layer.size for layer in image.layers)
    assert image.size <= MOST_BYTES
    assert "RUN" not in history


def test_a_scanner_finds_the_packages_that_were_required_and_no_others(
    image: images.Image, package: Package, engine: Engine
) -> None:
    script = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name.lower().replace('_', '-'): d.version "
        "for d in m.distributions(path=['/packages'])}))"
    )
    done = engine.run("run", "--rm", "--entrypoint", "python3", image.reference, "-c", script)
    required = [
        line.split()[0].split("==")
        for line in (package.folder / "requirements.txt").read_text().splitlines()
        if "==" in line
    ]
    assert json.loads(done.stdout) == dict(required)


def test_it_holds_no_tools_no_tests_and_nothing_that_the_service_could_change(
    package: Package, layers: Path, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    for tar in images.context.write(package, context, layers):
        with tarfile.open(tar.path) as archive:
            entries = archive.getmembers()
        names = [entry.name for entry in entries]
        assert names == sorted(names)
        assert not [name for name in names if "/tests/" in name or name.endswith((".c", ".h", ".a", ".pyx"))]
        assert not [name for name in names if name.startswith(("packages/bin/", "packages/pip"))]
        assert {(entry.mtime, entry.uid, entry.gid) for entry in entries} == {(0, 65531, 65531)}
        assert {entry.mode for entry in entries} <= {0o644, 0o755}
        assert all(entry.isreg() or entry.isdir() for entry in entries)


def test_every_engine_makes_the_same_layers(
    image: images.Image, package: Package, containers: Path, layers: Path, base_image: str, tmp_path: Path
) -> None:
    built = {
        engine: images.build(
            package, folder=tmp_path / engine, cache=layers, base_image=base_image, engine=engine
        )
        for engine in ("podman", "buildah")
    }
    assert built["podman"].layers == built["buildah"].layers == image.layers
    # Where the builder can leave out its own clock, the whole image is the same.
    assert built["podman"].digest == built["buildah"].digest


def test_a_package_built_elsewhere_gives_the_same_layers(
    package: Package, layers: Path, image: images.Image, base_image: str, tmp_path: Path
) -> None:
    shutil.copytree(package.folder, tmp_path / "copy")
    (tmp_path / "copy" / "score.py").chmod(0o600)
    again = images.build(
        packaging.load(tmp_path / "copy"),
        folder=tmp_path / "image",
        cache=tmp_path / "empty",
        base_image=base_image,
        engine="docker",
    )
    assert again.layers == image.layers


def test_a_new_model_changes_the_last_layer_alone_and_pushes_less_than_a_megabyte(
    package: Package, layers: Path, base_image: str, registry: Registry, tmp_path: Path
) -> None:
    def build(package: Package) -> images.Image:
        return images.build(
            package,
            folder=tmp_path / "image",
            cache=layers,
            base_image=base_image,
            engine="docker",
            registry=registry.address,
        )

    first = build(package)
    stored = registry.stored()
    second = build(packages.make(tmp_path / "package", version="4", weight=3.0))
    assert [layer.what for layer in second.layers] == ["packages", "service", "model"]
    assert second.layers[:2] == first.layers[:2]
    assert second.layers[2] != first.layers[2]
    assert second.digest != first.digest
    assert 0 < registry.stored() - stored < 1_000_000


def test_an_image_is_run_from_a_registry_by_its_digest(
    package: Package, layers: Path, base_image: str, engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    made = packages.make(tmp_path / "package", version="5", weight=5.0)
    image = images.build(
        made,
        folder=tmp_path / "image",
        cache=layers,
        base_image=base_image,
        engine="docker",
        registry=registry.address,
    )
    assert image.reference == f"{registry.address}/diabetes-progression@{image.digest}"
    engine.run("image", "rm", "--force", image.reference.partition("@")[0] + f":{made.digest[:12]}")
    engine.run("image", "rm", "--force", f"localhost/diabetes-progression:{made.digest[:12]}")
    assert engine.run("image", "inspect", image.reference).returncode != 0
    images.pull(image.reference, engine="docker")
    with running(engine, image.reference) as (_, port):
        assert ask(port, "POST", "/score", {"data": [[2]]})["result"] == pytest.approx([15], rel=1e-5)


def test_a_changed_package_is_refused(
    package: Package, layers: Path, base_image: str, tmp_path: Path
) -> None:
    shutil.copytree(package.folder, tmp_path / "copy")
    changed = packaging.load(tmp_path / "copy")
    (tmp_path / "copy" / "model.onnx").write_bytes(b"another model")
    with pytest.raises(PackageError, match=r"model\.onnx was changed"):
        images.build(changed, folder=tmp_path / "image", cache=layers, base_image=base_image)
