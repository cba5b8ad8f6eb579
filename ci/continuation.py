"""How a run begins, is held by one process, and is taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ci import runs
from ci.parameters import Parameters
from ci.pipeline import Pipeline
from ci.remote.job import Job
from ci.runs import Failure, Run, Step
from ci.sweeps import trials
from ci.sweeps.space import Sweep
from utils import project


class StageError(RuntimeError):
    """The steps asked for can't run yet; the message says which have to run first."""


def create(
    chain: Pipeline,
    parameters: Parameters,
    scenario: str,
    platform: str,
    run_id: str | None,
    sweep: Sweep | None = None,
    job: Job | None = None,
) -> Run:
    """Make the folder and the record of a new run.

    Raises
    ------
    runs.RunError
        If there is a run of that id already.
    """
    run_id = run_id or runs.new_id()
    folder = runs.folder(run_id)
    try:
        folder.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise runs.RunError(
            f"There is a run {run_id} already; go on with it by 'python -m ci resume {run_id}', "
            "or choose another --run-id."
        ) from None
    revision = project.revision()
    run = Run(
        id=run_id,
        scenario=Path(scenario).stem,
        platform=platform,
        created=runs.now(),
        commit=revision.commit,
        dirty=revision.dirty,
        lock_digest=project.lock_digest(),
        overrides=parameters.overrides,
        sweep=sweep,
        job=job,
        steps=[
            Step(name=name, notebook=step.notebook, stage=step.stage) for name, step in chain.steps.items()
        ],
    )
    run.save()
    return run


@contextmanager
def locked(run_id: str) -> Iterator[None]:
    """Hold a run for this process alone.

    Raises
    ------
    runs.RunError
        If another process works on it.
    """
    lock = FileLock(runs.folder(run_id) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise runs.RunError(
            f"Another process works on run {run_id}; see 'python -m ci status {run_id}'."
        ) from None
    try:
        yield
    finally:
        lock.release()


def demand_upstream(chain: Pipeline, run: Run | None, selected: Sequence[str]) -> None:
    """Refuse to begin with steps that need what has not run yet; what is behind a gate needs all before.

    Parameters
    ----------
    run : Run or None
        None for one that is still to be made.
    selected : sequence of str
        The steps to run.

    Raises
    ------
    StageError
        Naming the step that is missing, and the command that runs it.
    """
    done = {step.name for step in run.steps if step.state in ("succeeded", "skipped")} if run else set()
    for name in selected:
        needed = sorted(chain.steps[name].upstream)
        if chain.steps[name].gate:
            needed += list(chain.steps)[: list(chain.steps).index(name)]
        for other in needed:
            if name not in done and other not in done and other not in selected:
                command = f"resume {run.id}" if run else "run"
                raise StageError(
                    f"{name} needs what {other} gives, which has not ended well yet; "
                    f"run it first: 'python -m ci {command} --stage {chain.steps[other].stage}'."
                )


def held(run_id: str) -> bool:
    """Whether a process works on a run."""
    try:
        with locked(run_id):
            return False
    except runs.RunError:
        return True


def recover(run: Run) -> None:
    """Mark what a process that ended without a word left running as failed, unless a job goes on with it."""
    handed = run.job.steps if run.job is not None and run.job.open else ()
    for step in run.steps:
        if step.state == "running" and step.name in handed:
            step.state, step.reason = "pending", ""
        elif step.state == "running":
            step.state, step.reason = "failed", "the process that ran it ended without a word"
            step.failure = Failure(name="Stopped", message=step.reason)


def begin_again(run: Run, selected: Sequence[str]) -> None:
    """Set the selected steps back to pending, and every later one that builds on them."""
    first = min(index for index, step in enumerate(run.steps) if step.name in selected)
    for step in run.steps[first:]:
        step.state, step.reason = "pending", ""
        step.reset()
        if run.sweep is not None and step.name == run.sweep.step:
            trials.discard(run)


def demand_no_job(run: Run, *, other: bool) -> None:
    """Refuse to go on in another way with a run whose job goes on.

    Parameters
    ----------
    other : bool
        Whether it is another way.

    Raises
    ------
    StageError
        Naming what to do first.
    """
    if other and run.job is not None and run.job.open:
        raise StageError(
            f"Run {run.id} has a job on {run.platform} that goes on as it was begun; wait for it: "
            f"'python -m ci resume {run.id}', or cancel it first: 'python -m ci cancel {run.id}'."
        )


def demand_unchanged(run: Run, chain: Pipeline, parameters: Parameters) -> None:
    """Refuse parameters that would have changed steps which have succeeded already.

    Raises
    ------
    StageError
        Naming the step, the parameter and both values.
    """
    for name in parameters.overrides.keys() & (run.sweep.parameters if run.sweep else ()):
        raise StageError(f"The run searches {name}, so that -p {name} can't fix it; begin a new run.")
    for step in run.steps:
        if step.state != "succeeded":
            continue
        swept = run.sweep is not None and step.name == run.sweep.step
        given = parameters.varied(run.sweep.given(run.sweep.best)) if run.sweep and swept else parameters
        now = given.of(step.notebook, {})
        for name in sorted(now.keys() | step.parameters.keys()):
            if name in chain.fixed or (name in chain.steps[step.name].takes and name not in now):
                continue
            before, after = (
                values[name].value if name in values else chain.declarations[step.notebook][name].default
                for values in (step.parameters, now)
            )
            if before != after:
                raise StageError(
                    f"{step.name} has already succeeded with {name} = {before!r}, now it would be {after!r}; "
                    "begin a new run, or run it again with --force."
                )
