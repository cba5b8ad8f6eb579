"""Commands that show what there is, and keep kernels ready for it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ci import options
from ci.refusals import refusals


@click.command()
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
            click.echo(progress.serving(endpoint))


@click.command()
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


@click.command()
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


@click.command()
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
        from ci.signals import stop_on_signals

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
