"""A run in short, as Markdown for the pages of CI systems: runs/<id>/summary.md."""

from __future__ import annotations

from pathlib import Path

from ci.reports import comparison, pages, sweep
from ci.reports import run as report
from ci.runs import Run
from utils import files


def write(run: Run) -> Path:
    """Write the summary into the run folder; return its path."""
    content = pages.render(
        "summary.md.j2",
        run=run,
        verdict=pages.VERDICTS[run.verdict],
        states=pages.STATES,
        sentence=report.sentence(run),
        seconds=report.seconds(run),
        actions=report.actions(run),
        approval=report.approval(run),
        comparison=comparison.of(run),
        sweep=sweep.of(run, drawn=False),
        failed=report.checks(comparison.scraps(run, "setup").get("sanity"))[0],
    )
    return files.write_text(run.folder / "summary.md", content)
