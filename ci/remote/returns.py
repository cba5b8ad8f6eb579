"""What a job has made, taken back into the run: its files, and the record of its steps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ci import runs
from ci.reuse import digests, results
from ci.runs import Run, RunError, Step
from utils import files
from utils.platforms.protocol import Retraining

DONE = ("succeeded", "skipped")
_NAMED_AT_MOST = 3


class ReturnError(RuntimeError):
    """What has come back is not what the run's steps have made; the message says in which way."""


def take(run: Run, compute: Retraining, *, final: bool) -> list[Step]:
    """Fetch what was kept of a run, and take over the steps of its job that have ended since.

    Files are complete before the record names them. What this run has of its own stays: approval, reports,
    and what its other steps made. Nothing is saved yet.

    Parameters
    ----------
    final : bool
        Whether the job has ended, so that a step which has failed isn't tried again.

    Returns
    -------
    list of Step
        The steps that were taken over, in their order.

    Raises
    ------
    PlatformError
        If it can't be fetched.
    ReturnError
        If it isn't whole, or of another run. Nothing has been taken over then.
    """
    aside = run.folder / results.FETCHED
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    try:
        if not compute.fetch(run.id, aside):
            return []
        found = _record(run, aside)
        states = (*DONE, "failed") if final else DONE
        mine = [run.step(name) for name in run.job.steps] if run.job else []
        ended = [step for step in mine if step.state not in DONE and found.step(step.name).state in states]
        for step in ended:
            _demand_whole(run, aside, found.step(step.name))
        _place(run, aside, {step.name for step in ended})
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for step in ended:
        for name in Step.model_fields:
            setattr(step, name, getattr(found.step(step.name), name))
    if found.sweep is not None and any(step.name == found.sweep.step for step in ended):
        run.sweep = found.sweep
    return ended


def adopt(run_id: str, platform: str, compute: Retraining, there: Sequence[str]) -> Run:
    """Fetch a run that was begun on the platform's compute, such as by a schedule, and that isn't here yet.

    Nobody has decided on it here, whatever the folder says: an approval that comes with it is left out.

    Parameters
    ----------
    there : sequence of str
        The steps that may have run there; each other one has yet to.

    Raises
    ------
    PlatformError
        If it can't be fetched.
    RunError
        If the platform keeps no such run, or what it keeps isn't as the run's steps made it.
    """
    folder = runs.folder(run_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder.parent) as aside:
        fetched = Path(aside) / run_id
        if not compute.fetch(run_id, fetched):
            raise RunError(f"There is no run {run_id!r} here, and {platform} keeps none of that name.")
        for path in [path for path in fetched.rglob("*") if path.is_file() or path.is_symlink()]:
            name = path.relative_to(fetched).as_posix()
            if path.is_symlink() or (results.of_the_run(name) and name != "run.json"):
                path.unlink()
        try:
            found = _whole(run_id, platform, fetched)
        except (OSError, ValueError, ReturnError) as error:
            raise RunError(f"Run {run_id} can't be taken from {platform}: {error}.") from error
        for step in found.steps:
            if step.name not in there:
                step.reset()
                step.state, step.reason = "pending", ""
        found.approval, found.job = None, None
        files.write_text(fetched / "run.json", found.model_dump_json(indent=2) + "\n")
        fetched.rename(folder)
    return runs.load(run_id)


def _whole(run_id: str, platform: str, folder: Path) -> Run:
    """Return the record of a run's folder all of whose steps are as they were made."""
    found = Run.model_validate(files.read_json(folder / "run.json"))
    if (found.id, found.platform) != (run_id, platform):
        raise ReturnError(f"it is run {found.id} on {found.platform}")
    for step in found.steps:
        if step.state in DONE:
            _demand_whole(found, folder, step)
    return found


def _record(run: Run, folder: Path) -> Run:
    try:
        found = Run.model_validate(files.read_json(folder / "run.json"))
    except (OSError, ValueError, ValidationError) as error:
        raise ReturnError(f"what {run.platform} keeps of it has no readable record: {error}") from error
    steps = [[(step.name, step.notebook) for step in each.steps] for each in (run, found)]
    if (found.id, found.scenario) != (run.id, run.scenario) or steps[0] != steps[1]:
        raise ReturnError(f"what {run.platform} keeps of it is of run {found.id}, or of another pipeline")
    for step in run.steps:
        # What was handed over has to be what the job went on from.
        if step.state in DONE and step.name not in (run.job.steps if run.job else ()):
            theirs = found.step(step.name)
            if (theirs.made, theirs.scraps) != (step.made, step.scraps):
                raise ReturnError(f"what {run.platform} keeps of it goes on from another {step.name}")
    return found


def _demand_whole(run: Run, folder: Path, step: Step) -> None:
    """Refuse a step some of whose files aren't there as they were made."""
    wrong = [] if step.executed in ("", results.notebook(step.name)) else [step.executed]
    wrong += [] if step.html in ("", results.page(step.name)) else [step.html]
    for name, digest in (step.made or {}).items():
        if not results.fit(name) or not (folder / name).is_file() or digests.of(folder / name) != digest:
            wrong.append(name)
    if wrong:
        named = ", ".join(wrong[:_NAMED_AT_MOST])
        raise ReturnError(f"what {run.platform} keeps of it isn't as {step.name} made it: {named}")


def _place(run: Run, folder: Path, ended: set[str]) -> None:
    """Rename what has come into the run's folder, but for what the run has of its own."""
    others = [step for step in run.steps if step.name not in ended and step.state in DONE]
    own = {name for step in others for name in (*(step.made or ()), results.page(step.name))}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        target = run.folder / name
        kept = target.exists() and (name in own or results.of_the_run(name))
        if path.is_symlink() or not path.is_file() or kept or name == "run.json":
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
