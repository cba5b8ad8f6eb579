"""What a person sees while a run goes on: a live table in a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from ci.reports.text import duration
from ci.runs import Failure, Run, Step

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from utils.platforms.protocol import Endpoint

SYMBOLS = {
    "pending": "·",
    "running": "▶",
    "succeeded": "✓",
    "skipped": "–",
    "failed": "✗",
    "waiting": "◔",
}
_STYLES: dict[str, dict[str, Any]] = {
    "succeeded": {"fg": "green"},
    "failed": {"fg": "red", "bold": True},
    "waiting": {"fg": "yellow"},
    "running": {"fg": "cyan"},
    "skipped": {"dim": True},
    "pending": {"dim": True},
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
_GAP = "  "


class Progress:
    """Shows a run's steps as they go on.

    Parameters
    ----------
    run : Run
        What is shown; it is read anew at each change.
    live : bool, optional
        Whether one table is kept up to date, rather than a plain line written for each change of a step;
        by default in a terminal.
    """

    def __init__(self, run: Run, *, live: bool | None = None) -> None:
        self._run = run
        self._wanted = sys.stdout.isatty() if live is None else live
        self._live: Live | None = None

    def __enter__(self) -> Self:
        click.echo(
            f"Run {click.style(self._run.id, bold=True)}: {self._run.scenario} on {self._run.platform}"
        )
        if self._wanted:
            # Takes a while to import, which a log need not wait for.
            from rich.console import Console
            from rich.live import Live

            console = Console(force_terminal=True)
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4)
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
            click.echo(f"{SYMBOLS['running']} {step.name}: {step.notebook}.ipynb")
        else:
            click.echo(
                f"{SYMBOLS[step.state]} {step.name}: {step.state}"
                + (f" in {duration(step.seconds)}" if step.state in ("succeeded", "failed") else "")
                + (f": {step.reason}" if step.reason else "")
            )

    def say(self, line: str) -> None:
        """Add a line to a log; a terminal's table shows as much by itself."""
        if self._live is None:
            click.echo(line)

    def _table(self) -> Text:
        from rich.text import Text

        return Text.from_ansi(table(self._run, shutil.get_terminal_size().columns), no_wrap=True)


def table(run: Run, width: int | None = None) -> str:
    """Return a run's steps with their states, times and reasons, coloured.

    Parameters
    ----------
    width : int, optional
        Of the lines, which are broken at words. By default a terminal's; in a log a line is as long as it is.
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    rows = [
        (
            f"{SYMBOLS[step.state]} {step.name}",
            step.state,
            duration(step.seconds) if step.started else "",
            _doing(step) if step.state == "running" else step.reason,
            _STYLES[step.state],
        )
        for step in run.steps
    ]
    names, states, times = (max(len(str(row[column])) for row in rows) for column in range(3))
    indent = names + states + times + 3 * len(_GAP)
    lines = []
    for name, state, time, reason, style in rows:
        head = click.style(f"{name:<{names}}{_GAP}{state:<{states}}", **style)
        first, *more = _folded(reason, None if width is None else width - indent)
        took = click.style(f"{time:>{times}}", dim=True)
        lines.append(f"{head}{_GAP}{took}{_GAP}{first}" if time or first else head.rstrip())
        lines += [" " * indent + rest for rest in more]
    return "\n".join(lines)


def print_failure(step: Step, failure: Failure) -> None:
    """Show where a step failed: notebook, cell, the last lines of the traceback."""
    where = f"{step.notebook}.ipynb" + (f", cell {failure.cell}" if failure.cell else "")
    click.echo(f"\n{click.style(f'✗ {step.name}', **_STYLES['failed'])} failed in {where}")
    for line in failure.traceback or [f"{failure.name}: {failure.message}"]:
        click.echo("    " + line)


def print_verdict(run: Run) -> None:
    """Show what a run has come to, and what to do next."""
    verdict = click.style(_VERDICTS[run.verdict], bold=True)
    click.echo(f"\n{verdict}{'. ' if run.reason else ''}{run.reason}")
    command = f"{_python()} -m ci"
    lines = {"report": show(run.folder / "index.html")}
    if run.verdict == "waiting":
        lines |= {"approve": f"{command} approve {run.id}", "reject": f"{command} reject {run.id}"}
    elif run.verdict == "stopped" and run.job is not None and run.job.open:
        lines |= {"wait": f"{command} resume {run.id}", "cancel": f"{command} cancel {run.id}"}
    elif run.verdict in ("failed", "blocked", "stopped"):
        lines |= {"go on": f"{command} resume {run.id}"}
    for name, line in lines.items():
        click.echo(f"  {name + ':':<9} {line}")


def show(path: Path) -> str:
    """Return a path as the person at the terminal would type it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _doing(step: Step) -> str:
    cells = f"cell {step.cells_done} of {step.cells}" if step.cells else "starting its kernel"
    return step.reason or cells


def _folded(text: str, width: int | None) -> list[str]:
    """Break a text at words; one that has no room to be broken in, or is empty, is one line."""
    if width is None or width < 20:
        return [text]
    return textwrap.wrap(text, width) or [""]


def _python() -> str:
    """Return this Python as the person at the terminal would type it."""
    # Its environment may not be activated.
    return "python" if shutil.which("python") == sys.executable else show(Path(sys.executable))


def serving(endpoint: Endpoint) -> str:
    """Say in a line what an endpoint serves, or that it doesn't."""
    where = f"{endpoint.service} in {endpoint.environment}"
    if "error" in endpoint.details:
        return f"{where}: {endpoint.details['error']}"
    if not (endpoint.details.get("alive", True) and endpoint.details.get("reachable", True)):
        return f"{where}: model version {endpoint.model_version} doesn't run; start it: python -m ci up"
    share = endpoint.details.get("share", 100)
    words = [f"{share} % of the requests"] * (share < 100) + ["not tested yet"] * (not endpoint.confirmed)
    replicas = endpoint.details.get("containers", [])
    gone = sum(each["state"] != "running" for each in replicas)
    words += [f"{gone} of {len(replicas)} containers don't run: python -m ci up"] * bool(gone)
    return f"{where}: {endpoint.url} serves model version {', '.join([endpoint.model_version, *words])}"
