"""Where the project is, where its results go, and which state of the code made them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from utils import files, project


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, with one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    monkeypatch.setattr(project, "root", lambda: folder)
    return folder


def test_the_root_holds_the_code() -> None:
    assert (project.root() / "utils" / "project.py").is_file()


def test_the_home_is_the_project_unless_the_environment_names_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(project.HOME_VARIABLE, str(tmp_path / "elsewhere"))
    assert project.home() == tmp_path / "elsewhere"
    assert project.resolve("runs/a") == tmp_path / "elsewhere" / "runs" / "a"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv(project.HOME_VARIABLE)
        else:
            monkeypatch.setenv(project.HOME_VARIABLE, unset)
        assert project.home() == project.root()


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    assert project.resolve(tmp_path / "a") == tmp_path / "a"
    assert project.resolve("/a/b") == Path("/a/b")


def test_the_lock_is_known_by_its_digest(checkout: Path) -> None:
    assert project.lock_digest() == "none"
    lock = files.write_text(checkout / "requirements.lock", "numpy==2.0.0\n")
    assert project.lock_digest() == files.sha256(lock)


def test_the_revision_is_the_commit_and_whether_anything_was_changed_since(checkout: Path) -> None:
    clean = project.revision()
    assert len(clean.commit) == 40
    assert not clean.dirty
    (checkout / "a.txt").write_text("b")
    assert project.revision() == project.Revision(clean.commit, dirty=True)


def test_a_new_file_makes_the_revision_dirty(checkout: Path) -> None:
    (checkout / "new.txt").write_text("new")
    assert project.revision().dirty


def test_outside_a_checkout_the_revision_is_unknown_and_counts_as_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert project.revision() == project.Revision("unknown", dirty=True)


def test_without_git_the_revision_is_unknown_and_counts_as_dirty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert project.revision() == project.Revision("unknown", dirty=True)


def test_a_run_folder_is_named_by_its_place_below_runs(home: Path, tmp_path: Path) -> None:
    assert project.run_name(project.home() / "runs" / "r1") == "r1"
    assert project.run_name(project.home() / "runs" / "r1" / "trials" / "3") == "r1/trials/3"
    assert project.run_name(tmp_path / "elsewhere" / "r2") == "r2"
