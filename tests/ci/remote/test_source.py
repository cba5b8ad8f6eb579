"""What other machines get of the project: what steps come from, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ci.remote import source
from utils import files, project

KEPT = {
    "ci/__init__.py",
    "data/rows.csv",
    "notebooks/01_setup.ipynb",
    "parameters/pipeline.yml",
    "pyproject.toml",
    "requirements.lock",
    "utils/platforms/azureml/credentials.py",
}
LEFT = (
    "README.md",
    ".git-credentials",
    ".env",
    "ci/__pycache__/a.pyc",
    "docs/page.md",
    "notebooks/.ipynb_checkpoints/a.ipynb",
    "parameters/production.env",
    "parameters/secrets.yml",
    "runs/r1/run.json",
    "tests/test_a.py",
    "utils/signing.pem",
    "workspace/mlflow.db",
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with all kinds of files."""
    folder = tmp_path / "project"
    for name in (*KEPT, *LEFT):
        files.write_text(folder / name, name)
    monkeypatch.setattr(project, "root", lambda: folder)
    return folder


def commit(root: Path) -> None:
    """Make it a checkout."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (
        ["init", "--quiet"],
        ["add", "--force", "."],
        [*identity, "commit", "--quiet", "-m", "Begin"],
    ):
        subprocess.run(["git", "-C", str(root), *words], check=True)


def names(folder: Path) -> set[str]:
    """Return all files that were copied."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert project.REVISION in found
    return found - {project.REVISION}


@pytest.mark.parametrize("checkout", [True, False])
def test_code_notebooks_parameters_and_locks_are_copied_and_no_secrets_runs_or_tests(
    root: Path, tmp_path: Path, checkout: bool
) -> None:
    if checkout:
        commit(root)
    source.copy(tmp_path / "copy")
    # Whether a folder that isn't the project's own is needed, only git can tell.
    assert names(tmp_path / "copy") == (KEPT if checkout else KEPT - {"data/rows.csv"})


def test_a_checkout_is_copied_as_it_is_on_disk(root: Path, tmp_path: Path) -> None:
    commit(root)
    files.write_text(root / "notebooks" / "01_setup.ipynb", "changed")
    files.write_text(root / "parameters" / "mine.yml", "new")
    files.write_text(root / "utils" / "ignored.py", "ignored")
    files.write_text(root / "more" / "unknown.csv", "unknown")
    files.write_text(root / ".git" / "info" / "exclude", "ignored.py")
    (root / "pyproject.toml").unlink()
    source.copy(tmp_path / "copy")
    assert names(tmp_path / "copy") == (KEPT | {"parameters/mine.yml"}) - {"pyproject.toml"}
    assert (tmp_path / "copy" / "notebooks" / "01_setup.ipynb").read_text() == "changed"


def test_a_link_out_of_the_project_is_not_followed(root: Path, tmp_path: Path) -> None:
    files.write_text(tmp_path / "secret", "secret")
    (root / "parameters" / "link.yml").symlink_to(tmp_path / "secret")
    source.copy(tmp_path / "copy")
    assert not (tmp_path / "copy" / "parameters" / "link.yml").exists()


def test_the_digest_is_of_names_and_contents_alone(root: Path, tmp_path: Path) -> None:
    commit(root)
    first = source.copy(tmp_path / "a")
    os.utime(root / "ci" / "__init__.py", (0, 0))
    files.write_text(root / "README.md", "changed")
    assert source.copy(tmp_path / "b") == first
    (root / "parameters" / "pipeline.yml").rename(root / "parameters" / "other.yml")
    second = source.copy(tmp_path / "c")
    files.write_text(root / "parameters" / "other.yml", "changed")
    assert len({first, second, source.copy(tmp_path / "d")}) == 3


def test_a_copy_knows_the_revision_that_it_was_made_from(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(root)
    clean = project.revision()
    source.copy(tmp_path / "clean")
    files.write_text(root / "ci" / "__init__.py", "changed")
    source.copy(tmp_path / "dirty")
    assert not clean.dirty
    for name, expected in (("clean", clean), ("dirty", project.Revision(clean.commit, dirty=True))):
        monkeypatch.setattr(project, "root", lambda name=name: tmp_path / name)
        assert project.revision() == expected
