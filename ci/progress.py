"""What a person sees while a run goes on: a live table in a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ci.reports.text import duration
from ci.runs import Failure, Run, Step

SYMBOLS = {
    "pending": "·",
    "running": "▶",
    "succeeded": "✓",
    "skipped": "–",
    "failed": "✗",
    "waiting": "◔",
}
_STYLES = {
    "succeeded": "green",
    "failed": "red bold",
    "waiting": "yellow",
    "running": "cyan",
    "skipped": "dim",
}

_VERDICTS = {
    "released": "✓ Released",
    "not_better": "– Not better, nothing was changed",
    "waiting": "◔ Waiting for a person's approval",
    "stopped": "✓ Done so far",
    "blocked": "✗ Blocked: the evidence can't be trusted",
    "rejected": "✗ Rejected",
    "failed": "✗ Failed",
    "running": "▶ Running",
}


class Progress:
    """Shows a run's steps as they go on.

    Parameters
    ----------
    run : Run
        What is shown; it is read anew at each change.
    console : Console
        Where to. If it is no terminal, each change of a step is one plain line.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self._run = run
        self._console = console
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._console.print(
            f"Run [bold]{self._run.id}[/bold]: {escape(self._run.scenario)} on {self._run.platform}"
        )
        if self._console.is_terminal:
            self._live = Live(get_renderable=self.table, console=self._console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            self._live = None

    def changed(self, step: Step) -> None:
        """Show that a step's state has changed."""
        if self._live is not None:
            self._live.refresh()
        elif step.state == "running":
            self._print(f"{SYMBOLS['running']} {step.name}: {step.notebook}.ipynb")
        else:
            self._print(
                f"{SYMBOLS[step.state]} {step.name}: {step.state}"
                + (f" in {duration(step.seconds)}" if step.state in ("succeeded", "failed") else "")
                + (f": {step.reason}" if step.reason else "")
            )

    def say(self, line: str) -> None:
        """Add a line to a log; a terminal's table shows as much by itself."""
        if self._live is None:
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """Return the steps with their states, times and reasons."""
        table = Table.grid(padding=(0, 2))
        for step in self._run.steps:
            cells = f"cell {step.cells_done} of {step.cells}" if step.cells else "starting its kernel"
            doing = step.reason or cells
            style = _STYLES.get(step.state, "dim")
            table.add_row(
                Text(f"{SYMBOLS[step.state]} {step.name}", style),
                Text(step.state, style),
                Text(duration(step.seconds) if step.started else "", style="dim", justify="right"),
                Text(doing if step.state == "running" else step.reason, overflow="fold"),
            )
        return table


def print_failure(console: Console, step: Step, failure: Failure) -> None:
    """Show where a step failed: notebook, cell, the last lines of the traceback."""
    where = f"{step.notebook}.ipynb" + (f", cell {failure.cell}" if failure.cell else "")
    console.print(f"\n[red bold]✗ {escape(step.name)}[/red bold] failed in {escape(where)}")
    for line in failure.traceback or [f"{failure.name}: {failure.message}"]:
        console.print("    " + line, markup=False, highlight=False, soft_wrap=True)


def print_verdict(console: Console, run: Run) -> None:
    """Show what a run has come to, and what to do next."""
    console.print(f"\n[bold]{_VERDICTS[run.verdict]}[/bold]{'. ' if run.reason else ''}{escape(run.reason)}")
    command = f"{_python()} -m ci"
    lines = {"report": show(run.folder / "index.html")}
    if run.verdict == "waiting":
        lines |= {"approve": f"{command} approve {run.id}", "reject": f"{command} reject {run.id}"}
    elif run.verdict in ("failed", "blocked", "stopped"):
        lines |= {"go on": f"{command} resume {run.id}"}
    for name, line in lines.items():
        console.print(f"  {name + ':':<9} {line}", highlight=False, soft_wrap=True)


def show(path: Path) -> str:
    """Return a path as the person at the terminal would type it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _python() -> str:
    """Return this Python as the person at the terminal would type it."""
    # Its environment may not be activated.
    return "python" if shutil.which("python") == sys.executable else show(Path(sys.executable))
