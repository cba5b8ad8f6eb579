"""Retraining by command, on compute that there is or isn't."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from utils import project

if TYPE_CHECKING:
    from tests.ci.remote.conftest import Small
    from tests.conftest import Toy

ABOUT = ("--scenario", "scenario", "--platform", "elsewhere")


def test_publish_makes_what_is_needed_once_and_anew_when_a_notebook_changes(away: Small) -> None:
    (away.service / "provisioned").unlink()
    said = away.call("publish", *ABOUT)
    assert "run history: created" in said
    assert "retraining pipeline: created, scenario" in said
    assert "retraining pipeline: found, scenario" in away.call("publish", *ABOUT)
    away.evaluate("1 + 1")
    assert "retraining pipeline: created, scenario" in away.call("publish", *ABOUT)
    assert not (away.home / "runs").exists()


def test_where_there_is_no_compute_nothing_needs_to_be_published(away: Small) -> None:
    said = away.call("publish", "--scenario", "scenario")
    assert said.count("\n") == 1
    assert "nothing needs to be published" in said


def test_retrain_runs_everything_elsewhere_up_to_the_package_and_resume_goes_on_here(away: Small) -> None:
    said = away.call("retrain", *ABOUT, "--run-id", "r1", "-p", "alpha", "2")
    assert "setup, train, evaluate and package: job r1.1" in said
    assert {away.where(step) for step in ("setup", "train", "evaluate", "package")} == {"elsewhere"}
    assert (away.record().verdict, away.states()["release"]) == ("stopped", "pending")
    assert (away.record().folder / "notebooks" / "setup.html").is_file()
    away.call("resume", "r1")
    assert (away.record().verdict, away.where("release")) == ("released", "here")


def test_a_retraining_that_is_not_better_ends_green(away: Small) -> None:
    away.call("retrain", *ABOUT, "--run-id", "r1", "--no-wait")
    away.call("resume", "r1")
    assert away.record().verdict == "not_better"
    assert away.jobs == ["r1.1"]


def test_retrain_runs_here_where_there_is_no_compute(away: Small) -> None:
    away.call("retrain", "--scenario", "scenario", "--run-id", "r1", "-p", "alpha", "2")
    assert {away.where(step) for step in ("setup", "train", "evaluate", "package")} == {"here"}
    assert (away.record().verdict, away.record().job) == ("stopped", None)


def test_a_run_on_one_machine_imports_nothing_of_what_hands_steps_over(toy: Toy) -> None:
    toy.step("first", remote=True)
    words = ["run", "--scenario", "scenario", "--pipeline", str(toy.file)]
    code = (
        f"import sys; from ci.cli import main; main({words!r}, standalone_mode=False);"
        "print([name for name in sys.modules if name.startswith('ci.remote.')])"
    )
    output = subprocess.check_output([sys.executable, "-c", code], cwd=project.root(), text=True)
    assert output.splitlines()[-1] == "['ci.remote.job']"


def test_a_wrong_parameter_is_refused_before_anything_is_made(away: Small) -> None:
    said = away.call("retrain", *ABOUT, "-p", "alhpa", "2", code=2)
    assert "did you mean alpha?" in said
    assert not away.service.joinpath("published").exists()
