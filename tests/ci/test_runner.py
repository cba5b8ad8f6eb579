"""A run goes through its steps, and its record is true wherever it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from ci import runs
from ci.cli import main
from ci.signals import Stopped, stop_on_signals
from utils import approvals

if TYPE_CHECKING:
    from tests.conftest import Toy

# What scrapbook.glue displays, without the seconds that importing it takes in each kernel.
GLUE = """
from IPython.display import display
def glue(name, data):
    scrap = {"name": name, "data": data, "encoder": "json", "version": 1}
    about = {"scrapbook": {"name": name, "data": True, "display": False}}
    display({"application/scrapbook.scrap.json+json": scrap}, metadata=about, raw=True)
"""
COUNT = "from pathlib import Path; p = Path({!r}); p.write_text(p.read_text() + 'x' if p.exists() else 'x')"
DIGEST = "d" * 64


def call(toy: Toy, *words: str, code: int | None = 0) -> Result:
    """Run a command on the toy pipeline; its exit code has to be `code`."""
    result = CliRunner().invoke(main, [*words, "--pipeline", str(toy.file)], catch_exceptions=False)
    if code is not None:
        assert result.exit_code == code, result.output
    return result


def begin(toy: Toy, *words: str, code: int | None = 0) -> Result:
    return call(toy, "run", "--scenario", "scenario", "--run-id", "r1", *words, code=code)


def states() -> dict[str, str]:
    return {step.name: step.state for step in runs.load("r1").steps}


def glue(**scraps: Any) -> str:
    return "\n".join([GLUE, *(f"glue({name!r}, {value!r})" for name, value in scraps.items())])


def test_scraps_of_one_step_are_parameters_of_the_next(toy: Toy) -> None:
    toy.step("first", glue(rows=42), gives={"rows": "int"})
    toy.step(
        "second",
        glue(seen=1) + "\nassert rows == 42",
        parameters="rows: int = 0  # rows",
        takes={"rows": "first.rows"},
        gives={"seen": "int"},
    )
    begin(toy)
    run = runs.load("r1")
    assert run.verdict == "released"
    assert run.step("second").parameters["rows"] == runs.Parameter(value=42, source="first.rows")


def test_a_finished_step_leaves_its_notebook_its_page_and_the_runs_reports(toy: Toy) -> None:
    toy.step("first", "1 + 1")
    begin(toy)
    folder = runs.folder("r1")
    for name in (
        "run.json",
        "notebooks/first.ipynb",
        "notebooks/first.html",
        "index.html",
        "summary.md",
        "junit.xml",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert (folder.parent / "index.html").exists()


def test_the_run_folder_holds_no_absolute_path(toy: Toy, home: Path) -> None:
    toy.step("first", "1 + 1")
    begin(toy)
    for path in runs.folder("r1").rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert str(home) not in text, path
            assert str(toy.folder) not in text, path


def test_an_unmet_condition_skips_the_step_and_all_that_build_on_it_with_the_reason(toy: Toy) -> None:
    toy.step(
        "evaluate",
        glue(outcome="not_better", reason="53.1 against 52"),
        gives={"outcome": "outcome", "reason": "str"},
    )
    toy.step("register", glue(version="1"), when={"evaluate.outcome": "promote"}, gives={"version": "str"})
    toy.step("package", takes={"label": "register.version"})
    begin(toy)
    run = runs.load("r1")
    assert states() == {"evaluate": "succeeded", "register": "skipped", "package": "skipped"}
    assert run.step("package").reason == "53.1 against 52"
    assert (run.verdict, run.reason) == ("not_better", "53.1 against 52")


@pytest.mark.parametrize(
    "cell",
    [
        glue(reason="x"),
        glue(outcome="Promote", reason="x"),
        glue(outcome="promote ", reason="x"),
        glue(outcome=True, reason="x"),
        glue(outcome=["promote"], reason="x"),
        glue(outcome="promote", reason="x") + "\nraise RuntimeError('after all')",
        glue(outcome="promote", reason="x") + "\nimport os; os._exit(1)",
        "import sys; sys.exit(0)",
    ],
    ids=["no outcome", "another case", "a space", "a bool", "a list", "raised", "killed", "exited"],
)
def test_anything_but_a_sound_outcome_fails_and_registers_nothing(
    toy: Toy, cell: str, tmp_path: Path
) -> None:
    toy.step("evaluate", cell, gives={"outcome": "outcome", "reason": "str"})
    toy.step("register", COUNT.format(str(tmp_path / "registered")), when={"evaluate.outcome": "promote"})
    begin(toy, code=1)
    assert states() == {"evaluate": "failed", "register": "pending"}
    assert not (tmp_path / "registered").exists()


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "'0.5'"])
def test_a_metric_that_is_no_finite_number_fails_the_step(toy: Toy, value: str) -> None:
    toy.step("evaluate", f"import scrapbook\nscrapbook.glue('rmse', {value})", gives={"rmse": "float"})
    toy.step("register")
    toy.save(preload=["scrapbook"])
    begin(toy, code=1)
    assert "rmse" in runs.load("r1").step("evaluate").reason
    assert states()["register"] == "pending"


def test_a_blocked_outcome_is_red_with_its_reason(toy: Toy) -> None:
    toy.step(
        "evaluate",
        glue(outcome="blocked", reason="no champion to read"),
        gives={"outcome": "outcome", "reason": "str"},
    )
    toy.step("register", when={"evaluate.outcome": "promote"})
    assert "no champion to read" in begin(toy, code=1).output
    run = runs.load("r1")
    assert (run.verdict, run.reason) == ("blocked", "no champion to read")
    assert states()["register"] == "pending"


def test_a_failure_shows_notebook_cell_traceback_and_the_command_to_resume(toy: Toy) -> None:
    toy.step("first", "x = 1", "raise ValueError('the cause')")
    output = begin(toy, code=1).output
    for words in ("first.ipynb, cell 3", "ValueError: the cause", "python -m ci resume r1"):
        assert words in output
    failure = runs.load("r1").step("first").failure
    assert failure is not None
    assert failure.source == "raise ValueError('the cause')"
    assert "the cause" in (runs.folder("r1") / "notebooks" / "first.html").read_text()


def test_resume_runs_again_only_what_had_not_succeeded(toy: Toy, tmp_path: Path) -> None:
    toy.step("first", COUNT.format(str(tmp_path / "first")))
    toy.step(
        "second",
        COUNT.format(str(tmp_path / "second")),
        f"assert __import__('os').path.exists({str(tmp_path / 'ok')!r})",
    )
    begin(toy, code=1)
    (tmp_path / "ok").touch()
    call(toy, "resume", "r1")
    assert (tmp_path / "first").read_text() == "x"
    assert (tmp_path / "second").read_text() == "xx"
    assert runs.load("r1").verdict == "released"
    assert runs.load("r1").step("second").attempts == 2


def test_force_runs_again_what_had_succeeded(toy: Toy, tmp_path: Path) -> None:
    toy.step("first", COUNT.format(str(tmp_path / "first")))
    begin(toy)
    call(toy, "resume", "r1")
    assert (tmp_path / "first").read_text() == "x"
    call(toy, "resume", "r1", "--force")
    assert (tmp_path / "first").read_text() == "xx"


def test_retries_run_a_failed_notebook_again(toy: Toy, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    toy.step(
        "first", COUNT.format(str(counter)), f"assert len(open({str(counter)!r}).read()) == 3", retries=2
    )
    begin(toy)
    assert runs.load("r1").step("first").attempts == 3


def test_a_cell_that_takes_too_long_fails_with_its_limit(toy: Toy) -> None:
    toy.step("first", "import threading; threading.Event().wait(60)", cell_timeout=1)
    assert "longer than 1 s" in begin(toy, code=1).output
    failure = runs.load("r1").step("first").failure
    assert failure is not None
    assert "threading" in failure.source


def test_stages_run_one_by_one_and_refuse_to_run_out_of_order(toy: Toy) -> None:
    toy.step("first", glue(label="x"), stage="build", gives={"label": "str"})
    toy.step("second", stage="train", takes={"label": "first.label"})
    toy.step(
        "third", glue(label="x"), stage="staging", takes={"label": "second.label"}, gives={"label": "str"}
    )
    toy.steps["second"]["gives"] = {"label": "str"}
    toy.notebook("second", "label: str = 'x'  # a word", glue(label="x"))
    toy.save()
    assert "needs what first gives" in begin(toy, "--stage", "train", code=2).output
    assert runs.ids() == []
    begin(toy, "--stage", "build")
    assert runs.load("r1").verdict == "stopped"
    assert "--stage train" in call(toy, "resume", "r1", "--stage", "staging", code=2).output
    call(toy, "resume", "r1", "--stage", "train")
    call(toy, "resume", "r1", "--stage", "staging")
    assert runs.load("r1").verdict == "released"


def test_until_stops_after_a_step(toy: Toy) -> None:
    toy.step("first")
    toy.step("second")
    begin(toy, "--until", "first")
    assert states() == {"first": "succeeded", "second": "pending"}


def test_a_parameter_that_would_change_what_has_succeeded_is_refused_on_resume(toy: Toy) -> None:
    toy.step("first")
    toy.step("second")
    begin(toy, "--until", "first", "-p", "label", "y")
    assert (
        "already succeeded with label = 'y'" in call(toy, "resume", "r1", "-p", "label", "z", code=2).output
    )
    call(toy, "resume", "r1")
    assert runs.load("r1").step("second").parameters["label"].value == "y"


def test_a_run_made_elsewhere_goes_on_from_a_copy_of_its_folder(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.step("first", glue(label="x"), stage="build", gives={"label": "str"})
    toy.step("second", takes={"label": "first.label"})
    begin(toy, "--stage", "build")
    other = tmp_path / "elsewhere"
    (other / "runs").mkdir(parents=True)
    runs.folder("r1").rename(other / "runs" / "r1")
    monkeypatch.setenv("MLOPS_HOME", str(other))
    call(toy, "resume", "r1")
    assert runs.load("r1").verdict == "released"


def gated(toy: Toy, deployed: Path) -> None:
    toy.step("package", glue(digest=DIGEST), gives={"digest": "str"})
    toy.step("deploy", COUNT.format(str(deployed)), gate="package.digest", takes={"label": "package.digest"})


def test_a_gate_waits_and_says_how_to_approve(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    assert "python -m ci approve r1" in begin(toy).output
    assert states()["deploy"] == "waiting"
    call(toy, "resume", "r1")
    assert not (tmp_path / "deployed").exists()


def test_an_approval_lets_the_run_go_on_and_a_second_one_changes_nothing(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    begin(toy)
    call(toy, "approve", "--by", "Ada")
    run = runs.load("r1")
    assert run.verdict == "released"
    assert run.approval is not None
    assert run.approval["by"] == "Ada"
    assert "approved by Ada" in call(toy, "approve", "r1", "--by", "Eve").output
    assert (tmp_path / "deployed").read_text() == "x"
    assert "No run waits" in call(toy, "approve", code=2).output


def test_an_approval_of_another_digest_holds_nothing(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    begin(toy)
    approvals.write(runs.folder("r1"), "approved", by="Ada", digest="e" * 64)
    call(toy, "resume", "r1")
    assert states()["deploy"] == "waiting"
    assert "approval is for package eeee" in runs.load("r1").step("deploy").reason
    assert not (tmp_path / "deployed").exists()


def test_a_rejected_run_ends_red_and_stays_so(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    begin(toy)
    call(toy, "reject", "r1", "--by", "Ada", "--comment", "too few rows")
    assert runs.load("r1").verdict == "rejected"
    assert "rejected by Ada: too few rows" in call(toy, "resume", "r1", code=1).output
    call(toy, "approve", "r1", "--by", "Ada", code=2)
    assert not (tmp_path / "deployed").exists()


def test_a_forged_approval_file_is_not_an_approval(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    begin(toy)
    (runs.folder("r1") / "approval.json").write_text(json.dumps({"decision": "approved", "digest": DIGEST}))
    call(toy, "resume", "r1", code=1)
    assert not (tmp_path / "deployed").exists()


def test_in_ci_an_approval_has_to_name_its_person(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated(toy, tmp_path / "deployed")
    begin(toy)
    monkeypatch.setenv("CI", "true")
    assert "--by NAME" in call(toy, "approve", "r1", code=2).output


def test_of_several_waiting_runs_one_has_to_be_named(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    begin(toy)
    call(toy, "run", "--scenario", "scenario", "--run-id", "r2")
    output = call(toy, "approve", "--by", "Ada", code=2).output
    assert "r1" in output
    assert "r2" in output


def test_what_kernels_print_outside_of_notebooks_is_kept_in_the_run_folder(toy: Toy) -> None:
    toy.step("first", "import os; os.write(2, b'said by native code')")
    assert "said by native code" not in begin(toy).output
    assert "said by native code" in (runs.folder("r1") / "kernels.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_not_lost_while_the_event_loop_handles_a_message(number: signal.Signals) -> None:
    async def wait() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.wait_for(asyncio.Event().wait(), 10)

    loop = asyncio.new_event_loop()
    try:
        with stop_on_signals(), pytest.raises(Stopped, match=number.name):
            loop.run_until_complete(wait())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_an_executed_notebook_is_never_seen_half_written(toy: Toy) -> None:
    toy.step("first", *(f"print({number}, 'x' * 300_000)" for number in range(15)))
    notebook, ended = runs.folder("r1") / "notebooks" / "first.ipynb", threading.Event()

    def read() -> set[int]:
        seen = set()
        while not ended.is_set():
            with suppress(FileNotFoundError):
                seen.add(sum(bool(cell["outputs"]) for cell in json.loads(notebook.read_text())["cells"]))
        return seen

    with ThreadPoolExecutor(1) as aside:
        reader = aside.submit(read)
        try:
            begin(toy)
        finally:
            ended.set()
        assert len(reader.result()) > 3


@pytest.mark.parametrize("kind", ["warm", "cold"])
def test_a_kernel_that_is_killed_in_mid_cell_fails_the_step_and_a_resumed_run_goes_on(
    toy: Toy, tmp_path: Path, kind: str
) -> None:
    mark = tmp_path / "killed"
    kill = (
        f"import os, pathlib\nmark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n    mark.touch()\n    os.kill(os.getpid(), 9)"
    )
    toy.step("first", kill)
    result = begin(toy, "--kernel", kind, code=1)
    step = runs.load("r1").step("first")
    assert step.reason == "the kernel died; was it killed?"
    assert step.failure is not None
    assert step.failure.cell == 2
    assert "resume r1" in result.output
    call(toy, "resume", "r1", "--kernel", kind)
    assert states() == {"first": "succeeded"}


def test_a_kernel_server_that_is_killed_fails_the_step_and_is_replaced_for_the_next_try(
    toy: Toy, tmp_path: Path
) -> None:
    mark = tmp_path / "killed"
    kill = (
        f"import os, pathlib, threading\nmark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n"
        "    mark.touch()\n    os.kill(os.getppid(), 9)\n    threading.Event().wait(60)"
    )
    toy.step("first", kill, "import sys; print('colorsys' in sys.modules)", retries=1)
    toy.save(preload=["colorsys"])
    begin(toy)
    step = runs.load("r1").step("first")
    assert (step.state, step.attempts) == ("succeeded", 2)
    executed = json.loads((runs.folder("r1") / "notebooks" / "first.ipynb").read_text())
    assert executed["cells"][-1]["outputs"][0]["text"] == ["True\n"]


def test_a_run_whose_stages_before_the_gate_are_done_waits_there(toy: Toy, tmp_path: Path) -> None:
    gated(toy, tmp_path / "deployed")
    first, *_ = toy.steps
    begin(toy, "--until", first)
    assert runs.load("r1").verdict == "waiting"
    call(toy, "approve", "--by", "Ada", "--no-resume")
    call(toy, "resume", "r1")
    assert runs.load("r1").verdict == "released"


def test_what_will_be_skipped_is_known_as_soon_as_its_condition_is_not_met(toy: Toy) -> None:
    toy.step(
        "evaluate", glue(outcome="not_better", reason="no"), gives={"outcome": "outcome", "reason": "str"}
    )
    toy.step("register", when={"evaluate.outcome": "promote"}, stage="later")
    toy.step("tell", stage="later")
    begin(toy, "--until", "evaluate")
    assert states() == {"evaluate": "succeeded", "register": "skipped", "tell": "pending"}


def test_nothing_behind_a_gate_runs_while_a_step_before_it_has_failed(toy: Toy, tmp_path: Path) -> None:
    deployed, fault = tmp_path / "deployed", tmp_path / "fault"
    fault.touch()
    toy.step("package", glue(digest=DIGEST), gives={"digest": "str"})
    toy.step("test", f"import pathlib; assert not pathlib.Path({str(fault)!r}).exists()")
    touch = COUNT.format(str(deployed))
    toy.step("deploy", touch, gate="package.digest", takes={"label": "package.digest"}, stage="production")
    begin(toy, code=1)
    approvals.write(runs.load("r1").folder, "approved", by="Ada", digest=DIGEST)
    refused = call(toy, "resume", "r1", "--stage", "production", code=2)
    assert "deploy needs what test gives, which has not ended well yet" in refused.output
    assert not deployed.exists()
    fault.unlink()
    call(toy, "resume", "r1")
    assert deployed.exists()
