"""The commands: `python -m ci run`, `sweep`, `resume`, `approve`, `reject`, `status`, and some others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

# What a command needs is imported when it runs: `status` shall not wait for what only `run` needs.
if TYPE_CHECKING:
    from ci.parameters import Parameters
    from ci.pipeline import Pipeline
    from ci.runs import Run
    from ci.sweeps.space import Sweep

FAILED, USAGE = 1, 2
_GOOD = ("released", "not_better", "waiting", "stopped")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn every refusal into its message and its exit code."""
    try:
        yield
    except KeyboardInterrupt as stop:
        number = signal.Signals(getattr(stop, "number", signal.SIGINT))
        click.echo(f"Stopped by {number.name}.", err=True)
        sys.exit(128 + number)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        text = str(error)
        if isinstance(error, OSError):
            from utils import project

            text = f"{error.strerror or error} ({error.filename or project.home()})."
        click.echo(f"Error: {text}", err=True)
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of a refusal; None for an error that is none."""
    from ci.continuation import StageError
    from ci.declarations import ParameterError
    from ci.pipeline import PipelineError
    from ci.reporter import ReportError
    from ci.runs import RunError
    from utils.approvals import ApprovalError
    from utils.platforms.protocol import PlatformError

    if isinstance(error, ParameterError | PipelineError | StageError | RunError):
        return USAGE
    return FAILED if isinstance(error, PlatformError | ApprovalError | ReportError | OSError) else None


def _default_file() -> Path:
    from ci.pipeline import default_file

    return default_file()


def _pipeline_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--pipeline",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        default=_default_file,
        help="Another pipeline.yml.  [default: parameters/pipeline.yml]",
    )(command)


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `run` and `resume` share."""
    for option in (
        click.option(
            "--force",
            is_flag=True,
            help="Run steps although they have succeeded, in this run or an earlier one.",
        ),
        click.option(
            "-p",
            "overrides",
            type=(str, str),
            multiple=True,
            metavar="NAME VALUE",
            help="Set a notebook's parameter, or one of the scenario's hyperparameters.",
        ),
        click.option("--until", metavar="STEP", help="Stop after this step, or after this stage."),
        click.option("--stage", help="Run the steps of this stage alone."),
    ):
        command = option(command)
    return _pipeline_option(command)


_jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="How many of a sweep's trials run at once.  [default: as many as there are processors]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Run the lifecycle of a model as a pipeline of notebooks.

    \b
    python -m ci run                   setup … staging, then wait at the gate
    python -m ci approve               approve, and go on to production
    python -m ci run -p alpha 0.5     another value for a parameter
    python -m ci sweep -p alpha 0.1,1 many values at once, the best goes on

    Exit codes: 0 released, not better, or waiting at the gate; 1 failed, blocked or rejected;
    2 wrong usage or parameters; 128+n ended by signal n.
    """  # noqa: D301 - \b is click's sign for lines to keep as they are
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        click.get_current_context().color = False


@main.command()
@click.option(
    "--scenario", default="diabetes", show_default=True, help="Name of parameters/<scenario>.yml, or a file."
)
@click.option("--platform", default="local", show_default=True, help="Where it runs.")
@click.option("--run-id", help="Name the run; with --force, go on with a run of that name.")
@_selection
def run(
    scenario: str,
    platform: str,
    run_id: str | None,
    file: Path,
    stage: str | None,
    until: str | None,
    overrides: tuple[tuple[str, str], ...],
    force: bool,
) -> None:
    """Begin a new run."""
    from ci import continuation, runs
    from ci.pipeline import Pipeline

    with _refusals():
        _demand_one(stage, until)
        if force and run_id is not None and run_id in runs.ids():
            _resume(runs.load(run_id), file, stage, until, overrides, force=True)
            return
        chain = Pipeline(file)
        selected = chain.select(stage, until)
        continuation.demand_upstream(chain, None, selected)
        parameters = _parameters(chain, scenario, platform, overrides)
        made = continuation.create(chain, parameters, scenario, platform, run_id)
        with continuation.locked(made.id):
            _execute(chain, made, parameters, selected, force=force)


@main.command()
@click.option(
    "--scenario", default="diabetes", show_default=True, help="Name of parameters/<scenario>.yml, or a file."
)
@click.option("--platform", default="local", show_default=True, help="Where it runs.")
@click.option("--run-id", help="Name the run; with --force, begin a sweep anew in a run of that name.")
@_jobs_option
@_selection
def sweep(
    scenario: str,
    platform: str,
    run_id: str | None,
    jobs: int | None,
    file: Path,
    stage: str | None,
    until: str | None,
    overrides: tuple[tuple[str, str], ...],
    force: bool,
) -> None:
    """Begin a run that trains for many values of its parameters, and goes on with the best.

    \b
    python -m ci sweep -p alpha 0.01,0.1,1                    three trainings
    python -m ci sweep -p alpha 0.01,0.1 -p scale true,false  four, a grid

    Without several values for any -p, the key `sweep` of the scenario's file says what is searched.
    """  # noqa: D301 - \b is click's sign for lines to keep as they are
    from ci import continuation, runs
    from ci.pipeline import Pipeline
    from ci.sweeps import request

    with _refusals():
        _demand_one(stage, until)
        fixed, searched = request.part(overrides)
        chain = Pipeline(file)
        parameters = _parameters(chain, scenario, platform, fixed)
        wanted = request.plan(chain, parameters, chain.parameter_file(scenario), searched, jobs)
        if force and run_id is not None and run_id in runs.ids():
            _resume(runs.load(run_id), file, stage, until, fixed, force=True, sweep=wanted)
            return
        selected = chain.select(stage, until)
        continuation.demand_upstream(chain, None, selected)
        made = continuation.create(chain, parameters, scenario, platform, run_id, wanted)
        with continuation.locked(made.id):
            _execute(chain, made, parameters, selected, force=force)


@main.command()
@click.argument("run_id", required=False)
@click.option("--run-id", "named", help="The same as the argument.")
@click.option("--scenario", help="Take the newest run of this scenario.")
@click.option("--platform", help="Take the newest run on this platform.")
@_jobs_option
@_selection
def resume(
    run_id: str | None,
    named: str | None,
    scenario: str | None,
    platform: str | None,
    jobs: int | None,
    file: Path,
    stage: str | None,
    until: str | None,
    overrides: tuple[tuple[str, str], ...],
    force: bool,
) -> None:
    """Go on with a run: the newest one, unless RUN_ID names another.

    What has succeeded is not run again. Each stage can run in a process or on a machine of its own.
    """
    with _refusals():
        _demand_one(stage, until)
        found = _find(run_id or named, scenario, platform)
        _resume(found, file, stage, until, overrides, force=force, jobs=jobs)


@main.command()
@click.argument("run_id", required=False)
@click.option("--by", help="Who approves.  [default: your login name; must be given where CI is set]")
@click.option("--comment", default="", help="Why.")
@click.option(
    "--resume/--no-resume", "go_on", default=True, help="Go on to production at once.  [default: --resume]"
)
@_pipeline_option
def approve(run_id: str | None, by: str | None, comment: str, go_on: bool, file: Path) -> None:
    """Approve the package of the run that waits at the gate, and go on with the run."""
    from ci.gates import decide
    from ci.pipeline import Pipeline

    with _refusals():
        decided = decide(run_id, by, comment, "approved", Pipeline(file))
        if go_on and decided.verdict != "released":
            _resume(decided, file, None, None, (), force=False)


@main.command()
@click.argument("run_id", required=False)
@click.option("--by", help="Who rejects.  [default: your login name; must be given where CI is set]")
@click.option("--comment", default="", help="Why.")
@_pipeline_option
def reject(run_id: str | None, by: str | None, comment: str, file: Path) -> None:
    """Reject the package of the run that waits at the gate; the run ends there, red."""
    from ci import continuation, runner
    from ci.gates import decide
    from ci.pipeline import Pipeline

    with _refusals():
        chain = Pipeline(file)
        decided = decide(run_id, by, comment, "rejected", chain)
        if decided.verdict == "waiting":
            parameters = _parameters(chain, decided.scenario, decided.platform, (), decided.overrides)
            with continuation.locked(decided.id):
                runner.Runner(chain, decided, parameters, changed=lambda _: None).execute(
                    chain.select(None, None)
                )


@main.command()
@click.argument("run_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the run's record as JSON.")
def status(run_id: str | None, as_json: bool) -> None:
    """Show a run: the newest one, unless RUN_ID names another."""
    from ci import progress, runs
    from utils import platforms

    with _refusals():
        if run_id is None and not runs.ids():
            click.echo("null" if as_json else "There are no runs yet; begin one: python -m ci run")
            return
        found = _find(run_id, None, None)
        if as_json:
            click.echo(found.model_dump_json(indent=2))
            return
        click.echo(progress.table(found))
        progress.print_verdict(found)
        for endpoint in platforms.get(found.platform).endpoints.everything():
            click.echo(
                f"{endpoint.service} in {endpoint.environment}: {endpoint.url} serves model version "
                f"{endpoint.model_version}{'' if endpoint.confirmed else ', not tested yet'}"
            )


@main.command()
@click.argument("run_id", required=False)
def report(run_id: str | None) -> None:
    """Write a run's report anew (the newest one's, unless RUN_ID names another), and the index."""
    from ci import reports, runs
    from ci.progress import show

    with _refusals():
        if run_id is None and not runs.ids():
            click.echo(show(reports.write_index([])))
            return
        click.echo(show(reports.refresh(_find(run_id, None, None), anew=True)))


@main.command()
@click.option("--platform", default="local", show_default=True, help="Whose services.")
def down(platform: str) -> None:
    """Stop every scoring service, in staging and in production."""
    from utils import platforms

    with _refusals():
        endpoints = platforms.get(platform).endpoints
        running = endpoints.everything()
        for endpoint in running:
            endpoints.remove(endpoint.service, endpoint.environment)
            click.echo(f"Stopped {endpoint.service} in {endpoint.environment} ({endpoint.url}).")
        if not running:
            click.echo("No service is running.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, such as for a CI matrix.")
@_pipeline_option
def stages(as_json: bool, file: Path) -> None:
    """List the stages of the pipeline and their steps."""
    from ci.pipeline import Pipeline

    with _refusals():
        chain = Pipeline(file)
        listed = {stage: chain.select(stage, None) for stage in chain.stages}
        if as_json:
            click.echo(json.dumps(listed, indent=2))
            return
        for stage, steps in listed.items():
            click.echo(f"{stage}: {', '.join(steps)}")


def _demand_one(stage: str | None, until: str | None) -> None:
    if stage is not None and until is not None:
        raise click.UsageError("Give --stage or --until, not both.")


def _parameters(
    chain: Pipeline,
    scenario: str,
    platform: str,
    overrides: Sequence[tuple[str, str]],
    stored: dict[str, Any] | None = None,
) -> Parameters:
    from ci.declarations import ParameterError
    from ci.parameters import Parameters
    from utils import platforms
    from utils.platforms.protocol import PlatformError

    try:
        platforms.demand(platform)
    except PlatformError as error:
        raise ParameterError(f"--platform: {error}") from None
    return Parameters(
        chain.declarations,
        chain.parameter_file(scenario),
        chain.parameter_file(platform),
        overrides,
        stored,
        chain.fixed,
    )


def _find(run_id: str | None, scenario: str | None, platform: str | None) -> Run:
    from ci import runs

    if run_id is not None:
        found = runs.load(run_id)
        for name, asked, has in (
            ("scenario", scenario, found.scenario),
            ("platform", platform, found.platform),
        ):
            if asked not in (None, has):
                raise runs.RunError(f"Run {run_id} has {name} {has}, not {asked}.")
        return found
    fitting = [
        run
        for run in runs.everything()
        if scenario in (None, run.scenario) and platform in (None, run.platform)
    ]
    if not fitting:
        raise runs.RunError("There is no such run yet; begin one: python -m ci run")
    return fitting[-1]


def _resume(
    found: Run,
    file: Path,
    stage: str | None,
    until: str | None,
    overrides: Sequence[tuple[str, str]],
    *,
    force: bool,
    jobs: int | None = None,
    sweep: Sweep | None = None,
) -> None:
    from ci import continuation, runs
    from ci.pipeline import Pipeline, PipelineError

    chain = Pipeline(file)
    if list(chain.steps) != [step.name for step in found.steps]:
        raise PipelineError(
            f"Run {found.id} was made by another pipeline than {file}; name its own by --pipeline."
        )
    selected = chain.select(stage, until)
    with continuation.locked(found.id):
        found = runs.load(found.id)
        continuation.recover(found)
        parameters = _parameters(chain, found.scenario, found.platform, overrides, found.overrides)
        if force:
            continuation.begin_again(found, selected)
        found.sweep = sweep or found.sweep
        if jobs is not None and found.sweep is not None:
            found.sweep.jobs = jobs
        continuation.demand_unchanged(found, chain, parameters)
        found.overrides = parameters.overrides
        _execute(chain, found, parameters, selected, force=force)


def _execute(
    chain: Pipeline, run: Run, parameters: Parameters, selected: Sequence[str], *, force: bool
) -> None:
    from ci import progress, runner
    from ci.sweeps import execution as sweeps

    if run.sweep is not None and run.step(run.sweep.step).state != "succeeded":
        sweeps.share_processors(run.sweep)
    try:
        with progress.Progress(run) as shown:
            runner.Runner(chain, run, parameters, shown.changed, shown.say, force=force).execute(selected)
    finally:
        for step in run.steps:
            if step.failure is not None and step.state == "failed":
                progress.print_failure(step, step.failure)
        progress.print_verdict(run)
    if run.verdict not in _GOOD:
        sys.exit(FAILED)
