"""The options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

Kernel = Literal["warm", "cold"]


@dataclass(frozen=True)
class Selection:
    """What is to be run, of which pipeline, and how.

    Attributes
    ----------
    file : Path
        The pipeline's.
    stage, until : str or None
        The stage to run alone, or the step or stage to stop after.
    overrides : tuple of (str, str)
        What `-p` gave.
    force : bool
        Whether steps run although they have succeeded.
    kernel : str
        warm (forked from a preloaded process, where that can be) or cold (each started anew).
    """

    file: Path
    stage: str | None = None
    until: str | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    force: bool = False
    kernel: Kernel = "warm"


def _default_file() -> Path:
    from ci.pipeline import default_file

    return default_file()


pipeline = click.option(
    "--pipeline",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_default_file,
    help="Another pipeline.yml.  [default: parameters/pipeline.yml]",
)
kernel = click.option(
    "--kernel",
    type=click.Choice(["warm", "cold"]),
    default="warm",
    envvar="MLOPS_KERNEL",
    help="warm: forked from one preloaded process; cold: each started anew.  [default: warm]",
)
cold = click.option(
    "--kernel",
    type=click.Choice(["warm", "cold"]),
    default="cold",
    show_default=True,
    help="warm: forked from one preloaded process; cold: started anew.",
)
values = click.option(
    "-p",
    "overrides",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Set a notebook's parameter, or one of the scenario's hyperparameters.",
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="How many of a sweep's trials run at once.  [default: as many as there are processors]",
)


environment = click.option(
    "--environment",
    type=click.Choice(["staging", "production"]),
    default="production",
    show_default=True,
    help="Where the service is.",
)


def scenario(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what a new run is about, and where it runs."""
    for option in (
        click.option("--platform", default="local", show_default=True, help="Where it runs."),
        click.option(
            "--scenario",
            default="diabetes",
            show_default=True,
            help="Name of parameters/<scenario>.yml, or a file.",
        ),
    ):
        command = option(command)
    return command


def selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what to run; the command gets them as one `Selection`."""

    @functools.wraps(command)
    def selecting(
        *words: Any,
        file: Path,
        stage: str | None,
        until: str | None,
        overrides: tuple[tuple[str, str], ...],
        force: bool,
        kernel: Kernel,
        **rest: Any,
    ) -> Any:
        if stage is not None and until is not None:
            raise click.UsageError("Give --stage or --until, not both.")
        return command(*words, selection=Selection(file, stage, until, overrides, force, kernel), **rest)

    wrapped: Callable[..., Any] = selecting
    for option in (
        kernel,
        click.option(
            "--force",
            is_flag=True,
            help="Run steps although they have succeeded, in this run or an earlier one.",
        ),
        values,
        click.option("--until", metavar="STEP", help="Stop after this step, or after this stage."),
        click.option("--stage", help="Run the steps of this stage alone."),
        pipeline,
    ):
        wrapped = option(wrapped)
    return wrapped
