"""Reports are written beside a run, by a process of their own; all are there when it has ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from click.testing import CliRunner

from ci import runs
from ci.cli import main
from ci.reporter import Reporter, ReportError
from ci.runs import Run

if TYPE_CHECKING:
    from tests.conftest import Toy


@pytest.fixture
def run(toy: Toy) -> Run:
    """A run that has ended, without its reports."""
    toy.step("first", "print('said')")
    words = ["run", "--scenario", "scenario", "--run-id", "r1", "--pipeline", str(toy.file)]
    assert CliRunner().invoke(main, words).exit_code == 0
    made = runs.load("r1")
    for page in (*made.folder.rglob("*.html"), made.folder / "summary.md", made.folder.parent / "index.html"):
        page.unlink()
    return made


def test_all_that_was_told_is_written_when_it_has_left(run: Run) -> None:
    with Reporter() as reporter:
        for _ in range(20):
            reporter.changed(run)
    assert "said" in (run.folder / "notebooks" / "first.html").read_text()
    assert (run.folder / "index.html").exists()
    assert (run.folder / "summary.md").exists()
    assert (run.folder.parent / "index.html").exists()


def test_the_latest_record_is_what_is_written(run: Run) -> None:
    with Reporter() as reporter:
        reporter.changed(run)
        run.reason = "told last"
        run.save()
        reporter.changed(run)
    assert "told last" in (run.folder / "index.html").read_text()


def test_a_page_that_is_as_new_as_its_notebook_is_left_alone(run: Run) -> None:
    with Reporter() as reporter:
        reporter.changed(run)
    page = run.folder / "notebooks" / "first.html"
    before = page.stat().st_mtime_ns
    with Reporter() as reporter:
        reporter.changed(run)
    assert page.stat().st_mtime_ns == before
    notebook = run.folder / "notebooks" / "first.ipynb"
    notebook.write_text(notebook.read_text().replace("said", "said anew"))
    with Reporter() as reporter:
        reporter.changed(run)
    assert "said anew" in page.read_text()


def test_what_keeps_reports_from_being_written_is_told_with_the_command_that_writes_them(run: Run) -> None:
    (run.folder / "index.html").mkdir()
    with (
        pytest.raises(ReportError, match=r"IsADirectoryError.*python -m ci report r1"),
        Reporter() as reporter,
    ):
        reporter.changed(run)


def test_a_process_that_dies_is_told_and_does_not_stop_the_run(run: Run) -> None:
    reporter = Reporter().__enter__()
    (child,) = psutil.Process().children()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(3):
        reporter.changed(run)
    with pytest.raises(ReportError, match="ended with -9"):
        reporter.__exit__(None, None, None)


def test_a_process_that_hangs_is_ended_and_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reporter, "patience", 0.2)
    reporter = Reporter().__enter__()
    (child,) = psutil.Process().children()
    child.suspend()
    with pytest.raises(ReportError, match=r"took longer than 0.2 s.*python -m ci report"):
        reporter.__exit__(None, None, None)
    assert not child.is_running()


def test_it_ends_when_the_runner_does(tmp_path: Path) -> None:
    reporter = Reporter().__enter__()
    (child,) = psutil.Process().children()
    process = reporter._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as the end of a process does, however it comes
    assert child.wait(20) in (0, None)
    process.stdin = None
    reporter.__exit__(None, None, None)
