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
    python -m ci run -p alpha 0.5      another value for a parameter
    python -m ci sweep -p alpha 0.1,1  many values at once, the best goes on
    python -m ci rollback              the version before, in production again

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
            click.echo(progress.serving(endpoint))


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
@options.scenario
@options.environment
@click.option(
    "--to", "version", default="", help="The model's version.  [default: the one before the live one]"
)
@click.option("--by", help="Who decides.  [default: your login name; must be given where CI is set]")
@click.option("--comment", default="", help="Why.")
def rollback(
    scenario: str, platform: str, environment: str, version: str, by: str | None, comment: str
) -> None:
    """Put back a version that was in production before; its model is the champion again.

    It is verified, checked and warm before it takes over; no request is lost. If it doesn't get ready,
    what is live stays so.
    """
    with refusals():
        from ci import commands

        back = commands.rollback(scenario, platform, environment, version=version, by=by, comment=comment)
        click.echo(
            f"{back.service} in {back.environment}: {back.url} serves model version {back.model_version}."
        )


@main.command()
@options.scenario
@options.environment
@click.option("--rotate", type=click.Choice(["1", "2"]), help="Replace the first or the second key before.")
def keys(scenario: str, platform: str, environment: str, rotate: str | None) -> None:
    """Show the two API keys of an endpoint, each of which it takes.

    To rotate them without refusing anybody: replace the second, give it to the callers, then replace
    the first.
    """
    with refusals():
        from ci import commands

        for key in commands.keys(scenario, platform, environment, int(rotate) if rotate else None):
            click.echo(key)
        if rotate:
            click.echo(
                "The service takes the new one within some seconds, and the other as before.", err=True
            )


@main.command()
@click.option(
    "--input", "source", type=click.Path(path_type=Path), required=True, help="A Parquet or CSV file."
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A Parquet or CSV file.")
@options.scenario
@click.option("--package", type=click.Path(path_type=Path), help="The folder of a package.")
@click.option("--run", "run_id", help="Take the package of this run.")
@click.option("--chunk-rows", type=click.IntRange(min=1), help="Rows that are in memory at a time, about.")
@click.option("--keep", default="", help="Columns of the input that the output has too: a,b,c.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
def score(
    source: Path,
    output: Path,
    scenario: str,
    platform: str,
    package: Path | None,
    run_id: str | None,
    chunk_rows: int | None,
    keep: str,
    force: bool,
) -> None:
    """Score a file that may be larger than memory, by the package that is live in production.

    The output has a row for each row of the input, with the model's answer in the column `prediction`. It is
    complete or absent; after an interruption the same command goes on where it was.
    """
    with refusals():
        from ci import batch

        found = batch.find(package, run_id, scenario, platform)
        kept = [name for name in keep.split(",") if name]
        batch.score(source, output, found, chunk_rows=chunk_rows, keep=kept, force=force)


@main.command("signing-key")
@click.argument("path", type=click.Path(path_type=Path))
def signing_key(path: Path) -> None:
    """Make a pair of keys: the private one, which signs packages, in PATH, the public one in PATH.pub.

    MLOPS_SIGNING_KEY_PASSWORD encrypts the private key. The job that packages gets it by MLOPS_SIGNING_KEY
    or MLOPS_SIGNING_KEY_FILE, those that deploy the public one by MLOPS_SIGNING_PUBLIC_KEY or
    MLOPS_SIGNING_PUBLIC_KEY_FILE. Without any, the workspace has a key of its own.
    """
    with refusals():
        from utils import signing_keys

        made = signing_keys.make_pair(path, os.environ.get(signing_keys.PASSWORD_VARIABLE, ""))
        click.echo(f"{path} signs, {path}.pub verifies: key {made.fingerprint}.")


@main.command()
@click.option("--platform", default="local", show_default=True, help="Whose services.")
def down(platform: str) -> None:
    """Stop every scoring service, in staging and in production; `up` starts those in production again."""
    with refusals():
        from ci import commands

        stopped = commands.down(platform)
        for endpoint in stopped:
            click.echo(f"Stopped {endpoint.service} in {endpoint.environment} ({endpoint.url}).")
        click.echo("python -m ci up starts production again." if stopped else "No service is running.")


@main.command()
@click.option("--platform", default="local", show_default=True, help="Whose services.")
def up(platform: str) -> None:
    """Start the services in production that have ended, or were stopped by `down`, as they were."""
    with refusals():
        from ci import commands, progress

        started = commands.up(platform)
        for endpoint in started:
            click.echo(progress.serving(endpoint))
        if not started:
            click.echo("Nothing is to be started: what was in production runs.")


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
