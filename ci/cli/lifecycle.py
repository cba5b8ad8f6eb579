"""Commands that take a run through its steps, and those by which a person decides."""

from __future__ import annotations

from pathlib import Path

import click

from ci import options
from ci.options import Kernel, Selection
from ci.refusals import refusals


@click.command()
@options.scenario
@click.option("--run-id", help="Name the run; with --force, go on with a run of that name.")
@options.selection
def run(scenario: str, platform: str, run_id: str | None, selection: Selection) -> None:
    """Begin a new run."""
    with refusals():
        from ci import commands

        commands.begin(scenario, platform, run_id, selection)


@click.command()
@options.scenario
@click.option("--run-id", help="Name the run; with --force, begin a sweep anew in a run of that name.")
@options.jobs
@options.selection
def sweep(scenario: str, platform: str, run_id: str | None, jobs: int | None, selection: Selection) -> None:
    """Begin a run that trains for many values of its parameters, and goes on with the best.

    \b
    python -m ci sweep -p alpha 0.01,0.1,1                    three trainings
    python -m ci sweep -p alpha 0.01,0.1 -p scale true,false  four, a grid

    Without several values for any -p, the key `sweep` of the scenario's file says what is searched.
    """  # noqa: D301 - \b is click's sign for lines to keep as they are
    with refusals():
        from ci import commands

        commands.sweep(scenario, platform, run_id, jobs, selection)


@click.command()
@click.argument("run_id", required=False)
@click.option("--run-id", "named", help="The same as the argument.")
@click.option("--scenario", help="Take the newest run of this scenario.")
@click.option("--platform", help="Take the newest run on this platform, or the one that only it has yet.")
@options.jobs
@options.selection
def resume(
    run_id: str | None,
    named: str | None,
    scenario: str | None,
    platform: str | None,
    jobs: int | None,
    selection: Selection,
) -> None:
    """Go on with a run: the newest one, unless RUN_ID names another.

    What has succeeded is not run again. Each stage can run in a process or on a machine of its own. A run
    that was begun on a platform's compute, such as by a schedule, is fetched first: name it and --platform.
    """
    with refusals():
        from ci import commands
        from ci.remote.commands import find

        found = find(run_id or named, scenario, platform, selection.file)
        commands.resume(found, selection, jobs=jobs)


@click.command()
@click.argument("run_id", required=False)
@click.option("--by", help="Who approves.  [default: your login name; must be given where CI is set]")
@click.option("--comment", default="", help="Why.")
@click.option(
    "--resume/--no-resume", "go_on", default=True, help="Go on to production at once.  [default: --resume]"
)
@click.option(
    "--traffic",
    type=click.IntRange(1, 100),
    default=100,
    metavar="PERCENT",
    help="Give the new version only this share of the requests until it has passed its test.",
)
@options.kernel
@options.pipeline
def approve(
    run_id: str | None,
    by: str | None,
    comment: str,
    go_on: bool,
    traffic: int,
    kernel: Kernel,
    file: Path,
) -> None:
    """Approve the package of the run that waits at the gate, and go on with the run."""
    with refusals():
        from ci import commands
        from ci.gates import decide
        from ci.pipeline import Pipeline

        decided = decide(run_id, by, comment, "approved", Pipeline(file), traffic)
        if go_on and decided.verdict != "released":
            commands.resume(decided, Selection(file, kernel=kernel))


@click.command()
@click.argument("run_id", required=False)
@click.option("--by", help="Who rejects.  [default: your login name; must be given where CI is set]")
@click.option("--comment", default="", help="Why.")
@options.pipeline
def reject(run_id: str | None, by: str | None, comment: str, file: Path) -> None:
    """Reject the package of the run that waits at the gate; the run ends there, red."""
    with refusals():
        from ci import commands
        from ci.gates import decide
        from ci.pipeline import Pipeline

        chain = Pipeline(file)
        decided = decide(run_id, by, comment, "rejected", chain)
        if decided.verdict == "waiting":
            commands.reject(decided, chain)
