"""A sweep's trials, executed side by side."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci import reports, scraps
from ci.reports import text
from ci.runs import Failure, Parameter, Run, now
from ci.sweeps import folders, search
from ci.sweeps.space import Sweep
from ci.sweeps.trials import FOLDER, Trial, Trials
from ci.sweeps.words import described
from utils import project

if TYPE_CHECKING:
    from ci.kernels import Kernels
    from ci.kernels.standby import Standby
    from ci.pipeline import Pipeline
    from ci.runs import Step

_PUBLISH_SECONDS = 3.0
_PUBLISH_SHARE = 0.05  # of the sweep's time at most
_RUNNING_SHOWN = 4


@dataclass(frozen=True)
class Work:
    """What a sweep needs of the run that it is a step of.

    Attributes
    ----------
    values : callable
        Takes a trial's values and its run_dir; returns all parameters of its notebook.
    publish : callable
        Saves the run's record and writes its report.
    say : callable
        Told in a line of each trial that has ended.
    """

    chain: Pipeline
    run: Run
    sweep: Sweep
    kernels: Kernels
    values: Callable[[Mapping[str, Any], str], dict[str, Parameter]]
    publish: Callable[[], None]
    say: Callable[[str], None]


class Pool:
    """Worker threads that each execute one trial after the other.

    Threads will do: the work is done in the kernels, which are processes, and keeps this one busy for
    little more than a tenth of a second for each trial. papermill and nbclient may be used by several
    threads, each with an event loop of its own, as long as all want the same current folder.

    Parameters
    ----------
    work : Work
    step : Step
        The record of the step; its reason says how far the sweep is.
    jobs : int
        How many trials to run at once.
    """

    def __init__(self, work: Work, step: Step, jobs: int) -> None:
        self._work = work
        self._step = step
        self._sweep = work.sweep
        self._trials = Trials(work.run)
        self._search = search.of(work.sweep)
        self._running: dict[int, Trial] = {}
        self._ended: queue.SimpleQueue[Trial | BaseException] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._labour, name=f"trials {place}", daemon=True)
            for place in range(jobs)
        ]
        self._next_publication = 0.0
        self._more = False

    def run(self) -> Trials:
        """Run all trials but those that have ended well already; return all of them."""
        left = self._left()
        self._more = bool(left)
        for thread in self._threads:
            thread.start()
        try:
            while left or self._running:
                while left and len(self._running) < len(self._threads):
                    self._begin(left.popleft())
                    self._more = bool(left)
                self._tell_progress()
                with contextlib.suppress(queue.Empty):
                    self._end(self._ended.get(timeout=1.0))
            self._dismiss()
        except BaseException:
            self._stop()
            raise
        finally:
            self._trials.write_board()
        return self._trials

    def _left(self) -> deque[int]:
        """Return the numbers of the trials to run: all that have not ended well with the same parameters."""
        left: deque[int] = deque()
        for number in range(1, self._sweep.count + 1):
            trial = self._trials.get(number)
            if trial is not None and trial.score is not None and self._same(trial):
                self._search.tell(trial)
            else:
                left.append(number)
        return left

    def _same(self, trial: Trial) -> bool:
        asked = self._work.values(trial.values, self._run_dir(trial.number))
        names = (asked.keys() | trial.parameters.keys()) - self._work.chain.fixed
        return all(
            name in asked and name in trial.parameters and asked[name].value == trial.parameters[name].value
            for name in names
        )

    def _run_dir(self, number: int) -> str:
        return f"runs/{self._work.run.id}/{FOLDER}/{number}"

    def _begin(self, number: int) -> None:
        """Give a trial to the workers, in a folder made anew."""
        before = self._trials.get(number)
        # What Optuna has asked for is asked for again; a grid knows by itself.
        again = before is not None and self._sweep.method == "optuna"
        values = before.values if before is not None and again else self._search.ask(number)
        trial = Trial(
            number=number,
            values=values,
            attempts=before.attempts if before else 0,
            parameters=self._work.values(values, self._run_dir(number)),
        )
        folder = self._trials.folder(number)
        shutil.rmtree(folder, ignore_errors=True)
        self._trials.write(trial)
        self._trials.keep(trial)
        folders.share(self._work.run.folder, folder)
        self._running[number] = trial
        self._orders.put(trial)

    def _end(self, ended: Trial | BaseException) -> None:
        if isinstance(ended, BaseException):
            raise ended
        best = self._trials.best
        if best is not None and ended.score is not None and not ended.score.compares(best.score):
            ended.fail(Failure(name="ScrapError", message="it is judged by another metric than the others"))
            self._trials.write(ended)
        self._trials.keep(ended)
        del self._running[ended.number]
        self._search.tell(ended)
        sign = "✓" if ended.state == "succeeded" else "✗"
        reason = f": {ended.reason} ({ended.html})" if ended.reason else ""
        self._work.say(
            f"{sign} {self._step.name}, trial {ended.number} of {self._sweep.count}: "
            f"{ended.state} in {text.duration(ended.seconds)}, {described(ended)}{reason}"
        )

    def _tell_progress(self) -> None:
        """Say how far the sweep is; write it down now and then, for a small share of the sweep's time."""
        done, failed = self._trials.count("succeeded"), self._trials.count("failed")
        parts = [f"{done + failed} of {text.count(self._sweep.count, 'trial')} done"]
        if failed:
            parts[0] += f", {failed} failed"
        if self._trials.best is not None:
            parts.append(f"best so far: {described(self._trials.best)}")
        running = [described(trial) for trial in self._running.values()]
        more = f" and {len(running) - _RUNNING_SHOWN} more" if len(running) > _RUNNING_SHOWN else ""
        self._step.reason = "; ".join([*parts, f"running: {' · '.join(running[:_RUNNING_SHOWN])}{more}"])
        began = time.monotonic()
        if began > self._next_publication:
            self._trials.write_board()
            self._work.publish()
            took = time.monotonic() - began
            self._next_publication = began + max(_PUBLISH_SECONDS, took / _PUBLISH_SHARE)

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def _stop(self) -> None:
        """End what runs, and keep what has ended well meanwhile."""
        self._stopping.set()
        for loop in self._loops:
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(_cancel_all, loop)
        self._dismiss()
        while not self._ended.empty():
            ended = self._ended.get()
            if isinstance(ended, Trial) and ended.state == "succeeded":
                self._end(ended)
        for trial in self._running.values():
            trial.state, trial.reason, trial.ended = "stopped", "the run was stopped", now()
            self._trials.write(trial)
            self._trials.keep(trial)

    def _labour(self) -> None:
        from jupyter_core.utils import ensure_event_loop

        from ci.kernels.standby import Standby

        loop = ensure_event_loop()
        self._loops.append(loop)
        standby = Standby(project.root(), self._work.kernels.engine_options())
        try:
            while (trial := self._orders.get()) is not None and not self._stopping.is_set():
                try:
                    self._ended.put(self._attempted(trial, standby))
                except BaseException as error:  # whatever it is, the main thread has to know
                    self._ended.put(error)
        finally:
            standby.close()
            loop.close()

    def _attempted(self, trial: Trial, standby: Standby) -> Trial:
        """Execute a trial's notebook, again if retries allow; write down and return how it ended."""
        # The main thread shows the other one meanwhile.
        done = trial.model_copy()
        step = self._work.chain.steps[self._step.name]
        executed = self._trials.folder(trial.number) / folders.NOTEBOOKS / f"{self._step.name}.ipynb"
        for _ in range(step.retries + 1):
            self._execute(done, standby)
            if done.state == "succeeded" or self._stopping.is_set():
                break
        done.ended = now()
        place = executed.relative_to(self._work.run.folder)
        done.executed, done.html = place.as_posix(), place.with_suffix(".html").as_posix()
        title = f"{self._step.name}, trial {trial.number}"
        reports.render_notebook(
            executed, executed.with_suffix(".html"), title=title, back="../../../index.html"
        )
        if not self._stopping.is_set() or done.state == "succeeded":
            self._trials.write(done)
        return done

    def _execute(self, trial: Trial, standby: Standby) -> None:
        from ci import execution

        step = self._work.chain.steps[self._step.name]
        executed = self._trials.folder(trial.number) / folders.NOTEBOOKS / f"{self._step.name}.ipynb"
        trial.attempts += 1

        def on_cell(done: int, cells: int) -> None:  # noqa: ARG001 - what an observer is told
            trial.cells = cells

        try:
            execution.execute(
                self._work.chain.notebook(self._step.name),
                executed,
                {name: parameter.value for name, parameter in trial.parameters.items()},
                cell_timeout=step.cell_timeout,
                on_cell=on_cell,
                engine_options=self._work.kernels.engine_options(),
                memory_mb=step.memory_mb,
                standby=standby,
                another=self._more,
            )
            trial.succeed(scraps.read(executed, step.gives))
        except Exception as error:
            trial.fail(
                getattr(error, "failure", None) or Failure(name=type(error).__name__, message=str(error))
            )


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
