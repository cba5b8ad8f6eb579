"""Remote steps run elsewhere, and the run here ends as if it had executed them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci import runs

if TYPE_CHECKING:
    from tests.ci.remote.conftest import Gate, Small


def test_remote_steps_run_elsewhere_and_all_others_here(away: Small) -> None:
    said = away.run("-p", "alpha", "2")
    record = away.record()
    assert (record.verdict, set(away.states().values())) == ("released", {"succeeded"})
    assert [away.where(step) for step in ("setup", "release")] == ["here", "here"]
    assert {away.where(step) for step in ("train", "evaluate", "package")} == {"elsewhere"}
    code = {record.step(step).scraps["where"]["code"] for step in ("train", "evaluate", "package")}
    assert code == {str(away.service / "published" / "scenario" / "source")}
    assert record.job is not None
    assert (record.job.id, record.job.state, record.job.attempt) == ("r1.1", "succeeded", 1)
    assert said.index("✓ train: succeeded") < said.index("▶ package")
    _demand_all_that_was_made(away)


def _demand_all_that_was_made(away: Small) -> None:
    """What was made elsewhere is in the run folder, with its record and its pages."""
    record, folder = away.record(), away.home / "runs" / "r1"
    assert (folder / "model" / "model.txt").read_text() == "alpha 2.0"
    train = record.step("train")
    assert train.parameters["alpha"] == runs.Parameter(value=2.0, source="-p")
    assert train.key is not None
    assert set(train.made or {}) == {"model/model.txt", "notebooks/train.ipynb"}
    assert (train.attempts, train.cells, train.cells_done) == (1, 4, 4)
    for step in record.steps:
        assert step.started is not None
        assert step.ended is not None
        assert (folder / step.executed).is_file(), step.name
        assert (folder / step.html).is_file(), step.name
    page = (folder / "index.html").read_text()
    assert "notebooks/train.html" in page
    assert "r1.1" in page
    assert not list(folder.glob(".*fetched*"))
    for path in (folder / "run.json", folder / "index.html", folder / "notebooks" / "train.html"):
        text = path.read_text().replace(json.dumps(str(away.home)), "")
        assert str(away.service / "jobs" / "r1.1" / "handed on") not in text, path


def test_not_better_ends_green_and_a_run_on_which_nothing_has_changed_hands_nothing_over(away: Small) -> None:
    (away.service / "provisioned").unlink()
    away.call("publish", "--scenario", "scenario", "--platform", "elsewhere")
    away.run()
    assert away.record().verdict == "not_better"
    assert away.states()["evaluate"] == "succeeded"
    assert (away.states()["package"], away.states()["release"]) == ("skipped", "skipped")
    assert away.record().step("package").reason == "1.0 against 1.5"
    said = away.call("run", "--scenario", "scenario", "--platform", "elsewhere", "--run-id", "r2")
    assert "reused from r1" in said
    assert away.jobs == ["r1.1"]
    said = away.call("run", "--scenario", "scenario", "--platform", "elsewhere", "-p", "alpha", "1.2")
    assert "pipeline created" not in said
    assert "ran because alpha changed 1.0 → 1.2" in said
    assert len(away.jobs) == 2


def test_a_step_that_fails_elsewhere_fails_here_and_resume_hands_over_what_is_left(away: Small) -> None:
    away.evaluate("raise ValueError('no rows are left')")
    said = away.run("-p", "alpha", "2", code=1)
    failure = away.record().step("evaluate").failure
    assert failure is not None
    assert (failure.name, failure.message, failure.cell) == ("ValueError", "no rows are left", 4)
    assert "failed in evaluate.ipynb, cell 4" in said
    assert away.record().reason == "evaluate: no rows are left"
    assert (away.record().folder / "notebooks" / "evaluate.html").is_file()
    assert away.states()["package"] == "pending"
    away.evaluate()
    said = away.call("resume", "r1")
    assert away.record().verdict == "released"
    assert away.record().step("train").attempts == 1
    assert "evaluate and package: job r1.2" in said
    assert "pipeline created" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_job_outlives_who_waits_for_it_and_resume_waits_for_the_same(
    away: Small, gate: Gate, number: signal.Signals
) -> None:
    cell, reached, go_on = gate
    away.evaluate(cell)
    process = away.start(
        "run", "--scenario", "scenario", "--platform", "elsewhere", "--run-id", "r1", "-p", "alpha", "2"
    )
    reached()
    _wait_for_line(process, "▶ evaluate")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert "ci resume r1" in said
        assert "ci cancel r1" in said
    shown = away.call("status", "r1")
    assert "its job on elsewhere goes on: train, evaluate and package" in shown
    assert "✓ train" in shown
    refused = away.call("resume", "r1", "-p", "alpha", "3", code=2)
    assert "cancel it first" in refused
    assert away.call("resume", "r1", "--force", code=2) == refused
    go_on()
    away.call("resume", "r1")
    assert away.record().verdict == "released"
    assert away.jobs == ["r1.1"]


def test_a_node_that_is_killed_or_started_again_does_its_work_once(away: Small, tmp_path: Path) -> None:
    count, reached = tmp_path / "count", away.service / "reached"
    away.train(
        f"""
first = not Path({str(reached)!r}).exists()
with open({str(count)!r}, "a") as file:
    file.write("x")
Path({str(reached)!r}).touch()
if first:
    import signal
    signal.pause()
"""
    )
    away.wrong(kill=["train"], repeat=["train", "evaluate", "package"])
    away.run("-p", "alpha", "2")
    assert away.record().verdict == "released"
    assert count.read_text() == "xx"
    assert away.record().step("package").attempts == 1


def test_a_job_that_was_cancelled_fails_the_run_of_who_waits_and_resume_begins_another(
    away: Small, gate: Gate
) -> None:
    cell, reached, _ = gate
    away.evaluate(cell)
    process = away.start(
        "run", "--scenario", "scenario", "--platform", "elsewhere", "--run-id", "r1", "-p", "alpha", "2"
    )
    reached()
    _wait_for_line(process, "▶ evaluate")
    assert "Job r1.1 of run r1 is being cancelled" in away.call("cancel", "r1")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert away.record().reason == "evaluate: the job was cancelled"
    assert away.states() == {
        "setup": "succeeded",
        "train": "succeeded",
        "evaluate": "failed",
        "package": "pending",
        "release": "pending",
    }
    assert "no job that goes on" in away.call("cancel", "r1", code=2)
    away.evaluate()
    away.call("resume", "r1")
    assert (away.record().verdict, away.jobs) == ("released", ["r1.1", "r1.2"])


def test_a_job_for_which_nobody_waits_is_cancelled_and_its_end_recorded(away: Small, gate: Gate) -> None:
    cell, reached, _ = gate
    away.train(cell)
    about = ("--scenario", "scenario", "--platform", "elsewhere", "--run-id", "r1")
    said = away.call("retrain", *about, "--no-wait")
    assert "ci resume r1" in said
    assert "its job on elsewhere goes on" in away.record().reason
    assert set(away.states().values()) == {"pending"}
    reached()
    said = away.call("cancel", "r1")
    assert away.record().verdict == "failed"
    assert "the job was cancelled" in said


def test_a_job_that_comes_to_nothing_fails_the_first_step_that_is_left_with_its_reason(away: Small) -> None:
    away.wrong(nodes="The quota for nodes is used up.")
    away.run("-p", "alpha", "2", code=1)
    assert away.record().reason == "train: the job failed: The quota for nodes is used up"
    away.wrong()
    away.call("resume", "r1")
    assert (away.record().verdict, away.jobs) == ("released", ["r1.1", "r1.2"])


def test_a_job_of_which_the_answer_was_lost_is_not_started_twice(away: Small) -> None:
    away.wrong(unreachable=["submit"])
    said = away.run("-p", "alpha", "2", code=1)
    assert "The service doesn't answer: submit." in said
    away.wrong()
    away.call("resume", "r1")
    assert (away.record().verdict, away.jobs) == ("released", ["r1.1"])


@pytest.mark.parametrize("call", ["publish", "keep"])
def test_what_could_not_be_handed_over_is_handed_over_by_resume(away: Small, call: str) -> None:
    away.wrong(unreachable=[call])
    said = away.run("--until", "train", code=1)
    assert f"train: The service doesn't answer: {call}" in said
    assert away.jobs == []
    away.wrong()
    away.call("resume", "r1", "--until", "train")
    assert away.states()["train"] == "succeeded"
    assert away.states()["evaluate"] == "pending"
    assert away.jobs == ["r1.1"]


def test_a_service_that_can_not_say_how_far_a_job_is_leaves_it_going_on(away: Small) -> None:
    away.wrong(unreachable=["progress"])
    said = away.run("-p", "alpha", "2", code=1)
    assert "Error: The service doesn't answer: progress." in said
    assert away.record().verdict == "stopped"
    away.wrong()
    away.call("resume", "r1")
    assert (away.record().verdict, away.jobs) == ("released", ["r1.1"])


def test_a_sweep_runs_its_trials_elsewhere(away: Small) -> None:
    score = '{"metric": "m", "direction": "maximize", "mean": alpha, "standard_error": 0.1}'
    away.train(f'glue_later = {{"validation": {score} if folds else {{}}}}')
    step = away.toy.steps["train"]
    step["gives"]["validation"] = "dict"
    notebook = away.toy.folder / "notebooks" / "train.ipynb"
    content = json.loads(notebook.read_text())
    content["cells"][0]["source"] += "\nfolds: int = 0  # of the cross-validation"
    content["cells"][-1]["source"] += "\nglue('validation', glue_later['validation'])"
    notebook.write_text(json.dumps(content))
    away.toy.save()
    about = ("--scenario", "scenario", "--platform", "elsewhere", "--run-id", "r1")
    away.call("sweep", *about, "-p", "alpha", "1,3")
    record = away.record()
    assert record.verdict == "released"
    assert record.sweep is not None
    assert (record.sweep.winner, record.sweep.best) == (2, {"alpha": 3.0})
    assert (record.folder / "model" / "model.txt").read_text() == "alpha 3.0"
    assert (record.folder / "trials" / "1" / "trial.json").is_file()
    assert "best of 2 trials" in record.step("train").reason


def test_what_notebooks_can_not_be_attached_to_is_said_and_no_step_fails(away: Small) -> None:
    away.run("--until", "train")
    assert "The notebooks could not be attached to training none" in away.log


def test_a_pipeline_in_another_file_stays_here(away: Small) -> None:
    other = shutil.copy(away.toy.file, away.toy.folder / "parameters" / "other.yml")
    said = away.run("--pipeline", str(other), code=2)
    assert "steps go by parameters/pipeline.yml alone" in said
    assert not (away.home / "runs").exists()


def _wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    while text not in (line := process.stdout.readline()):
        assert line, f"{text!r} was never said"
