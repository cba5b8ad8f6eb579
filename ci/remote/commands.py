"""What the commands do that are about a platform's own compute: publish, retrain, cancel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ci import commands, continuation, runs
from ci.options import Selection
from ci.pipeline import Pipeline, default_file
from ci.remote import returns, stint
from ci.remote.job import Job
from ci.runs import Run
from utils import platforms
from utils.platforms.protocol import Resource


def publish(scenario: str, platform: str) -> None:
    """Make what the platform needs, and its retraining pipeline of a scenario, unless all of it is there.

    Raises
    ------
    PlatformError
        If something can't be made.
    """
    chain = Pipeline(default_file())
    given = commands.parameters(chain, scenario, platform, Selection(chain.file))
    where = platforms.get(platform)
    if not where.retraining.remote:
        click.echo(
            f"{platform} has no compute of its own here, so that nothing needs to be published: "
            "'python -m ci retrain' runs all steps in this process."
        )
        return
    stint.demand(chain, scenario)
    for resource in where.provision():
        _tell(resource)
    with stint.prepared(chain, scenario, given) as asked:
        _tell(where.retraining.publish(asked))


def retrain(scenario: str, platform: str, run_id: str | None, selection: Selection, *, wait: bool) -> None:
    """Run everything up to the last remote step on the platform's compute, or else here.

    Parameters
    ----------
    wait : bool
        Whether to wait for the end; else the run is only handed over.

    Raises
    ------
    PlatformError
        If the platform refuses, or nobody can tell how far the job is.
    """
    chain = Pipeline(selection.file)
    given = commands.parameters(chain, scenario, platform, selection)
    where = platforms.get(platform)
    if not where.retraining.remote:
        until = chain.remote[-1] if chain.remote else None
        commands.begin(scenario, platform, run_id, replace(selection, until=until))
        return
    stint.demand(chain, scenario)
    for resource in where.provision():
        _tell(resource)
    selected = chain.select(None, chain.remote[-1])
    made = continuation.create(chain, given, scenario, platform, run_id, job=Job(steps=selected))
    with continuation.locked(made.id):
        commands.execute(chain, made, given, selected, selection, wait=wait)
    commands.finish(made)


def find(run_id: str | None, scenario: str | None, platform: str | None, file: Path) -> Run:
    """Return a run as `runs.find` does, or one that is not here and that the platform named keeps.

    Parameters
    ----------
    file : Path
        The pipeline's.

    Raises
    ------
    RunError
        If there is none.
    PlatformError
        If the platform can't be asked.
    """
    if run_id is not None and platform is not None and run_id not in runs.ids():
        compute = platforms.get(platform).retraining
        if compute.remote:
            chain = Pipeline(file)
            return returns.adopt(run_id, platform, compute, chain.select(None, chain.remote[-1]))
    return runs.find(run_id, scenario, platform)


def cancel(run_id: str | None) -> None:
    """Cancel the job of a run, and wait until it has ended.

    Raises
    ------
    RunError
        If the run has no job that goes on.
    PlatformError
        If the platform refuses, or nobody can tell how far the job is.
    """
    found = runs.find(run_id)
    job = found.job
    if job is None or not job.open:
        raise runs.RunError(f"Run {found.id} has no job that goes on; see 'python -m ci status {found.id}'.")
    if not job.id:
        raise runs.RunError(
            f"Nobody has seen whether the job of run {found.id} was started; find out by "
            f"'python -m ci resume {found.id}', and cancel it then."
        )
    platforms.get(found.platform).retraining.cancel(job.id)
    click.echo(f"Job {job.id} of run {found.id} is being cancelled.")
    if continuation.held(found.id):
        click.echo("The process that waits for it tells when it has ended.")
        return
    with continuation.locked(found.id):
        run = runs.load(found.id)
        continuation.recover(run)
        chain = Pipeline(default_file())
        selection = Selection(chain.file)
        given = commands.parameters(chain, run.scenario, run.platform, selection, (), run.overrides)
        commands.execute(chain, run, given, job.steps, selection)


def _tell(resource: Resource) -> None:
    click.echo(f"{resource.name}: {resource.state}, {resource.location}")
