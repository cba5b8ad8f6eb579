"""What a person, and a CI system, sees of runs: pages, a summary and test results.

Everything is made from the record of a run and its executed notebooks alone. What makes them is imported
when it is needed: a command that writes no page shall not wait for the templates.
"""

from __future__ import annotations

from pathlib import Path

from ci.runs import Run

__all__ = ["render_notebook", "write", "write_index"]


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


def write_index(runs: list[Run]) -> Path:
    """Write runs/index.html: the metric over time and one line for each run.

    Parameters
    ----------
    runs : list of Run
        All runs, in any order.

    Returns
    -------
    Path
        The page.
    """
    from ci.reports import index

    return index.write(runs)


def render_notebook(
    ipynb: Path, html: Path, *, title: str, back: str = "../index.html", running: bool = False
) -> Path:
    """Write an executed notebook as a page; see `ci.reports.notebook.render_notebook`."""
    from ci.reports import notebook

    return notebook.render_notebook(ipynb, html, title=title, back=back, running=running)
