"""A terminal shows each step as it goes on; a log has one line for each change."""

from __future__ import annotations

from typing import Any

import click
import pytest

from ci import runs
from ci.progress import Progress, print_failure, print_verdict, serving, table
from ci.runs import Failure, Run, Step
from utils.platforms.protocol import Endpoint


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


def test_a_terminal_shows_the_cell_that_is_running(capsys: pytest.CaptureFixture[str]) -> None:
    record = run()
    with Progress(record, live=True) as progress:
        record.steps[0].state = "running"
        progress.changed(record.steps[0])
        record.steps[0].cells, record.steps[0].cells_done = 9, 4
        progress.changed(record.steps[0])
    shown = capsys.readouterr().out
    assert "starting its kernel" in shown
    assert "cell 4 of 9" in shown


def test_a_terminal_shows_how_far_a_sweep_is_in_the_steps_own_line_and_a_log_a_line_for_each_trial(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for terminal in (True, False):
        record = run()
        with Progress(record, live=terminal) as progress:
            record.steps[1].state, record.steps[1].reason = "running", "3 of 9 trials done"
            progress.changed(record.steps[1])
            progress.say("✓ train, trial 3 of 9: alpha [1]")
        shown = capsys.readouterr().out
        assert ("3 of 9 trials done" in shown) == terminal
        assert ("✓ train, trial 3 of 9: alpha [1]\n" in shown) == (not terminal)


def test_a_log_has_a_line_for_each_change_with_state_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    record = run()
    with Progress(record) as progress:
        record.steps[0].state, record.steps[0].started = "succeeded", runs.now()
        progress.changed(record.steps[0])
        record.steps[1].state, record.steps[1].reason = "skipped", "it was [not] better"
        progress.changed(record.steps[1])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("✓ setup: succeeded in ")
    assert lines[2] == "– train: skipped: it was [not] better"


def test_a_table_breaks_long_reasons_at_words_and_below_each_other() -> None:
    record = run()
    record.steps[0].reason = "what this says " * 6
    lines = click.unstyle(table(record, width=60)).splitlines()
    first = lines[0].index("what")
    assert len(lines) > 3
    assert all(len(line) <= 60 for line in lines)
    assert {line[:first].strip() for line in lines[1:-1]} == {""}
    assert lines[-1] == "· train  pending"
    assert "what this says " * 5 in click.unstyle(table(record)).splitlines()[0]


def test_a_failure_shows_its_traceback_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(cell=3, name="ValueError", message="x", traceback=["a[0] = [bold]", "ValueError: x"])
    print_failure(run().steps[0], failure)
    shown = capsys.readouterr().out
    assert "0_setup.ipynb, cell 3" in shown
    assert "a[0] = [bold]" in shown


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("waiting", "ci approve r1"),
        ("failed", "ci resume r1"),
        ("blocked", "ci resume r1"),
        ("released", "Released"),
    ],
)
def test_a_verdict_says_what_to_do_next(
    verdict: runs.Verdict, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run()
    record.verdict = verdict
    print_verdict(record)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("confirmed", "details", "words"),
    [
        (True, {"alive": True, "share": 100}, "http://127.0.0.1:1 serves model version 3"),
        (False, {"alive": True, "share": 100}, "http://127.0.0.1:1 serves model version 3, not tested yet"),
        (
            False,
            {"alive": True, "share": 10},
            "http://127.0.0.1:1 serves model version 3, 10 % of the requests, not tested yet",
        ),
        (True, {"alive": False}, "model version 3 doesn't run; start it: python -m ci up"),
        (
            True,
            {"alive": True, "reachable": False},
            "model version 3 doesn't run; start it: python -m ci up",
        ),
        (
            True,
            {"alive": True, "containers": [{"state": "exited"}, {"state": "running"}]},
            "http://127.0.0.1:1 serves model version 3, 1 of 2 containers don't run: python -m ci up",
        ),
        (False, {"alive": False, "error": "state.json can't be read"}, "state.json can't be read"),
    ],
)
def test_an_endpoint_is_told_in_a_line(confirmed: bool, details: dict[str, Any], words: str) -> None:
    endpoint = Endpoint("production", "demo", "http://127.0.0.1:1", "", "3", confirmed, details)
    line = serving(endpoint)
    assert line.startswith(f"demo in production: {words}")
    assert "\n" not in line
