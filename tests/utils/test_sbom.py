"""The bill of materials lists every part of a package, by the rules of its format, in the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from utils import files, project, sbom
from utils.packaging import Package
from utils.sbom import SbomError

NUMPY = importlib.metadata.version("numpy")
SCIPY = importlib.metadata.version("scipy")
REQUIREMENTS = (
    "# A comment.\n"
    f"numpy=={NUMPY} \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
    f"\nscipy=={SCIPY}\nh11==0.0.1  # not what is installed\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files.write_text(tmp_path / "package" / "requirements.txt", REQUIREMENTS)
    files.write_bytes(tmp_path / "package" / "model.onnx", b"a model")
    return tmp_path / "package"


def parts(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in record["components"]}


def written(folder: Path) -> dict[str, Any]:
    path = sbom.write(folder, name="diabetes", version="3")
    assert path == folder / "sbom.cdx.json"
    text = path.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    return found


def test_every_requirement_is_listed_with_its_version_and_hashes(folder: Path) -> None:
    found = parts(written(folder))
    assert {name: part["version"] for name, part in found.items()} == {
        "numpy": NUMPY,
        "scipy": SCIPY,
        "h11": "0.0.1",
    }
    assert found["numpy"]["purl"] == f"pkg:pypi/numpy@{NUMPY}"
    (files_of_it,) = found["numpy"]["externalReferences"]
    assert files_of_it["type"] == "distribution"
    assert [each["content"] for each in files_of_it["hashes"]] == ["a" * 64, "b" * 64]
    assert "externalReferences" not in found["scipy"]


def test_the_model_is_what_the_list_is_about(folder: Path) -> None:
    record = written(folder)
    model = record["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "diabetes", "3")
    assert model["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"a model").hexdigest()}]
    assert {each["name"]: each["value"] for each in model["properties"]} == {
        "mlops:file": "model.onnx",
        "mlops:format": "onnx",
    }


def test_it_says_what_requires_what(folder: Path) -> None:
    record = written(folder)
    requires = {each["ref"]: each.get("dependsOn", []) for each in record["dependencies"]}
    numpy, scipy = f"pkg:pypi/numpy@{NUMPY}", f"pkg:pypi/scipy@{SCIPY}"
    assert requires["model:diabetes@3"] == ["pkg:pypi/h11@0.0.1", numpy, scipy]
    assert requires[scipy] == [numpy]
    assert requires[numpy] == []


def test_licences_are_those_of_the_version_that_is_installed(folder: Path) -> None:
    found = parts(written(folder))
    assert found["numpy"]["licenses"]
    assert found["scipy"]["licenses"]
    assert "licenses" not in found["h11"]  # another version may have another licence


def test_the_same_package_has_the_same_bytes(folder: Path) -> None:
    code = (
        "import sys, pathlib; from utils import sbom;"
        "print(sbom.document(sys.argv[1], pathlib.Path(sys.argv[2]), name='diabetes', version='3'), end='')"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code, REQUIREMENTS, str(folder / "model.onnx")],
            cwd=project.root(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert made == {sbom.write(folder, name="diabetes", version="3").read_bytes()}
    for word in (b"serialNumber", b"timestamp", str(folder).encode()):
        assert word not in made.copy().pop()


def test_the_requirements_of_a_whole_package_are_listed(built: Package) -> None:
    text = (built.folder / "requirements.txt").read_text()
    record = sbom.document(text, built.folder / "golden.json", name="demo", version="3")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(record) is None
    listed = {(part["name"], part["version"]) for part in json.loads(record)["components"]}
    assert listed == {(pin.name, pin.version) for pin in sbom.pins(text)}
    assert len(listed) == sum("==" in line for line in text.splitlines())


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=2",
        "numpy==2.*",
        "numpy @ file:///numpy.whl",
        "-r other.txt",
        "--index-url somewhere",
        "numpy==2.1 --hash=md5:abc",
        "numpy==2.1; sys_platform == 'linux'",
    ],
)
def test_a_requirement_that_is_not_pinned_is_refused(line: str) -> None:
    with pytest.raises(SbomError, match="not pinned"):
        sbom.pins(f"scipy=={SCIPY}\n{line}\n")


def test_there_has_to_be_just_one_model(folder: Path) -> None:
    files.write_bytes(folder / "model.skops", b"another")
    with pytest.raises(SbomError, match=r"one of model\.onnx and model\.skops"):
        sbom.write(folder, name="diabetes", version="3")
    (folder / "model.onnx").unlink()
    assert written(folder)["metadata"]["component"]["properties"][0]["value"] == "model.skops"
    (folder / "model.skops").unlink()
    with pytest.raises(SbomError, match="should hold one"):
        sbom.write(folder, name="diabetes", version="3")
