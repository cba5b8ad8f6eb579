"""One step on the platform's compute: `python -m ci step`.

The run folder is taken, the step's notebook is executed as anywhere else, and the folder is given on.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ci import commands, continuation, progress, runner, runs
from ci.declarations import ParameterError
from ci.options import Kernel, Selection
from ci.parameters import Parameters
from ci.pipeline import Pipeline, PipelineError, default_file
from ci.refusals import FAILED
from ci.remote.returns import DONE
from ci.reuse import results
from ci.runs import Failure, Run, RunError
from ci.sweeps import execution, folders, trials
from ci.texts import nearest
from utils import files, platforms, project
from utils.platforms.protocol import Platform, PlatformError

# Where no --run is given: what all nodes of a job, and a node that is started again, agree on.
RUN_VARIABLE = "MLOPS_RUN"
# The scrap that says which training of the run history a run's notebooks belong to.
_TRAINING = "training_run"


@dataclass(frozen=True)
class Order:
    """What one node of a job has to do.

    Attributes
    ----------
    step : str
        The step to run.
    run : str
        The run's id, or "".
    take : str
        The folder that the step before has given, or "" for the first step.
    give : Path
        The folder for the run's files.
    scenario, platform : str
        What is learned, and the platform whose compute this is.
    values : tuple of (str, str)
        Parameters, as -p has them.
    kernel : str
        warm or cold.
    """

    step: str
    run: str
    take: str
    give: Path
    scenario: str
    platform: str
    values: tuple[tuple[str, str], ...] = ()
    kernel: Kernel = "cold"


def read(
    overrides: Sequence[tuple[str, str]], assignments: Sequence[str], *, asked: bool
) -> tuple[tuple[str, str], ...]:
    """Return the values of a command line, from `-p NAME VALUE` and `NAME=VALUE`, without the empty ones.

    Raises
    ------
    ParameterError
        If a word is no assignment, or there are any without `--parameters`.
    """
    pairs = list(overrides)
    for word in assignments:
        name, mark, value = word.partition("=")
        if not (asked and mark and name):
            raise ParameterError(f"{word!r} is no parameter: they are given as --parameters NAME=VALUE ...")
        pairs.append((name, value))
    return tuple((name, value) for name, value in pairs if value)


def run(order: Order) -> None:
    """Do what a node has to do, and end the process with 1 where the step has failed.

    Raises
    ------
    PipelineError, ParameterError, RunError, StageError
        If it can't be done as it is asked for.
    PlatformError
        If the run folder can't be fetched or kept.
    """
    chain = Pipeline(default_file())
    if order.step not in chain.steps:
        raise PipelineError(f"There is no step {order.step!r}{nearest(order.step, chain.steps)}")
    platform = platforms.get(order.platform)
    with _taken(order, chain, platform) as (run, again):
        done = {step.name for step in run.steps if step.state in DONE} - ({order.step} if again else set())
        asked = run.job is None or order.step in run.job.steps
        try:
            if asked:
                _execute(order, chain, run)
        except Exception as error:
            _fail(run, order.step, error)
            raise
        finally:
            _give(run, order.give, platform)
        _attach(run, platform, [step.name for step in run.steps if step.executed and step.name not in done])
        if asked and run.step(order.step).state not in DONE:
            sys.exit(FAILED)


@contextmanager
def _taken(order: Order, chain: Pipeline, platform: Platform) -> Iterator[tuple[Run, bool]]:
    """Have the run folder below this machine's runs/, for this process alone.

    Yields
    ------
    Run, bool
        The run, and whether this node has run before and come to its end.
    """
    home = project.home()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".node-", dir=home) as aside:
        source = _source(order, platform, Path(aside) / "run")
        run_id = _identity(source) if source else order.run or os.environ.get(RUN_VARIABLE, "")
        if order.run and run_id != order.run:
            raise RunError(f"{source} holds run {run_id}, and not {order.run}, which --run asks for.")
        if source is None and not (run_id and (runs.folder(run_id) / "run.json").exists()):
            given = _parameters(order, chain)
            run_id = continuation.create(chain, given, order.scenario, order.platform, run_id or None).id
        folder = runs.folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        with continuation.locked(run_id):
            if source is not None:
                _place(source, folder)
            run = runs.load(run_id)
            wanted, has = (Path(order.scenario).stem, order.platform), (run.scenario, run.platform)
            if has != wanted or [step.name for step in run.steps] != list(chain.steps):
                raise RunError(
                    f"Run {run_id} is of {' on '.join(has)}, or of another pipeline, and the job is of "
                    f"{' on '.join(wanted)}."
                )
            continuation.recover(run)
            yield run, source == order.give


def _source(order: Order, platform: Platform, aside: Path) -> Path | None:
    """Return the folder from which the run goes on, or None where it begins."""
    if (order.give / "run.json").exists():
        # This node is started again: it may have come to its end before.
        before = _record(order.give)
        if before.step(order.step).state in DONE and order.run in ("", before.id):
            return order.give
    if order.take:
        if not (Path(order.take) / "run.json").exists():
            raise RunError(f"{order.take} holds no run, so that the step before {order.step} has given none.")
        return Path(order.take)
    wanted = order.run or os.environ.get(RUN_VARIABLE, "")
    return aside if wanted and platform.retraining.fetch(wanted, aside) else None


def _record(folder: Path) -> Run:
    try:
        return Run.model_validate(files.read_json(folder / "run.json"))
    except (OSError, ValueError) as error:
        raise RunError(f"The record in {folder} can't be read: {error}") from error


def _identity(folder: Path) -> str:
    return _record(folder).id


def _place(source: Path, folder: Path) -> None:
    """Replace a run's folder by another one's files, but for the lock that this process holds."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != ".lock":
            entry.unlink()
    _copy(source, folder)


def _copy(source: Path, destination: Path) -> None:
    """Copy a run folder's files; the record comes last, so that a folder that has it is whole."""
    destination.mkdir(parents=True, exist_ok=True)
    record = destination / "run.json"
    record.unlink(missing_ok=True)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if not path.is_file() or name.as_posix() in ("run.json", ".lock"):
            continue
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)  # contents alone: a mounted store may know no modes
    shutil.copyfile(source / "run.json", record)


def _parameters(order: Order, chain: Pipeline, run: Run | None = None) -> Parameters:
    scenario = run.scenario if run is not None else order.scenario
    stored = run.overrides if run is not None else None
    selection = Selection(chain.file, overrides=order.values)
    return commands.parameters(chain, scenario, order.platform, selection, stored=stored)


def _execute(order: Order, chain: Pipeline, run: Run) -> None:
    """Run the step, and what it builds on where it is the first one, as far as that isn't done."""
    needed = chain.beneath(order.step) if not order.take else []
    selected = [name for name in (*needed, order.step) if run.step(name).state not in DONE]
    if not selected:
        return
    continuation.demand_upstream(chain, run, selected)
    given = _parameters(order, chain, run)
    continuation.demand_unchanged(run, chain, given)
    run.overrides = given.overrides
    if run.sweep is not None and run.sweep.step in selected:
        execution.share_processors(run.sweep)
    try:
        with progress.Progress(run, live=False) as shown:
            runner.Runner(
                chain, run, given, shown.changed, shown.say, warm=order.kernel == "warm", here=True
            ).execute(selected)
    finally:
        for step in run.steps:
            if step.failure is not None and step.state == "failed":
                progress.print_failure(step, step.failure)


def _fail(run: Run, name: str, error: Exception) -> None:
    """Let the record say why a step could not be run, for whoever has handed it over."""
    step = run.step(name)
    if step.state not in (*DONE, "failed"):
        step.state, step.reason = "failed", str(error)
        step.failure = Failure(name=type(error).__name__, message=str(error))
        run.save()


def _give(run: Run, give: Path, platform: Platform) -> None:
    """Leave the run folder for the next step, and where whoever has handed it over finds it."""
    for trial in (run.folder / trials.FOLDER).glob("*"):
        for name in folders.SHARED:  # links to what the run has already, which would travel as copies
            shutil.rmtree(trial / name, ignore_errors=True)
    if run.folder.resolve() != give.resolve():
        _copy(run.folder, give)
    platform.retraining.keep(run.id, give)


def _attach(run: Run, platform: Platform, steps: Sequence[str]) -> None:
    """Attach executed notebooks and their pages to the training in the run history; say so if that fails.

    Those that were executed before the training go with its own: there was none then.
    """
    source = next((step for step in run.steps if _TRAINING in step.scraps), None)
    if source is None or not steps:
        return
    training = source.scraps[_TRAINING]
    if source.name in steps:
        steps = [step.name for step in run.steps if step.executed]
    with tempfile.TemporaryDirectory(prefix="attached-") as folder:
        for name in steps:
            for path in (results.notebook(name), results.page(name)):
                if (run.folder / path).is_file():
                    files.copy(run.folder / path, Path(folder) / path)
        try:
            # Files keep the name of their folder.
            notebooks = Path(folder) / "notebooks"
            platform.history.annotate(str(training), metrics={}, tags={}, files=notebooks)
        except (PlatformError, OSError) as error:
            click.echo(f"The notebooks could not be attached to training {training}: {error}", err=True)
