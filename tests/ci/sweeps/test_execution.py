"""Trials run side by side, whatever becomes of one of them, and the best is what the run goes on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from click.testing import Result

from ci import runs
from ci.sweeps.trials import Trials, read_board
from utils import project

if TYPE_CHECKING:
    from tests.conftest import Toy

Make = Callable[..., "Toy"]
Call = Callable[..., Result]
SWEEP = ("sweep", "--scenario", "scenario", "--run-id", "r1")


def trials(run_id: str = "r1") -> Trials:
    return Trials(runs.load(run_id))


def states() -> dict[int, str]:
    return {trial.number: trial.state for trial in trials()}


def train() -> runs.Step:
    return runs.load("r1").step("train")


def counting(folder: Path) -> str:
    """Return a cell that leaves a file named by its alpha, longer by a letter each time."""
    return f"open({str(folder)!r} + f'/{{alpha:g}}', 'a').write('x')"


def counts(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in sorted(folder.iterdir())}


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    folder = tmp_path / "counted"
    folder.mkdir()
    return folder


def test_the_best_trial_becomes_the_steps_own_result_and_the_run_goes_on(swept: Make, call: Call) -> None:
    toy = swept()
    toy.step(
        "after", "1 + 1", parameters="found: dict = {}  # what was found", takes={"found": "train.validation"}
    )
    output = call(toy, *SWEEP, "-p", "alpha", "1,1.5,3").output
    run, step = runs.load("r1"), train()
    assert step.state == "succeeded"
    assert step.reason == "best of 3 trials: alpha 1.5, max error 0.50 ± 0.10 in 5-fold cross-validation"
    assert step.parameters["alpha"] == runs.Parameter(value=1.5, source="the sweep")
    assert step.parameters["folds"].value == 5
    assert step.scraps["validation"]["mean"] == 0.5
    assert (run.folder / "model" / "model.txt").read_text() == "alpha 1.5"
    assert (run.folder / "notebooks" / "train.html").exists()
    assert run.step("after").parameters["found"].value["mean"] == 0.5
    assert run.verdict == "released"
    assert run.sweep is not None
    assert (run.sweep.winner, run.sweep.best) == (2, {"alpha": 1.5})
    assert "trial 2 of 3: succeeded" in output


def test_each_trial_has_its_own_folder_notebook_and_page_and_its_parameters_on_record(
    swept: Make, call: Call
) -> None:
    call(swept(), *SWEEP, "-p", "alpha", "1,2", "-p", "word", "b,c", "--jobs", "2")
    folder = runs.folder("r1") / "trials"
    for number, values in enumerate([(1, "b"), (1, "c"), (2, "b"), (2, "c")], start=1):
        trial = trials().get(number)
        assert trial is not None
        assert tuple(trial.values.values()) == values
        assert trial.parameters["run_dir"].value == f"runs/r1/trials/{number}"
        assert (folder / str(number) / "model" / "model.txt").read_text() == f"alpha {float(values[0])}"
        assert (runs.folder("r1") / trial.executed).exists()
        assert "../../../index.html" in (runs.folder("r1") / trial.html).read_text()


def test_of_equals_the_first_is_taken(swept: Make, call: Call) -> None:
    call(swept(), *SWEEP, "-p", "alpha", "4,1,3,2.5,1.5")
    assert train().parameters["alpha"].value == 2.5


def test_a_failed_trial_ends_nothing_and_is_listed_with_its_reason(swept: Make, call: Call) -> None:
    output = call(swept("assert alpha != 1, 'no ones'"), *SWEEP, "-p", "alpha", "0,1,2").output
    assert states() == {1: "succeeded", 2: "failed", 3: "succeeded"}
    assert "trial 2 of 3: failed" in output
    assert "trials/2/notebooks/train.html" in output
    page = (runs.folder("r1") / "index.html").read_text()
    assert "AssertionError: no ones" in page
    assert 'href="trials/2/notebooks/train.html"' in page
    assert train().parameters["alpha"].value == 2


def test_if_all_trials_fail_the_step_fails_and_nothing_after_it_runs(swept: Make, call: Call) -> None:
    toy = swept("raise ValueError('never')")
    toy.step("after", "1 + 1")
    output = call(toy, *SWEEP, "-p", "alpha", "1,2", code=1).output
    assert "all 2 trials failed; trial 1, alpha 1: never" in output
    failure = train().failure
    assert failure is not None
    assert failure.source == "raise ValueError('never')"
    assert runs.load("r1").step("after").state == "pending"


def test_resume_runs_failed_trials_again_and_a_finished_sweep_not(
    swept: Make, call: Call, counted: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    toy = swept(counting(counted), f"import os; assert os.path.exists({str(ready)!r})")
    call(toy, *SWEEP, "-p", "alpha", "1,2", code=1)
    assert counts(counted) == {"1": 1, "2": 1}
    ready.touch()
    call(toy, "resume", "r1")
    assert counts(counted) == {"1": 2, "2": 2}
    assert train().parameters["alpha"].value == 2
    call(toy, "resume", "r1")
    assert counts(counted) == {"1": 2, "2": 2}


def test_a_trial_beyond_its_time_limit_fails_alone(swept: Make, call: Call) -> None:
    wait = "import threading\nif alpha == 1: threading.Event().wait(60)"
    call(swept(wait, cell_timeout=2), *SWEEP, "-p", "alpha", "1,2", "--jobs", "2")
    assert states() == {1: "failed", 2: "succeeded"}
    trial = trials().get(1)
    assert trial is not None
    assert "longer than 2 s" in trial.reason


def test_a_trial_whose_kernel_is_killed_fails_alone(swept: Make, call: Call) -> None:
    kill = "import os, signal\nif alpha == 1: os.kill(os.getpid(), signal.SIGKILL)"
    call(swept(kill), *SWEEP, "-p", "alpha", "1,2", "--jobs", "2")
    assert states() == {1: "failed", 2: "succeeded"}
    trial = trials().get(1)
    assert trial is not None
    assert "the kernel died" in trial.reason


@pytest.mark.parametrize(
    "score", ["{}", "{'metric': 'm', 'direction': 'up', 'mean': 0.1, 'standard_error': 0.1}", "{'mean': '1'}"]
)
def test_a_trial_without_a_sound_score_has_failed(swept: Make, call: Call, score: str) -> None:
    toy = swept(f"if alpha == 2:\n    glue('validation', {score})\n    glue = lambda *_: None")
    call(toy, *SWEEP, "-p", "alpha", "1,2")
    assert states() == {1: "succeeded", 2: "failed"}
    assert train().parameters["alpha"].value == 1


def test_a_trial_that_is_judged_by_another_metric_has_failed(swept: Make, call: Call) -> None:
    other = "{'metric': 'r2', 'direction': 'maximize', 'mean': 0.9, 'standard_error': 0.1}"
    toy = swept(f"if alpha == 2:\n    glue('validation', {other})\n    glue = lambda *_: None")
    call(toy, *SWEEP, "-p", "alpha", "1,2,3", "--jobs", "1")
    assert states() == {1: "succeeded", 2: "failed", 3: "succeeded"}


def test_retries_run_a_failed_trial_again(swept: Make, call: Call, counted: Path) -> None:
    twice = f"assert alpha == 1 or len(open({str(counted)!r} + '/2').read()) == 2"
    call(swept(counting(counted), twice, retries=1), *SWEEP, "-p", "alpha", "1,2")
    assert counts(counted) == {"1": 1, "2": 2}
    assert train().parameters["alpha"].value == 2


def test_the_data_is_shared_and_not_copied(toy: Toy, swept: Make, call: Call) -> None:
    data = "import os; from pathlib import Path; data = Path(os.environ['MLOPS_HOME'], run_dir, 'data')"
    toy.step(
        "setup",
        data,
        "data.mkdir(); (data / 'rows.txt').write_text('rows')",
        parameters="run_dir: str = ''  # the run folder",
    )
    swept(data, "assert (data / 'rows.txt').read_text() == 'rows'")
    call(toy, *SWEEP, "-p", "alpha", "1,2")
    rows = runs.folder("r1") / "data" / "rows.txt"
    assert rows.samefile(runs.folder("r1") / "trials" / "1" / "data" / "rows.txt")


def test_optunas_trials_are_as_many_as_asked_for_and_within_the_range(swept: Make, call: Call) -> None:
    toy = swept()
    searched = {"alpha": {"low": 1, "high": 4}, "word": ["a", "b"]}
    toy.write("scenario", {"sweep": {"method": "optuna", "trials": 6, "parameters": searched}})
    call(toy, *SWEEP)
    found = [trial.values for trial in trials()]
    assert len(found) == 6
    assert all(1 <= values["alpha"] <= 4 and values["word"] in "ab" for values in found)
    assert len({values["alpha"] for values in found}) == 6


def test_force_runs_all_trials_again(swept: Make, call: Call, counted: Path) -> None:
    toy = swept(counting(counted))
    call(toy, *SWEEP, "-p", "alpha", "1,2")
    call(toy, "resume", "r1", "--force")
    assert counts(counted) == {"1": 2, "2": 2}
    call(toy, *SWEEP, "--force", "-p", "alpha", "2,3")
    assert counts(counted) == {"1": 2, "2": 3, "3": 1}
    assert {trial.values["alpha"] for trial in trials()} == {2, 3}


def test_a_trial_runs_again_if_its_parameters_have_changed_since(
    swept: Make, call: Call, counted: Path, tmp_path: Path
) -> None:
    toy = swept(counting(counted))
    toy.step("after", f"import os; assert os.path.exists({str(tmp_path / 'ready')!r})")
    call(toy, *SWEEP, "-p", "alpha", "1,2", code=1)
    # As if the process had ended just before it took the best.
    run = runs.load("r1")
    run.step("train").state = "running"
    run.save()
    (tmp_path / "ready").touch()
    call(toy, "resume", "r1", "-p", "word", "b")
    assert counts(counted) == {"1": 2, "2": 2}
    assert train().parameters["word"].value == "b"


def test_what_is_searched_cant_be_fixed_later_on(swept: Make, call: Call) -> None:
    toy = swept("raise ValueError")
    call(toy, *SWEEP, "-p", "alpha", "1,2", code=1)
    assert "can't fix it" in call(toy, "resume", "r1", "-p", "alpha", "1", code=2).output


def test_an_ordinary_run_is_not_hindered_by_the_scenarios_sweep(swept: Make, call: Call) -> None:
    toy = swept()
    toy.write("scenario", {"alpha": 3.0, "sweep": {"parameters": {"alpha": [1.0, 2.0]}}})
    call(toy, "run", "--scenario", "scenario", "--run-id", "r1")
    assert train().parameters["alpha"].value == 3
    assert runs.load("r1").sweep is None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-p", "alhpa", "1,2"], "did you mean alpha?"),
        (["-p", "alpha", "1,strong"], "alpha = 'strong': expected float"),
        (["-p", "alpha", "1"], "There is nothing to search"),
        (["-p", "alpha", "1,2", "-p", "folds", "1"], "folds is 1"),
        (["-p", "alpha", "1,2", "--jobs", "0"], "--jobs"),
    ],
)
def test_what_cant_be_swept_is_refused_before_a_run_is_made(
    swept: Make, call: Call, words: list[str], complaint: str
) -> None:
    assert complaint in call(swept(), *SWEEP, *words, code=2).output
    assert runs.ids() == []


# ------------------------------------------------------------------ ended from outside

BLOCK = """
import threading
from pathlib import Path
Path({folder!r}, f"{{alpha:g}}").write_text("x")
if alpha > 1:
    open({fifo!r}, "w").close()
    threading.Event().wait(600)
"""


def started(toy: Toy, fifo: Path) -> subprocess.Popen[str]:
    """Return a sweep of which one trial has ended, while two others run that won't end by themselves."""
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ci",
            *SWEEP,
            "-p",
            "alpha",
            "1,2,3,4",
            "--jobs",
            "2",
            "--pipeline",
            str(toy.file),
        ],
        cwd=project.root(),
        env=os.environ | {"MLOPS_HOME": str(project.home())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for _ in range(2):
        with fifo.open() as opened:
            opened.read()
    return process


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def go_on(toy: Toy, swept: Make, call: Call, counted: Path) -> dict[str, int]:
    """Take the run up again with a notebook that doesn't block; return which of its trials ran."""
    for path in counted.iterdir():
        path.unlink()
    swept(counting(counted))
    call(toy, "resume", "r1")
    return counts(counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_done_and_resume_runs_the_rest(
    swept: Make, call: Call, counted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    fifo = tmp_path / "fifo"
    toy = swept(BLOCK.format(folder=str(counted), fifo=str(fifo)))
    process = started(toy, fifo)
    children = children_of(process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert states() == {1: "succeeded", 2: "stopped", 3: "stopped"}
    assert number.name in train().reason
    assert "python -m ci resume r1" in output
    assert (
        json.loads((runs.folder("r1") / "trials" / "leaderboard.json").read_text())["lines"][0]["number"] == 1
    )
    assert go_on(toy, swept, call, counted) == {"2": 1, "3": 1, "4": 1}
    assert train().parameters["alpha"].value == 2


def test_a_killed_runner_leaves_a_sweep_that_goes_on(
    swept: Make, call: Call, counted: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    toy = swept(BLOCK.format(folder=str(counted), fifo=str(fifo)))
    process = started(toy, fifo)
    children = children_of(process)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert states() == {1: "succeeded", 2: "running", 3: "running"}
    assert go_on(toy, swept, call, counted) == {"2": 1, "3": 1, "4": 1}
    assert {line.number: line.rank for line in read_board(runs.load("r1")).lines} == {2: 1, 1: 2, 3: 3, 4: 4}


def test_a_damaged_record_of_a_trial_is_none(swept: Make, call: Call, counted: Path) -> None:
    toy = swept(counting(counted), "assert alpha != 3")
    call(toy, *SWEEP, "-p", "alpha", "1,2,3")
    folder = runs.folder("r1") / "trials"
    record: Any = json.loads((folder / "1" / "trial.json").read_text())
    (folder / "1" / "trial.json").write_text("{")
    (folder / "2" / "trial.json").write_text(json.dumps(record))  # another's
    assert states() == {3: "failed"}
