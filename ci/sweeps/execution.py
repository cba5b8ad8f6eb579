"""A step that is swept: its trials are run, and the best becomes the step's own result."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ci.reports import text
from ci.runs import Failure
from ci.sweeps import folders
from ci.sweeps.pool import Pool
from ci.sweeps.pool import Work as Work
from ci.sweeps.space import Sweep
from ci.sweeps.trials import Trials
from ci.sweeps.words import described
from utils import project

if TYPE_CHECKING:
    from ci.runs import Step


class SweepError(RuntimeError):
    """No trial of a sweep has succeeded; `failure` says how the first one failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def jobs(sweep: Sweep) -> int:
    """Return how many trials run at once: as the sweep says, or else one for each processor."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(sweep.jobs or usable, sweep.count)


def share_processors(sweep: Sweep) -> None:
    """Let each kernel compute in its share of the processors, unless the environment says otherwise already.

    Else each of the trials would start as many threads as there are processors. OpenMP, OpenBLAS and MKL
    read it once, so that it has to be set before the kernel server starts.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs(sweep))))


def execute(work: Work, step: Step) -> None:
    """Run all trials that have not ended well yet, and make the best one the step's result.

    Raises
    ------
    SweepError
        If none succeeds.
    KeyboardInterrupt
        If the run is stopped; what has ended is kept, the others are marked as stopped.
    """
    # papermill changes the folder of the whole process while a notebook runs; from here it changes nothing.
    with contextlib.chdir(project.root()):
        trials = Pool(work, step, jobs(work.sweep)).run()
    best = trials.best
    if best is None:
        raise _failed(trials)
    step.executed = f"{folders.NOTEBOOKS}/{step.name}.ipynb"
    run = work.run.folder
    folders.adopt(trials.folder(best.number), run, run / best.executed, run / step.executed)
    step.parameters, step.scraps = best.parameters, best.scraps
    step.cells = step.cells_done = best.cells
    work.sweep.winner, work.sweep.best = best.number, best.values
    step.reason = (
        f"best of {text.count(len(trials), 'trial')}: {described(best)} "
        f"in {work.sweep.folds}-fold cross-validation"
    )


def _failed(trials: Trials) -> SweepError:
    first = trials.of("failed")[0]
    failure = first.failure or Failure(name="SweepError", message=first.reason)
    which = "the only trial" if len(trials) == 1 else f"all {len(trials)} trials"
    message = f"{which} failed; trial {first.number}, {described(first)}: {failure.message}"
    return SweepError(failure.model_copy(update={"message": message}))
