"""The command `score`: which package scores a file, and how far it has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ci import runs
from ci.reports.text import duration
from utils import platforms

PACKAGE = "package"  # the folder in a run's
_QUIET_SECONDS = 10.0  # between two lines in a log
Watch = Callable[[int, float], None]


def score(
    source: Path, output: Path, package: Path, *, chunk_rows: int | None, keep: list[str], force: bool
) -> None:
    """Score a file by a package, and say how far it has come.

    Raises
    ------
    click.ClickException
        If the package, the input or the output can't be used; the message says why.
    KeyboardInterrupt
        After saying how to go on.
    """
    from utils import batches  # takes a while to import, which the other commands need not wait for

    click.echo(f"Scoring {source} by the package {package}")
    try:
        with _progress() as watch:
            done = batches.score(
                package, source, output, chunk_rows=chunk_rows, keep=keep, force=force, watch=watch
            )
    except batches.BatchError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("What has been scored is kept: give the same command again to go on.", err=True)
        raise
    resumed = f", {done.resumed:,} of them before" if done.resumed else ""
    rate = (done.rows - done.resumed) / max(done.seconds, 1e-9)
    click.echo(
        f"{click.style('✓', fg='green')} {done.rows:,} rows{resumed} in {duration(done.seconds)} "
        f"({rate:,.0f} rows/s) by {done.format}, package {done.digest[:12]}: {done.output}"
    )


def find(package: Path | None, run_id: str | None, scenario: str, platform: str) -> Path:
    """Return the folder of the package that is asked for, verified: by default of what is live in production.

    Raises
    ------
    click.ClickException
        If there is none.
    RunError, PlatformError
        If the run, the platform or its records can't be read, or the signature of the package doesn't hold.
    """
    if package is not None and run_id is not None:
        raise click.UsageError("Give --package or --run, not both.")
    where = platforms.get(platform)
    if package is None and run_id is None:
        live = where.endpoints.find(scenario, "production")
        if live is None:
            raise click.ClickException(
                f"No service of {scenario} is live in production: name a package by --package or --run."
            )
        if "package" not in live.details:
            raise click.ClickException(
                f"The package of {scenario} in production isn't on this machine: name one by --package or "
                "--run."
            )
        package = Path(live.details["package"])
    found = package or runs.find(run_id).folder / PACKAGE
    where.verify(found)
    return found


@contextmanager
def _progress() -> Iterator[Watch]:
    """Show how far it has come: a bar in a terminal, a line now and then in a log."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]:,} rows"))
        with Progress(*columns, TimeRemainingColumn()) as bar:
            task = bar.add_task("", total=1.0, rows=0)
            yield lambda rows, share: bar.update(task, completed=share, rows=rows)
        return
    said = time.monotonic()

    def say(rows: int, share: float) -> None:
        nonlocal said
        if time.monotonic() - said >= _QUIET_SECONDS:
            said = time.monotonic()
            click.echo(f"{rows:,} rows, {share:.0%} of the input")

    yield say
