"""Commands for steps that run on a platform's own compute."""

from __future__ import annotations

from pathlib import Path

import click

from ci import options
from ci.options import Kernel, Selection
from ci.refusals import refusals


@click.command()
@options.scenario
def publish(scenario: str, platform: str) -> None:
    """Publish the retraining pipeline of a scenario, and make what the platform needs for it.

    Anew only where notebooks, parameters, code or packages have changed; its address stays the same.
    """
    with refusals():
        from ci.remote import commands

        commands.publish(scenario, platform)


@click.command()
@options.scenario
@options.values
@click.option("--run-id", help="Name the run.")
@click.option("--wait/--no-wait", default=True, help="Wait for the end.  [default: --wait]")
@options.kernel
@options.pipeline
def retrain(
    scenario: str,
    platform: str,
    overrides: tuple[tuple[str, str], ...],
    run_id: str | None,
    wait: bool,
    kernel: Kernel,
    file: Path,
) -> None:
    """Train, evaluate, register and package anew, on the platform's own compute where it has one.

    Ends as `run` does: 0 also where the new model is not better. `resume` goes on to staging.
    """
    with refusals():
        from ci.remote import commands

        selection = Selection(file, overrides=overrides, kernel=kernel)
        commands.retrain(scenario, platform, run_id, selection, wait=wait)


@click.command()
@click.argument("run_id", required=False)
def cancel(run_id: str | None) -> None:
    """Cancel the job of a run (the newest one, unless RUN_ID names another) on the platform's compute."""
    with refusals():
        from ci.remote import commands

        commands.cancel(run_id)


@click.command()
@click.argument("step")
@click.option("--run", "run_id", default="", help="The run's id.  [default: MLOPS_RUN, or a new one]")
@click.option("--take", default="", help="The folder that the step before has given.")
@click.option("--give", type=click.Path(path_type=Path), required=True, help="The folder to give.")
@options.scenario
@options.values
@click.option("--parameters", is_flag=True, help="NAME=VALUE ... follow: as -p; an empty value is none.")
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE]...")
@options.cold
def step(
    step: str,
    run_id: str,
    take: str,
    give: Path,
    scenario: str,
    platform: str,
    overrides: tuple[tuple[str, str], ...],
    parameters: bool,
    assignments: tuple[str, ...],
    kernel: Kernel,
) -> None:
    """Run one STEP of a run that has been handed over. This is for the platform's compute, not for people.

    The run folder comes from --take; without it, the step is the first one: what the platform keeps of the
    run is fetched, or a run is begun, and what STEP builds on is run too, unless it is done. Afterwards the
    folder is in --give, and the platform keeps it, also where the step has failed. A step that is done, or
    that the run doesn't ask for, hands the folder on as it is; so the command can be repeated.

    \b
    Exit codes: 0 the step has succeeded, or is skipped because the model is not better;
    1 it has failed or is blocked; 2 wrong usage or parameters; 128+n ended by signal n.
    """  # noqa: D301 - \b is click's sign for lines to keep as they are
    with refusals():
        from ci.remote import node

        values = node.read(overrides, assignments, asked=parameters)
        node.run(node.Order(step, run_id, take, give, scenario, platform, values, kernel))
