"""The runner: takes a run through its steps, and leaves a true record wherever it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import takewhile
from typing import Any

from ci import gates, reports, runs, scraps
from ci.continuation import demand_upstream
from ci.kernels import Kernels
from ci.notebooks import Notebooks
from ci.parameters import Parameters, Value
from ci.pipeline import Pipeline
from ci.reporter import Reporter
from ci.reuse import Reuse
from ci.runs import Failure, Run, Step, StepFailure
from ci.signals import stop_on_signals
from ci.sweeps.space import Sweep
from ci.undoing import undo
from ci.verdicts import conclude
from utils import platforms


class Runner:
    """Takes one run through the steps of its pipeline.

    Parameters
    ----------
    chain : Pipeline
        What to run.
    run : Run
        The record, which is saved and rendered after each change.
    parameters : Parameters
        The values for its notebooks.
    changed : callable
        Told of each step whose state has changed.
    say : callable
        Told in a line of each trial of a sweep that has ended.
    warm : bool
        Whether kernels are forked from a preloaded process, where that can be.
    force : bool
        Whether every step has to run, also where an earlier run's result would do.
    here : bool
        Whether steps run in this process' kernels also where the platform has compute of its own, such as
        there.
    wait : bool
        Whether to wait for steps that have been handed over to it.
    """

    def __init__(
        self,
        chain: Pipeline,
        run: Run,
        parameters: Parameters,
        changed: Callable[[Step], None],
        say: Callable[[str], None] = lambda _: None,
        *,
        warm: bool = True,
        force: bool = False,
        here: bool = False,
        wait: bool = True,
    ) -> None:
        self._chain = chain
        self._run = run
        self._parameters = parameters
        self._changed = changed
        self._say = say
        self._warm = warm
        self._here = here
        self._wait = wait
        self._selected: Sequence[str] = ()
        self._reporter: Reporter | None = None
        self._notebooks: Notebooks | None = None
        self._reuse = Reuse(chain, run, force=force)

    def execute(self, selected: Sequence[str]) -> None:
        """Run the selected steps that have not run yet, until one fails or waits.

        Raises
        ------
        StageError
            If a step needs another that is neither done nor selected.
        KeyboardInterrupt
            Stopped, unless it was Ctrl-C; after the record has been brought up to date.
        """
        demand_upstream(self._chain, self._run, selected)
        self._run.verdict, self._run.ended, self._run.reason = "running", None, ""
        self._selected = selected
        with stop_on_signals(), ExitStack() as stack:
            try:
                for name in selected:
                    step = self._run.step(name)
                    if step.state in ("succeeded", "skipped") or self._skip(step):
                        continue
                    if not (self._admitted(step) and self._work(step, stack)):
                        break
                else:
                    self._look_ahead()
            finally:
                self._conclude()

    def _look_ahead(self) -> None:
        """Say of the steps that were not asked for what is known already: skipped, or waiting at a gate."""
        for step in self._run.steps:
            upstream = [self._run.step(name) for name in self._chain.steps[step.name].upstream]
            known = all(other.state in ("succeeded", "skipped") for other in upstream)
            if step.state in ("succeeded", "skipped") or (known and self._skip(step)):
                continue
            if known and self._chain.steps[step.name].gate and step.state in ("pending", "waiting"):
                self._admitted(step)
            return

    def _skip(self, step: Step) -> bool:
        """Skip a step whose condition isn't met, or that builds on a skipped one."""
        declared = self._chain.steps[step.name]
        for name in sorted(declared.upstream):
            upstream = self._run.step(name)
            if upstream.state == "skipped":
                return self._move(step, "skipped", upstream.reason)
        for address, expected in declared.when.items():
            found = self._scrap(address)
            if found != expected:
                name, _, scrap = address.partition(".")
                why = self._run.step(name).scraps.get("reason") or f"{scrap} of {name} is {found}"
                return self._move(step, "skipped", str(why))
        return False

    def _admitted(self, step: Step) -> bool:
        """Whether a step may start: it has no gate, or a person has approved just this package."""
        gate = self._chain.steps[step.name].gate
        if not gate:
            return True
        held = gates.held(self._run, str(self._scrap(gate)))
        if held is not None:
            self._move(step, *held)
        return held is None

    def _work(self, step: Step, stack: ExitStack) -> bool:
        """Have a step done: by an earlier run's result, the platform's compute or here; say whether it is."""
        if not self._elsewhere(step.name):
            return self._take(step) or self._attempt(step, stack)
        return (not self._handed(step.name) and self._take(step)) or self._hand_over(step, stack)

    def _handed(self, name: str) -> bool:
        """Whether a step has been given to the platform's compute before."""
        return self._run.job is not None and name in self._run.job.steps

    def _elsewhere(self, name: str) -> bool:
        """Whether a step runs on the platform's own compute."""
        if self._here or not (self._chain.steps[name].remote or self._handed(name)):
            return False
        return platforms.get(self._run.platform).retraining.remote

    def _hand_over(self, step: Step, stack: ExitStack) -> bool:
        """Have a step, and those after it of which it is true too, run by the platform's compute."""
        from ci.remote.handover import Handover, Told

        self._report(stack)
        following = self._selected[list(self._selected).index(step.name) :]
        block = list(takewhile(self._elsewhere, following))
        told = Told(self._publish, self._changed, self._say, self._fail)
        platform = platforms.get(self._run.platform)
        handover = Handover(self._chain, self._run, self._parameters, platform, told)
        return handover.execute(block, why=self._reuse.why, wait=self._wait)

    def _report(self, stack: ExitStack) -> None:
        if self._reporter is None:
            self._reporter = stack.enter_context(Reporter())

    def _take(self, step: Step) -> bool:
        """Take an earlier run's result for a step, if nothing has changed; return whether it was."""
        taken = self._reuse.take(step, self._values(step, self._parameters, f"runs/{self._run.id}"))
        return taken and self._move(step, "succeeded", f"reused from {step.reused}")

    def _attempt(self, step: Step, stack: ExitStack) -> bool:
        """Execute a step's notebook, again if its retries allow; return whether it succeeded."""
        self._report(stack)
        for attempt in range(self._chain.steps[step.name].retries + 1):
            self._start(step)
            try:
                self._notebook(step, stack)
                self._reuse.keep(step)
            except KeyboardInterrupt as error:
                name = str(error) or "SIGINT"
                self._fail(step, Failure(name="Stopped", message=f"the run was stopped by {name}"))
                raise
            except Exception as error:
                failure = getattr(error, "failure", None)
                again = attempt < self._chain.steps[step.name].retries
                self._fail(
                    step, failure or Failure(name=type(error).__name__, message=str(error)), final=not again
                )
            else:
                return self._move(step, "succeeded", step.reason or self._reuse.why)
        return False

    def _start(self, step: Step) -> None:
        step.started, step.ended, step.attempts = runs.now(), None, step.attempts + 1
        step.reset()
        step.cells_done = 0
        self._move(step, "running", "")

    def _notebook(self, step: Step, stack: ExitStack) -> None:
        if self._notebooks is None:
            log = self._run.folder / "kernels.log"
            self._notebooks = stack.enter_context(Notebooks(self._chain.preload, log, warm=self._warm))
        if self._run.sweep is not None and self._run.sweep.step == step.name:
            self._sweep(step, self._run.sweep, self._notebooks.kernels)
            return
        declared = self._chain.steps[step.name]
        step.parameters = _recorded(self._values(step, self._parameters, f"runs/{self._run.id}"))
        step.executed = f"notebooks/{step.name}.ipynb"
        executed = self._run.folder / step.executed

        def on_cell(done: int, cells: int) -> None:
            step.cells_done, step.cells = done, cells

        try:
            self._notebooks.execute(
                self._chain.notebook(step.name),
                executed,
                {name: parameter.value for name, parameter in step.parameters.items()},
                declared,
                on_cell,
                another=self._another(step),
            )
        except Exception:
            # What it glued before it failed is for the report alone: no step runs after a failed one.
            step.scraps = scraps.glued(executed, declared.gives)
            raise
        step.scraps = scraps.read(executed, declared.gives)
        for name, kind in declared.gives.items():
            if kind == "outcome" and step.scraps[name] == "blocked":
                raise StepFailure(
                    Failure(name="Blocked", message=str(step.scraps.get("reason") or "no reason was given"))
                )

    def _another(self, step: Step) -> bool:
        """Whether another notebook is likely to run next, for which a kernel should be ready."""
        following = self._selected[list(self._selected).index(step.name) + 1 :]
        return bool(following) and not self._chain.steps[following[0]].gate

    def _sweep(self, step: Step, sweep: Sweep, kernels: Kernels) -> None:
        from ci.sweeps import execution

        def values(given: Mapping[str, Any], run_dir: str) -> dict[str, runs.Parameter]:
            return _recorded(self._values(step, self._parameters.varied(sweep.given(given)), run_dir))

        work = execution.Work(self._chain, self._run, sweep, kernels, values, self._publish, self._say)
        execution.execute(work, step)

    def _values(self, step: Step, parameters: Parameters, run_dir: str) -> dict[str, Value]:
        declared, notebook = self._chain.steps[step.name], self._chain.steps[step.name].notebook
        scraps = {name: Value(self._scrap(address), address) for name, address in declared.takes.items()}
        values = parameters.of(notebook, scraps)
        given = {
            "scenario": self._run.scenario,
            "platform": self._run.platform,
            "run_dir": run_dir,
        }
        values |= {
            name: Value(value, "the run")
            for name, value in given.items()
            if name in self._chain.declarations[notebook]
        }
        return values | {name: Value(value, "pipeline.yml") for name, value in declared.parameters.items()}

    def _scrap(self, address: str) -> Any:
        name, _, scrap = address.partition(".")
        return self._run.step(name).scraps[scrap]

    def _fail(self, step: Step, failure: Failure, *, final: bool = True) -> None:
        step.failure = failure
        reason = failure.message.strip().splitlines()[0] if failure.message.strip() else failure.name
        reason = reason.rstrip(" :.")
        if final:
            reason += undo(self._chain, self._run, step)
        self._move(step, "failed", reason)

    def _move(self, step: Step, state: runs.StepState, reason: str) -> bool:
        """Change a step's state, write everything that shows it; return True."""
        step.state, step.reason = state, reason
        if state in ("succeeded", "failed") and step.started is not None and step.ended is None:
            step.ended = runs.now()
        if state == "skipped" or (step.reused and step.html):
            # Nothing to render, and no time for anybody to look: what runs next, or the end, reports it.
            if step.reused:
                self._run.save()
            self._changed(step)
            return True
        if step.executed and state in ("succeeded", "failed"):
            step.html = step.executed.replace(".ipynb", ".html")
        self._publish()
        self._changed(step)
        return True

    def _conclude(self) -> None:
        self._run.verdict, self._run.reason = conclude(self._run)
        self._run.ended = runs.now()
        self._publish()

    def _publish(self) -> None:
        self._run.save()
        if self._reporter is not None:
            self._reporter.changed(self._run)
        elif self._run.ended is not None:
            # No notebook has run: there is no time that a process of their own could save.
            reports.refresh(self._run)


def _recorded(values: Mapping[str, Value]) -> dict[str, runs.Parameter]:
    return {name: runs.Parameter(value=value.value, source=value.source) for name, value in values.items()}
