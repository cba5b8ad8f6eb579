"""A terminal shows each step as it goes on; a log has one line for each change."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ci import runs
from ci.progress import Progress, print_failure, print_verdict
from ci.runs import Failure, Run, Step


def run() -> Run:
    steps = [Step(name=name, notebook=f"0_{name}", stage="train") for name in ("setup", "train")]
    return Run(
        id="r1",
        scenario="s",
        platform="local",
        created=runs.now(),
        commit="c",
        dirty=False,
        lock_digest="",
        steps=steps,
    )


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_a_terminal_shows_the_cell_that_is_running() -> None:
    record, shown = run(), console(terminal=True)
    with Progress(record, shown) as progress:
        record.steps[0].state = "running"
        progress.changed(record.steps[0])
        record.steps[0].cells, record.steps[0].cells_done = 9, 4
        progress.changed(record.steps[0])
    assert "starting its kernel" in text(shown)
    assert "cell 4 of 9" in text(shown)


def test_a_terminal_shows_how_far_a_sweep_is_in_the_steps_own_line_and_a_log_a_line_for_each_trial() -> None:
    for terminal in (True, False):
        record, shown = run(), console(terminal=terminal)
        with Progress(record, shown) as progress:
            record.steps[1].state, record.steps[1].reason = "running", "3 of 9 trials done"
            progress.changed(record.steps[1])
            progress.say("✓ train, trial 3 of 9: alpha [1]")
        assert ("3 of 9 trials done" in text(shown)) == terminal
        assert ("✓ train, trial 3 of 9: alpha [1]\n" in text(shown)) == (not terminal)


def test_a_log_has_a_line_for_each_change_with_state_and_reason() -> None:
    record, shown = run(), console(terminal=False)
    with Progress(record, shown) as progress:
        record.steps[0].state, record.steps[0].started = "succeeded", runs.now()
        progress.changed(record.steps[0])
        record.steps[1].state, record.steps[1].reason = "skipped", "it was [not] better"
        progress.changed(record.steps[1])
    lines = text(shown).splitlines()
    assert lines[1].startswith("✓ setup: succeeded in ")
    assert lines[2] == "– train: skipped: it was [not] better"


def test_a_failure_shows_its_traceback_as_it_is() -> None:
    shown = console(terminal=False)
    failure = Failure(cell=3, name="ValueError", message="x", traceback=["a[0] = [bold]", "ValueError: x"])
    print_failure(shown, run().steps[0], failure)
    assert "0_setup.ipynb, cell 3" in text(shown)
    assert "a[0] = [bold]" in text(shown)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("waiting", "ci approve r1"),
        ("failed", "ci resume r1"),
        ("blocked", "ci resume r1"),
        ("released", "Released"),
    ],
)
def test_a_verdict_says_what_to_do_next(verdict: runs.Verdict, words: str) -> None:
    record, shown = run(), console(terminal=False)
    record.verdict = verdict
    print_verdict(shown, record)
    assert words in text(shown)
