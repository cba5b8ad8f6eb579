"""pip's users and conda's get the same packages, and nobody is told where to fetch them from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils import project


def wanted(*extras: str) -> dict[str, Requirement]:
    declared = tomllib.loads((project.root() / "pyproject.toml").read_text())["project"]
    added = [spec for extra in extras for spec in declared["optional-dependencies"][extra]]
    specs = map(Requirement, [*declared["dependencies"], *added])
    return {canonicalize_name(spec.name): spec for spec in specs}


LOCK = project.root() / "requirements.lock"
AZUREML = project.root() / "azureml.lock"
INFERENCE_SERVER = project.root() / "tests" / "inference_server.lock"


def locked(lock: Path = LOCK) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock.read_text(), re.M):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def conda() -> dict[str, Requirement]:
    content = yaml.safe_load((project.root() / "environment.yml").read_text())["dependencies"]
    listed = next(item["pip"] for item in content if isinstance(item, dict))
    specs = [Requirement(item) for item in listed if not item.startswith("-")]
    return {canonicalize_name(spec.name): spec for spec in specs}


def test_conda_lists_the_same_packages_as_pyproject() -> None:
    assert {name: spec.extras for name, spec in conda().items()} == {
        name: spec.extras for name, spec in wanted("azureml", "dev").items()
    }


def test_conda_pins_the_locks_versions() -> None:
    versions = locked(AZUREML)
    for name, spec in conda().items():
        assert {str(spec.specifier).removeprefix("==")} <= versions[name], f"{name} in environment.yml"


@pytest.mark.parametrize(("lock", "extras"), [(LOCK, ["dev"]), (AZUREML, ["azureml", "dev"])])
def test_the_lock_satisfies_pyproject(lock: Path, extras: list[str]) -> None:
    versions = locked(lock)
    for name, spec in wanted(*extras).items():
        assert all(spec.specifier.contains(version) for version in versions[name]), (
            f"{name} is locked otherwise"
        )


@pytest.mark.parametrize("lock", [LOCK, AZUREML, INFERENCE_SERVER], ids=lambda lock: lock.name)
def test_every_locked_package_has_its_hashes(lock: Path) -> None:
    entries = re.split(r"\n(?=\w)", lock.read_text().strip())
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("lock", [LOCK, AZUREML, INFERENCE_SERVER], ids=lambda lock: lock.name)
def test_the_lock_names_no_address(lock: Path) -> None:
    assert "://" not in lock.read_text()


def test_azures_server_scores_with_the_same_versions() -> None:
    ours, theirs = locked(), locked(INFERENCE_SERVER)
    wanted = INFERENCE_SERVER.with_suffix(".in").read_text().splitlines()
    named = {line for line in wanted if line in ours}
    assert {"numpy", "onnxruntime", "scikit-learn", "skops"} <= named
    assert {name: theirs[name] for name in named} == {name: ours[name] for name in named}


def test_python_is_the_one_that_pyproject_requires() -> None:
    content = yaml.safe_load((project.root() / "environment.yml").read_text())["dependencies"]
    assert "python=3.11" in content
