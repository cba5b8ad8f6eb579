"""The lifecycle on a platform with compute of its own: trained elsewhere, tested in staging from here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.away import Away
from utils import files, project
from utils.platforms.local.history import LocalHistory
from utils.platforms.local.registry import LocalRegistry
from utils.platforms.local.store import Store

if TYPE_CHECKING:
    from ci.runs import Run

pytestmark = pytest.mark.end_to_end

ABOUT = ("--scenario", "diabetes", "--platform", "elsewhere")
REMOTE = ("train", "evaluate", "register", "package")


@pytest.fixture(scope="module")
def away(tmp_path_factory: Any) -> Iterator[Away]:
    """The whole project, as another machine has it, with the platform elsewhere."""
    folder: Path = tmp_path_factory.mktemp("away")
    parts = ("ci", "utils", "notebooks", "parameters")
    made = Away(folder / "project", folder / "home", folder / "service", parts)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(project.root() / name, made.folder / name)
    (made.folder / "parameters" / "elsewhere.yml").write_text("latency_limit_ms: 0.0\n")
    yield made
    made.call("down", "--platform", "elsewhere")
    made.end()


@pytest.fixture(scope="module")
def first(away: Away) -> Run:
    """A run to the gate."""
    away.call("run", *ABOUT, "--run-id", "first")
    return away.record("first")


def test_a_model_that_was_trained_elsewhere_is_tested_in_staging_and_waits_at_the_gate(first: Run) -> None:
    assert first.verdict == "waiting"
    assert first.job is not None
    assert (first.job.steps, first.job.state) == ([*REMOTE], "succeeded")
    assert first.step("test_staging").scraps["passed"] is True


def test_the_run_folder_has_all_that_a_run_on_one_machine_has(away: Away, first: Run) -> None:
    folder = away.home / "runs" / "first"
    for step in first.steps[:7]:
        assert step.state == "succeeded"
        for name, digest in (step.made or {}).items():
            assert files.sha256(folder / name) == digest, name
        assert (folder / step.html).is_file(), step.name
    assert (folder / first.step("package").scraps["package"] / "score.py").is_file()
    page = (folder / "index.html").read_text()
    assert "Shall this model be the first in production?" in page
    for text in (page, (folder / "run.json").read_text()):
        assert str(away.service) not in text


def test_the_run_history_has_the_executed_notebooks_of_all_steps_up_to_the_package(
    away: Away, first: Run, tmp_path: Path
) -> None:
    history = LocalHistory(Store(away.service / "workspace"))
    found = history.download(first.step("train").scraps["training_run"], "notebooks", tmp_path)
    expected = {f"{step}.{end}" for step in ("setup", *REMOTE) for end in ("ipynb", "html")}
    assert {path.name for path in found.iterdir()} == expected


def test_a_retraining_that_is_not_better_ends_green_and_registers_nothing(away: Away, first: Run) -> None:
    away.call("retrain", *ABOUT, "--run-id", "again", "-p", "minimum_improvement", "1000")
    again = away.record("again")
    assert again.verdict == "not_better"
    assert (again.step("register").state, again.step("package").state) == ("skipped", "skipped")
    newest = LocalRegistry(Store(away.service / "workspace")).newest("diabetes")
    assert newest is not None
    assert newest.version == first.step("register").scraps["model_version"]
