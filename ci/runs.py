"""The record of a run: runs/<run-id>/run.json, and the folder around it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci.remote.job import Job
from ci.sweeps.space import Sweep
from utils import files, project

StepState = Literal["pending", "running", "succeeded", "skipped", "failed", "waiting"]
Verdict = Literal["running", "waiting", "released", "not_better", "blocked", "rejected", "failed", "stopped"]


class RunError(RuntimeError):
    """A run that isn't there or can't be read; the message says what to do next."""


class Record(BaseModel):
    """A part of run.json. Unknown keys are refused: they come from another version."""

    model_config = ConfigDict(extra="forbid")


class Failure(Record):
    """What went wrong in a step.

    Attributes
    ----------
    cell : int or None
        The number of the cell in the notebook, counted from 1, all kinds of cells.
    source : str
        That cell's source.
    name, message : str
        The exception's class and text.
    traceback : list of str
        Its last lines, without colours.
    """

    cell: int | None = None
    source: str = ""
    name: str
    message: str
    traceback: list[str] = Field(default_factory=list)


class StepFailure(Exception):  # noqa: N818 - it is what a step ended with
    """A notebook did not do what the pipeline declares; `failure` says where and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Parameter(Record):
    """A value that a step was given, and where it came from."""

    value: Any
    source: str


class Key(Record):
    """All that a step's result depends on, one digest for each ingredient.

    Where two keys are equal, one result serves both; where they differ, they tell by what.

    Attributes
    ----------
    notebook : str
        The source of its cells, and the kernel that it names.
    gives : str
        What the pipeline declares that it gives.
    parameters : dict
        Each value by its name, without those that earlier steps gave.
    sources : dict
        Each of the project's own files that the notebook imports, by its path.
    lock, python : str
        The packages, and the version of Python.
    upstream : dict
        For each step that it builds on, the files that this one made and the scraps that were taken from it.
    reads : dict
        What it reads from outside the run folder, by the parameter that says where, and "champion".
    history : str or None
        Which run history the ids in its result belong to.
    """

    notebook: str
    gives: str
    parameters: dict[str, str]
    sources: dict[str, str]
    lock: str
    python: str
    upstream: dict[str, str]
    reads: dict[str, str | None]
    history: str | None


class Step(Record):
    """One step of a run.

    Attributes
    ----------
    state : str
        pending, running, succeeded, skipped, failed or waiting.
    reason : str
        Why it was skipped, failed or waits; why it ran, or which run's result it has, once it has succeeded.
    cells, cells_done : int
        Code cells in all, and those that have run.
    notebook, html : str
        Relative to the run folder: the executed notebook and its rendering; "" until there is one.
    scraps : dict
        What the notebook glued, of what the pipeline declares for it.
    key : Key or None
        What its result depends on; None if nobody can tell, or it always runs.
    made : dict or None
        The SHA-256 of each file that it made when it succeeded last, by its path in the run folder; None if
        it never did.
    reused : str
        The run that made its result, if it was another one.
    """

    name: str
    notebook: str
    stage: str
    state: StepState = "pending"
    reason: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    attempts: int = 0
    cells: int = 0
    cells_done: int = 0
    executed: str = ""
    html: str = ""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    scraps: dict[str, Any] = Field(default_factory=dict)
    failure: Failure | None = None
    key: Key | None = None
    made: dict[str, str] | None = None
    reused: str = ""

    def reset(self) -> None:
        """Forget what came of it, before it begins anew. The files that it made are still there."""
        self.failure, self.scraps, self.key, self.reused = None, {}, None, ""

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far; None if it never started."""
        if self.started is None:
            return None
        return ((self.ended or now()) - self.started).total_seconds()


class Run(Record):
    """One execution of the pipeline.

    Attributes
    ----------
    id : str
        Its name below runs/.
    verdict : str
        running, waiting (at the gate), released, not_better, blocked, rejected,
        failed, or stopped (the stage asked for has ended, more remain).
    reason : str
        The verdict in a sentence.
    overrides : dict
        What `-p` gave, as validated.
    sweep : Sweep or None
        What is searched, where one of the steps runs many times and the best is taken.
    job : Job or None
        What the platform's own compute runs of it, or has run last.
    """

    schema_version: Literal[1] = 1
    id: str
    scenario: str
    platform: str
    created: datetime
    ended: datetime | None = None
    verdict: Verdict = "running"
    reason: str = ""
    commit: str
    dirty: bool
    lock_digest: str
    overrides: dict[str, Any] = Field(default_factory=dict)
    sweep: Sweep | None = None
    job: Job | None = None
    steps: list[Step]
    approval: dict[str, Any] | None = None

    def step(self, name: str) -> Step:
        """Return the step of that name.

        Raises
        ------
        KeyError
            If the run has no such step.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    @property
    def folder(self) -> Path:
        """Where the run's files are."""
        return folder(self.id)

    def save(self) -> None:
        """Write run.json, atomically."""
        files.write_text(self.folder / "run.json", self.model_dump_json(indent=2) + "\n")


def now() -> datetime:
    """Return the time in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_id() -> str:
    """Return a run id that sorts by time, such as 20261123-101502-3fa2."""
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def folder(run_id: str) -> Path:
    """Return the folder of a run.

    Raises
    ------
    RunError
        If the id is not a plain folder name.
    """
    if not run_id or run_id != Path(run_id).name or run_id.startswith("."):
        raise RunError(f"{run_id!r} is not a run id: it must be a plain folder name below runs/.")
    return project.home() / "runs" / run_id


def load(run_id: str) -> Run:
    """Read a run's record.

    Raises
    ------
    RunError
        If there is no such run, or its record is damaged or of another version.
    """
    path = folder(run_id) / "run.json"
    try:
        run = Run.model_validate(files.read_json(path))
    except FileNotFoundError:
        known = ", ".join(ids()[-3:]) or "none yet"
        raise RunError(
            f"There is no run {run_id!r} below {path.parent.parent}; newest runs: {known}."
        ) from None
    except (ValueError, ValidationError) as error:
        raise RunError(f"The record of run {run_id} can't be read ({path}): {error}") from error
    # A folder may have been copied under another name; the folder's name is the truth.
    run.id = run_id
    return run


def ids() -> list[str]:
    """Return the ids of all runs, oldest first."""
    runs = project.home() / "runs"
    return sorted(path.parent.name for path in runs.glob("*/run.json"))


def everything() -> list[Run]:
    """Return all runs, oldest first, save those whose record can't be read.

    One damaged record must not hide all the others, nor stop a new run.
    """
    found = []
    for run_id in ids():
        with suppress(RunError):
            found.append(load(run_id))
    return sorted(found, key=lambda run: run.created)


def find(run_id: str | None, scenario: str | None = None, platform: str | None = None) -> Run:
    """Return the run of that id, or else the newest one of that scenario on that platform.

    Raises
    ------
    RunError
        If there is none.
    """
    if run_id is not None:
        found = load(run_id)
        for name, asked, has in (
            ("scenario", scenario, found.scenario),
            ("platform", platform, found.platform),
        ):
            if asked not in (None, has):
                raise RunError(f"Run {run_id} has {name} {has}, not {asked}.")
        return found
    fitting = [
        run for run in everything() if scenario in (None, run.scenario) and platform in (None, run.platform)
    ]
    if not fitting:
        raise RunError("There is no such run yet; begin one: python -m ci run")
    return fitting[-1]
