"""Commands for scoring services, files to score, and keys."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ci import options
from ci.refusals import refusals


@click.command()
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


@click.command()
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


@click.command()
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


@click.command("signing-key")
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


@click.command()
@click.option("--platform", default="local", show_default=True, help="Whose services.")
def down(platform: str) -> None:
    """Stop every scoring service, in staging and in production; `up` starts those in production again."""
    with refusals():
        from ci import commands

        stopped = commands.down(platform)
        for endpoint in stopped:
            click.echo(f"Stopped {endpoint.service} in {endpoint.environment} ({endpoint.url}).")
        click.echo("python -m ci up starts production again." if stopped else "No service is running.")


@click.command()
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
