"""pip's users and conda's get the same packages, and nobody is told where to fetch them from."""

from __future__ import annotations

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils import project


def wanted() -> dict[str, Requirement]:
    declared = tomllib.loads((project.root() / "pyproject.toml").read_text())["project"]
    specs = map(Requirement, [*declared["dependencies"], *declared["optional-dependencies"]["dev"]])
    return {canonicalize_name(spec.name): spec for spec in specs}


def locked() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==([^ ;\\]+)", (project.root() / "requirements.lock").read_text(), re.M
    ):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def conda() -> dict[str, Requirement]:
    content = yaml.safe_load((project.root() / "environment.yml").read_text())["dependencies"]
    listed = next(item["pip"] for item in content if isinstance(item, dict))
    specs = [Requirement(item) for item in listed if not item.startswith("-")]
    return {canonicalize_name(spec.name): spec for spec in specs}


def test_conda_lists_the_same_packages_as_pyproject() -> None:
    assert {name: spec.extras for name, spec in conda().items()} == {
        name: spec.extras for name, spec in wanted().items()
    }


def test_conda_pins_the_locks_versions() -> None:
    versions = locked()
    for name, spec in conda().items():
        assert {str(spec.specifier).removeprefix("==")} <= versions[name], f"{name} in environment.yml"


def test_the_lock_satisfies_pyproject() -> None:
    versions = locked()
    for name, spec in wanted().items():
        assert all(spec.specifier.contains(version) for version in versions[name]), (
            f"{name} is locked otherwise"
        )


def test_every_locked_package_has_its_hashes() -> None:
    entries = re.split(r"\n(?=\w)", (project.root() / "requirements.lock").read_text().strip())
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_lock_names_no_address() -> None:
    assert "://" not in (project.root() / "requirements.lock").read_text()


def test_python_is_the_one_that_pyproject_requires() -> None:
    content = yaml.safe_load((project.root() / "environment.yml").read_text())["dependencies"]
    assert "python=3.11" in content
