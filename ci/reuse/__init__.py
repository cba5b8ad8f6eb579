"""Nothing run twice: a step takes the result of an earlier run on which nothing has changed.

A step's `Key` says what its result depends on. Where an earlier run of the scenario has the step with the
same key, its files are verified and copied. Otherwise the step runs, and says what has changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property

from ci import runs
from ci.parameters import Value
from ci.pipeline import Pipeline
from ci.reuse import keys, results
from ci.reuse.keys import UnknownError
from ci.reuse.results import DamageError
from ci.runs import Key, Run, Step
from utils import files

FORCED = "ran because of --force"
ALWAYS = "always runs, as it changes more than the run's folder"


class Reuse:
    """Finds earlier results for the steps of a run, and keeps what later runs need to know.

    Parameters
    ----------
    chain : Pipeline
        What the run goes through.
    run : Run
        The run whose steps shall take them.
    force : bool
        Whether every step has to run.

    Attributes
    ----------
    why : str
        Why the step that was asked about last has to run; "" where there is nothing to compare it with.
    """

    def __init__(self, chain: Pipeline, run: Run, *, force: bool = False) -> None:
        self._chain = chain
        self._run = run
        self._force = force
        self._key: Key | None = None
        self._values: Mapping[str, Value] = {}
        self._before: results.Files = {}
        self.why = ""

    def take(self, step: Step, values: Mapping[str, Value]) -> bool:
        """Give a step the result of an earlier run; return whether there was one. Its state stays as it is.

        Parameters
        ----------
        step : Step
            One that is about to run.
        values : mapping
            What it is given beside its notebook's defaults.
        """
        self._values, self._key = values, None
        self._before = results.scan(self._run.folder)
        earlier = [(other, other.step(step.name)) for other in self._others if _succeeded(other, step)]
        if self._run.sweep is not None and self._run.sweep.step == step.name:
            # It goes by many values, and its trials know by themselves which of them have ended well.
            self.why = ""
            return False
        if not self._chain.steps[step.name].reuse:
            self.why = FORCED if self._force else ALWAYS if earlier else ""
            return False
        self.why = FORCED if self._force else ""
        try:
            self._key = keys.build(self._chain, self._run, step, values)
        except UnknownError as error:
            self.why = self.why or (f"ran because {error}" if earlier else "")
            return False
        if self._force or not earlier:
            return False
        reason = ""
        for other, found in earlier:
            if found.key != self._key:
                continue
            try:
                self._adopt(step, other, found)
            except (DamageError, OSError) as error:
                why = f"is damaged: {error}" if isinstance(error, DamageError) else "can't be copied"
                reason = reason or f"the result in run {other.id} {why}"
            else:
                return True
        reason = reason or self._difference(*earlier[0])
        self.why = f"ran because {reason}" if reason else ""
        return False

    def keep(self, step: Step) -> None:
        """Note in a step that has just run what it made, and what that depends on.

        If anything has changed meanwhile, such as a file that somebody is editing, nobody can tell which
        state of it the step has seen: its result is never reused.
        """
        others = {name for other in self._run.steps if other is not step for name in other.made or ()}
        if step.attempts == 1:
            others |= self._before.keys()
        step.made = None
        try:
            step.made = results.made(self._run.folder, step.name, self._before, others)
            now = keys.build(self._chain, self._run, step, self._values) if self._key else None
        except (OSError, UnknownError):
            return
        if now is not None and self._key is not None and self._key.history in (None, now.history):
            # The step itself may have been the one that made the run history.
            same = now.model_copy(update={"history": self._key.history}) == self._key
            step.key = now if same else None

    @cached_property
    def _others(self) -> list[Run]:
        """The scenario's other runs on the same platform, newest first."""
        mine = (self._run.scenario, self._run.platform)
        return [
            other
            for other in reversed(runs.everything())
            if other.id != self._run.id and (other.scenario, other.platform) == mine
        ]

    def _adopt(self, step: Step, other: Run, found: Step) -> None:
        results.copy(other.folder, self._run.folder, step.name, found.made or {})
        step.reset()
        step.started = step.ended = runs.now()
        step.cells, step.cells_done = found.cells, found.cells_done
        step.executed = results.notebook(step.name)
        page = step.executed.replace(".ipynb", ".html")
        step.html = page if (other.folder / page).is_file() else ""
        if step.html:
            files.write_bytes(self._run.folder / page, (other.folder / page).read_bytes())
        step.parameters = {
            name: runs.Parameter(value=value.value, source=value.source)
            for name, value in self._values.items()
        }
        step.scraps, step.made = copy.deepcopy(found.scraps), dict(found.made or {})
        step.key, step.reused = found.key, found.reused or other.id

    def _difference(self, other: Run, found: Step) -> str:
        if found.key is None or self._key is None:
            return f"run {other.id} doesn't say for sure what its result came from"
        declarations = self._chain.declarations[found.notebook]
        return keys.joined(keys.differences(found, self._key, self._values, declarations))


def _succeeded(run: Run, step: Step) -> bool:
    return any(other.name == step.name and other.state == "succeeded" for other in run.steps)
