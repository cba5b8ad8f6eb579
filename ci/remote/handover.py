"""A block of steps handed over to the platform's compute, and waited for."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ci.declarations import ParameterError
from ci.parameters import Parameters
from ci.pipeline import Pipeline
from ci.remote import returns, stint
from ci.remote.job import OPEN, Job
from ci.remote.returns import ReturnError
from ci.reuse import results
from ci.runs import Failure, Run, Step, now
from utils.platforms.protocol import Platform, PlatformError, Progress

POLL_SECONDS = 5.0
POLL_VARIABLE = "MLOPS_POLL_SECONDS"
# How often in a row the platform may fail to say how far a job is, before nobody waits for it any more.
_FAULTS_AT_MOST = 10


@dataclass(frozen=True)
class Told:
    """Who is told of what becomes of a job.

    Attributes
    ----------
    publish : callable
        Saves the run's record and writes its report.
    changed : callable
        Told of each step whose state has changed.
    say : callable
        Told in a line of what is about no step.
    fail : callable
        Lets a step fail.
    """

    publish: Callable[[], None]
    changed: Callable[[Step], None]
    say: Callable[[str], None]
    fail: Callable[[Step, Failure], None]


class Handover:
    """Hands steps of a run over to the platform's compute, and takes back what comes of them.

    The run's record names the job as soon as there is one. A process that is stopped leaves the job going on;
    another that takes the run up waits for the same job.

    Parameters
    ----------
    chain, run, parameters
        As the runner has them.
    platform : Platform
        Whose compute it is.
    told : Told
    """

    def __init__(
        self, chain: Pipeline, run: Run, parameters: Parameters, platform: Platform, told: Told
    ) -> None:
        self._chain = chain
        self._run = run
        self._parameters = parameters
        self._platform = platform
        self._compute = platform.retraining
        self._told = told
        self._looked_for: set[str] = set()
        self._whys: dict[str, str] = {}

    def execute(self, names: Sequence[str], *, why: str = "", wait: bool = True) -> bool:
        """Have steps run, or wait for the job that the run has; return whether all of it has ended well.

        Parameters
        ----------
        names : sequence of str
            The steps, none of which has ended well.
        why : str
            Why the first of them has to run.
        wait : bool
            Whether to wait for the end of the job; else it is only started.

        Raises
        ------
        ParameterError
            If the environment has no sound number of seconds to look after.
        PlatformError
            If nobody can tell how far the job is. It may go on.
        KeyboardInterrupt
            If this process is stopped. The job goes on.
        """
        pause = _poll_seconds()
        job = self._job(names)
        self._whys = {names[0]: why}
        try:
            if (not job.id and not self._start(job)) or not wait:
                return False
            self._end(job, self._follow(job, pause))
        except BaseException:
            self._let_go(job)
            raise
        return all(step.state in returns.DONE for step in self._steps(job))

    def _steps(self, job: Job) -> list[Step]:
        return [self._run.step(name) for name in job.steps]

    def _job(self, names: Sequence[str]) -> Job:
        """Return the run's job if it goes on or has yet to begin, or else a new one for these steps."""
        job = self._run.job
        if job is None or not job.open:
            ended = job.attempt if job is not None and job.kept else 0
            job = self._run.job = Job(steps=list(names), attempt=ended + 1)
        for step in self._steps(job):
            if step.state == "failed":
                step.reset()
                step.state, step.reason = "pending", ""
        return job

    def _start(self, job: Job) -> bool:
        """Hand the run over; return whether there is a job now."""
        where = self._run.platform
        self._explain(job, f"being handed over to {where}")
        self._told.publish()
        try:
            with stint.prepared(self._chain, self._run.scenario, self._parameters) as asked:
                # Setup may have made all that is needed long ago, and for other packages.
                for made in (*self._platform.provision(), self._compute.publish(asked)):
                    if made.state == "created":
                        self._told.say(f"{made.name} {made.state}: {made.location}")
                if not job.kept:
                    shutil.rmtree(self._run.folder / results.FETCHED, ignore_errors=True)
                    self._compute.keep(self._run.id, self._run.folder)
                    job.kept = True
                    self._run.save()
                values = stint.texts(self._parameters, asked.parameters)
                job.id = self._compute.submit(
                    asked, self._run.id, values, key=f"{self._run.id}.{job.attempt}"
                )
        except Exception as error:
            self._explain(job, "")
            self._told.fail(self._left(job)[0], Failure(name=type(error).__name__, message=str(error)))
            return False
        self._explain(job, f"queued on {where}")
        self._told.publish()
        self._told.say(f"{job.words}: job {job.id} on {where}")
        return True

    def _follow(self, job: Job, pause: float) -> Progress:
        """Show how far the job is, every `pause` seconds, until it has ended."""
        faults = 0
        while True:
            try:
                seen = self._compute.progress(job.id)
                faults = 0
            except PlatformError as error:
                faults += 1
                if faults == _FAULTS_AT_MOST:
                    raise
                if faults == 1:
                    self._told.say(f"{error} Asking again every {pause:g} s.")
            else:
                job.url = seen.url or job.url
                if seen.state not in OPEN:
                    return seen
                self._show(job, seen)
            time.sleep(pause)

    def _show(self, job: Job, seen: Progress) -> None:
        """Show what is known of a job that goes on, and take back what has ended of it."""
        where, before = self._run.platform, self._run.model_copy(deep=True)
        job.state = seen.state
        ended = {step.name for step in self._left(job) if seen.steps.get(step.name) == "succeeded"}
        if ended - self._looked_for:
            self._looked_for |= ended
            with contextlib.suppress(PlatformError, ReturnError):  # at the end it is asked for again
                self._take(final=False)
        waits = f": {seen.reason}" if seen.reason else ""
        for step in self._left(job):
            state = seen.steps.get(step.name, "queued")
            if state == "running" and step.state != "running":
                step.state, step.reason = "running", f"on {where}"
                step.started, step.ended = now(), None
                self._told.changed(step)
            elif state == "queued" and step.state == "pending":
                step.reason = f"queued on {where}{waits}"
        if self._run != before:
            self._told.publish()

    def _take(self, *, final: bool) -> None:
        for step in returns.take(self._run, self._compute, final=final):
            step.reason = step.reason or self._whys.get(step.name, "")
            self._told.changed(step)

    def _end(self, job: Job, seen: Progress) -> None:
        """Take back all that a job that has ended has made, and say what it has come to."""
        damage = ""
        try:
            self._take(final=True)
        except ReturnError as error:
            damage = str(error)
        job.state = seen.state
        self._explain(job, "")
        left = self._left(job)
        failed = [step for step in left if step.state == "failed"]
        why = seen.reason.strip().rstrip(".")
        if seen.state == "cancelled" and left:
            words = f"the job was cancelled{f': {why}' if why else ''}"
            self._told.fail((failed or left)[0], Failure(name="Cancelled", message=words))
        elif seen.state == "failed" and not failed:
            words = f"the job failed{f': {why}' if why else ''}"
            self._told.fail((left or self._steps(job)[-1:])[0], Failure(name="JobFailed", message=words))
        elif seen.state == "succeeded" and left and not failed:
            words = damage or "the job ended well, but what it gave back doesn't say so of this step"
            self._told.fail(left[0], Failure(name="JobFailed", message=words))
        self._told.publish()

    def _let_go(self, job: Job) -> None:
        """Leave the record as of a job that goes on without anybody who waits for it."""
        for step in self._left(job):
            if step.state == "running":
                step.state, step.started = "pending", None
        self._explain(job, f"on {self._run.platform}" if job.open else "")

    def _left(self, job: Job) -> list[Step]:
        return [step for step in self._steps(job) if step.state not in returns.DONE]

    def _explain(self, job: Job, reason: str) -> None:
        """Say why steps that have not begun have not."""
        for step in self._left(job):
            if step.state in ("pending", "running"):
                step.state, step.reason = "pending", reason


def _poll_seconds() -> float:
    given = os.environ.get(POLL_VARIABLE) or str(POLL_SECONDS)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ParameterError(f"{POLL_VARIABLE} has to be a number of seconds above 0, and it is {given!r}.")
    return seconds
