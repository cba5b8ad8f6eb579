"""The commands: `python -m ci run`, `sweep`, `resume`, `approve`, `status`, and the others.

What a command needs is imported when it runs: `status` shall not wait for what only `run` needs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from ci import options
from ci.options import Kernel, Selection
from ci.refusals import refusals


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
@options.scenario
@click.option("--run-id", help="Name the run; with --force, go on with a run of that name.")
@options.selection
def run(scenario: str, platform: str, run_id: str | None, selection: Selection) -> None:
    """Begin a new run."""
    with refusals():
        from ci import commands

        commands.begin(scenario, platform, run_id, selection)


@main.command()
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


@main.command()
@click.argument("run_id", required=False)
@click.option("--run-id", "named", help="The same as the argument.")
@click.option("--scenario", help="Take the newest run of this scenario.")
@click.option("--platform", help="Take the newest run on this platform.")
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

    What has succeeded is not run again. Each stage can run in a process or on a machine of its own.
    """
    with refusals():
        from ci import commands, runs

        commands.resume(runs.find(run_id or named, scenario, platform), selection, jobs=jobs)


@main.command()
@click.argument("run_id", required=False)
@click.option("--by", help="Who approves.  [default: your login name; must be given where CI is set]")
@click.option("--comment", default="", help="Why.")
@click.option(
    "--resume/--no-resume", "go_on", default=True, help="Go on to production at once.  [default: --resume]"
)
@options.kernel
@options.pipeline
def approve(
    run_id: str | None, by: str | None, comment: str, go_on: bool, kernel: Kernel, file: Path
) -> None:
    """Approve the package of the run that waits at the gate, and go on with the run."""
    with refusals():
        from ci import commands
        from ci.gates import decide
        from ci.pipeline import Pipeline

        decided = decide(run_id, by, comment, "approved", Pipeline(file))
        if go_on and decided.verdict != "released":
            commands.resume(decided, Selection(file, kernel=kernel))


@main.command()
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


@main.command()
@click.argument("run_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the run's record as JSON.")
def status(run_id: str | None, as_json: bool) -> None:
    """Show a run: the newest one, unless RUN_ID names another."""
    from ci import progress, runs
    from utils import platforms

    with refusals():
        if run_id is None and not runs.ids():
            click.echo("null" if as_json else "There are no runs yet; begin one: python -m ci run")
            return
        found = runs.find(run_id)
        if found.verdict == "running":
            from ci import continuation
            from ci.verdicts import conclude

            if not continuation.held(found.id):
                continuation.recover(found)
                found.verdict, found.reason = conclude(found)
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

    with refusals():
        if run_id is None and not runs.ids():
            click.echo(show(reports.write_index([])))
            return
        click.echo(show(reports.refresh(runs.find(run_id), anew=True)))


@main.command()
@click.option("--platform", default="local", show_default=True, help="Whose services.")
def down(platform: str) -> None:
    """Stop every scoring service, in staging and in production."""
    from utils import platforms

    with refusals():
        endpoints = platforms.get(platform).endpoints
        running = endpoints.everything()
        for endpoint in running:
            endpoints.remove(endpoint.service, endpoint.environment)
            click.echo(f"Stopped {endpoint.service} in {endpoint.environment} ({endpoint.url}).")
        if not running:
            click.echo("No service is running.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, such as for a CI matrix.")
@options.pipeline
def stages(as_json: bool, file: Path) -> None:
    """List the stages of the pipeline and their steps."""
    from ci.pipeline import Pipeline

    with refusals():
        chain = Pipeline(file)
        listed = {stage: chain.select(stage, None) for stage in chain.stages}
        if as_json:
            click.echo(json.dumps(listed, indent=2))
            return
        for stage, steps in listed.items():
            click.echo(f"{stage}: {', '.join(steps)}")


@main.command()
@options.pipeline
def kernels(file: Path) -> None:
    """Keep kernels ready, so that runs of this project start at once, until Ctrl-C.

    A process imports what the notebooks need; the kernels of all runs of this checkout, and of this
    Python, are then forked from it.
    """
    with refusals():
        import signal
        import time

        from ci.kernels import Kernels, ServerError, address, available
        from ci.pipeline import Pipeline
        from ci.runner import stop_on_signals

        if not available():
            raise ServerError("This system has ordinary kernels alone: warm ones need Linux.")
        other = address.connect()
        if other is not None:
            other.close()
            raise ServerError("Kernels are kept ready already, by another 'python -m ci kernels'.")
        began = time.monotonic()
        click.echo("Importing what the notebooks need...")
        with stop_on_signals(), Kernels(Pipeline(file).preload, listen=True) as ready:
            for warning in ready.ready():
                click.echo(warning, err=True)
            took = time.monotonic() - began
            click.echo(
                f"Ready in {took:.1f} s. Runs of this project start their kernels from here until Ctrl-C."
            )
            signal.pause()
