"""What the commands do that begin a run or go on with one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ci import continuation, gates, progress, runner, runs
from ci.declarations import ParameterError
from ci.options import Selection
from ci.parameters import Parameters
from ci.pipeline import Pipeline, PipelineError
from ci.refusals import FAILED
from ci.runs import Run
from ci.sweeps import execution, request
from ci.sweeps.space import Sweep
from utils import platforms
from utils.platforms.protocol import Endpoint, PlatformError

GOOD = ("released", "not_better", "waiting", "stopped")


def begin(scenario: str, platform: str, run_id: str | None, selection: Selection) -> None:
    """Begin a run; or, by force, go on with the run of that id from the steps selected."""
    if selection.force and run_id is not None and run_id in runs.ids():
        resume(runs.load(run_id), selection)
        return
    chain = Pipeline(selection.file)
    _create(chain, scenario, platform, run_id, selection, parameters(chain, scenario, platform, selection))


def sweep(scenario: str, platform: str, run_id: str | None, jobs: int | None, selection: Selection) -> None:
    """Begin a run of which one step is swept; or, by force, begin the sweep anew in the run of that id."""
    fixed, searched = request.part(selection.overrides)
    chain = Pipeline(selection.file)
    given = parameters(chain, scenario, platform, selection, fixed)
    wanted = request.plan(chain, given, chain.parameter_file(scenario), searched, jobs)
    if selection.force and run_id is not None and run_id in runs.ids():
        resume(runs.load(run_id), selection, fixed, wanted=wanted)
        return
    _create(chain, scenario, platform, run_id, selection, given, wanted)


def resume(
    found: Run,
    selection: Selection,
    overrides: Sequence[tuple[str, str]] | None = None,
    *,
    jobs: int | None = None,
    wanted: Sweep | None = None,
) -> None:
    """Go on with a run.

    Parameters
    ----------
    overrides : sequence of (str, str), optional
        What `-p` gave, if it is other than the selection's.
    jobs : int, optional
        How many trials of a sweep run at once from now on.
    wanted : Sweep, optional
        A sweep in the place of the run's own.

    Raises
    ------
    PipelineError
        If the run was made by another pipeline.
    """
    chain = Pipeline(selection.file)
    if list(chain.steps) != [step.name for step in found.steps]:
        raise PipelineError(
            f"Run {found.id} was made by another pipeline than {selection.file}; name its own by --pipeline."
        )
    selected = chain.select(selection.stage, selection.until)
    with continuation.locked(found.id):
        run = runs.load(found.id)
        continuation.recover(run)
        given = parameters(chain, run.scenario, run.platform, selection, overrides, run.overrides)
        continuation.demand_no_job(run, other=selection.force or given.overrides != run.overrides)
        if selection.force:
            continuation.begin_again(run, selected)
        run.sweep = wanted or run.sweep
        if jobs is not None and run.sweep is not None:
            run.sweep.jobs = jobs
        continuation.demand_unchanged(run, chain, given)
        run.overrides = given.overrides
        execute(chain, run, given, selected, selection)
    finish(run)


def reject(decided: Run, chain: Pipeline) -> None:
    """Let a run end that a person has decided against."""
    selection = Selection(chain.file)
    given = parameters(chain, decided.scenario, decided.platform, selection, (), decided.overrides)
    with continuation.locked(decided.id):
        runner.Runner(chain, decided, given, changed=lambda _: None).execute(chain.select(None, None))


def rollback(
    scenario: str, platform: str, environment: str, *, version: str, by: str | None, comment: str
) -> Endpoint:
    """Put a version back that was in an environment before; in production its model is the champion again.

    Parameters
    ----------
    version : str
        Of the model; "" for the one before the live one.
    by : str or None
        Who decides; None for the login name, where that is a person's.

    Raises
    ------
    PlatformError
        If there is no version to go back to, or it doesn't get ready; then what is live stays so.
    """
    where = platforms.get(platform)
    # The address first, and the registry after it: callers are what it is about.
    back = where.endpoints.rollback(
        scenario, environment, version=version, by=by or gates.login(), comment=comment
    )
    if environment == "production":
        where.registry.promote(scenario, back.model_version)
    return back


def keys(scenario: str, platform: str, environment: str, rotate: int | None) -> tuple[str, str]:
    """Return the API keys of an endpoint that there is; replace one of them before, 1 or 2.

    Raises
    ------
    PlatformError
        If nothing is deployed there.
    """
    endpoints = platforms.get(platform).endpoints
    if endpoints.find(scenario, environment) is None:
        raise PlatformError(f"Nothing is deployed as {scenario} in {environment}, so it has no keys.")
    return endpoints.keys(scenario, environment, rotate=rotate)


def down(platform: str) -> list[Endpoint]:
    """Stop every service that runs; those in production are kept in mind. Return what was stopped."""
    endpoints = platforms.get(platform).endpoints
    stopped = []
    for endpoint in endpoints.everything():
        if endpoint.environment != "production" or "error" in endpoint.details:
            endpoints.remove(endpoint.service, endpoint.environment)
        elif endpoint.details.get("alive", True):
            endpoints.stop(endpoint.service, endpoint.environment)
        else:
            continue
        stopped.append(endpoint)
    return stopped


def up(platform: str) -> list[Endpoint]:
    """Start the services in production that don't run, or not all of them, as they were; return those."""
    endpoints = platforms.get(platform).endpoints
    ended = [each for each in endpoints.everything() if not _runs(each)]
    started = [
        endpoints.restore(each.service, each.environment)
        for each in ended
        if each.environment == "production" and "error" not in each.details
    ]
    return [each for each in started if each is not None]


def _runs(endpoint: Endpoint) -> bool:
    """Whether all of a service runs."""
    replicas = endpoint.details.get("containers", [])
    up = endpoint.details.get("alive", True) and endpoint.details.get("reachable", True)
    return bool(up) and all(each["state"] == "running" for each in replicas)


def parameters(
    chain: Pipeline,
    scenario: str,
    platform: str,
    selection: Selection,
    overrides: Sequence[tuple[str, str]] | None = None,
    stored: dict[str, Any] | None = None,
) -> Parameters:
    """Return the values for a run's notebooks, all of them checked.

    Raises
    ------
    ParameterError
        If there is no such platform, or a name or value is wrong.
    PlatformError
        If the platform can't work as it is set.
    """
    if scenario in platforms.NAMES:
        raise ParameterError(f"--scenario: {scenario} is a platform; say --platform {scenario}.")
    try:
        platforms.demand(platform)
    except PlatformError as error:
        raise ParameterError(f"--platform: {error}") from None
    platforms.get(platform).check()
    return Parameters(
        chain.declarations,
        chain.parameter_file(scenario),
        chain.parameter_file(platform),
        selection.overrides if overrides is None else overrides,
        stored,
        chain.fixed,
    )


def _create(
    chain: Pipeline,
    scenario: str,
    platform: str,
    run_id: str | None,
    selection: Selection,
    given: Parameters,
    wanted: Sweep | None = None,
) -> None:
    selected = chain.select(selection.stage, selection.until)
    continuation.demand_upstream(chain, None, selected)
    if any(chain.steps[name].remote for name in selected) and platforms.get(platform).retraining.remote:
        from ci.remote import stint

        stint.demand(chain, scenario)
    made = continuation.create(chain, given, scenario, platform, run_id, wanted)
    with continuation.locked(made.id):
        execute(chain, made, given, selected, selection)
    finish(made)


def execute(
    chain: Pipeline,
    run: Run,
    given: Parameters,
    selected: Sequence[str],
    selection: Selection,
    *,
    wait: bool = True,
) -> None:
    """Take a run, which this process holds, through the selected steps, and show how it goes.

    Parameters
    ----------
    wait : bool
        Whether to wait for steps that run elsewhere.
    """
    if run.sweep is not None and run.step(run.sweep.step).state != "succeeded":
        execution.share_processors(run.sweep)
    try:
        with progress.Progress(run) as shown:
            runner.Runner(
                chain,
                run,
                given,
                shown.changed,
                shown.say,
                warm=selection.kernel == "warm",
                force=selection.force,
                wait=wait,
            ).execute(selected)
    finally:
        for step in run.steps:
            if step.failure is not None and step.state == "failed":
                progress.print_failure(step, step.failure)
        progress.print_verdict(run)


def finish(run: Run) -> None:
    """End the process with 1 where a run has not come to a good end."""
    if run.verdict not in GOOD:
        sys.exit(FAILED)
