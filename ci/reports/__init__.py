"""What a person, and a CI system, sees of runs: pages, a summary and test results.

Everything is made from the record of a run and its executed notebooks alone. What makes them is imported
when it is needed: a command that writes no page shall not wait for the templates.
"""

from __future__ import annotations

from pathlib import Path

from ci import runs
from ci.runs import Run

__all__ = ["refresh", "render_notebook", "write", "write_index"]


def refresh(run: Run, *, anew: bool = False) -> Path:
    """Write what has changed: pages of notebooks, the report and, when the run has ended, the index.

    Parameters
    ----------
    run : Run
        The run in whatever state it is.
    anew : bool
        Whether pages are written too that are as new as their notebooks.

    Returns
    -------
    Path
        The report's page.
    """
    for step in run.steps:
        if not step.html or step.state not in ("succeeded", "failed"):
            continue
        notebook, page = run.folder / step.executed, run.folder / step.html
        if anew or not page.exists() or page.stat().st_mtime_ns < _changed(notebook):
            render_notebook(notebook, page, title=step.name)
    page = write(run, previous=_previous(run))
    if run.verdict != "running":
        write_index(runs.everything())
    return page


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _previous(run: Run) -> Run | None:
    """Return the newest run of the same scenario that is older."""
    for other in reversed(runs.everything()):
        if other.id != run.id and other.scenario == run.scenario and other.created < run.created:
            return other
    return None


def write(run: Run, *, previous: Run | None) -> Path:
    """Write index.html, summary.md and junit.xml into the run folder.

    Parameters
    ----------
    run : Run
        The run in whatever state it is.
    previous : Run or None
        The run of the same scenario before it, which it is compared with.

    Returns
    -------
    Path
        The report's page.
    """
    from ci.reports import junit, summary
    from ci.reports import run as report

    summary.write(run)
    junit.write(run)
    return report.write(run, previous)


def write_index(found: list[Run]) -> Path:
    """Write runs/index.html: the metric over time and one line for each run.

    Parameters
    ----------
    found : list of Run
        All runs, in any order.

    Returns
    -------
    Path
        The page.
    """
    from ci.reports import index

    return index.write(found)


def render_notebook(
    ipynb: Path, html: Path, *, title: str, back: str = "../index.html", running: bool = False
) -> Path:
    """Write an executed notebook as a page; see `ci.reports.notebook.render_notebook`."""
    from ci.reports import notebook

    return notebook.render_notebook(ipynb, html, title=title, back=back, running=running)
