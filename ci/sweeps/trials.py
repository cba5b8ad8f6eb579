"""The record of each trial: runs/<run-id>/trials/<number>/trial.json, and all of them as a leaderboard."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from ci.runs import Failure, Parameter, Record, Run, now
from ci.sweeps.space import SCORE
from utils import files

FOLDER, RECORD = "trials", "trial.json"
BOARD, TABLE = "leaderboard.json", "leaderboard.csv"
State = Literal["running", "succeeded", "failed", "stopped"]


class Score(BaseModel):
    """What cross-validation found in a trial, as its notebook glued it.

    Attributes
    ----------
    metric : str
        Its name.
    mean, standard_error : float
        Of the folds' values, in the metric's natural sign.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    metric: str
    direction: Literal["minimize", "maximize"]
    mean: FiniteFloat
    standard_error: FiniteFloat = Field(ge=0)

    @property
    def loss(self) -> float:
        """The mean, signed so that less is better."""
        return self.mean if self.direction == "minimize" else -self.mean

    def compares(self, other: Score | None) -> bool:
        """Whether another score is of the same metric."""
        return other is not None and (self.metric, self.direction) == (other.metric, other.direction)


class Trial(Record):
    """One trial.

    Attributes
    ----------
    number : int
        From 1 on, in the order in which they are begun; its folder's name.
    values : dict
        Of the parameters that are searched.
    state : str
        running, succeeded, failed, or stopped with the run.
    reason : str
        Why it failed; "" otherwise.
    parameters : dict
        All that its notebook was given.
    executed, html : str
        The executed notebook and its page, relative to the run folder; "" until they are there.
    """

    number: int
    values: dict[str, Any]
    state: State = "running"
    reason: str = ""
    started: datetime = Field(default_factory=now)
    ended: datetime | None = None
    attempts: int = 0
    cells: int = 0
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    scraps: dict[str, Any] = Field(default_factory=dict)
    executed: str = ""
    html: str = ""
    failure: Failure | None = None

    @cached_property
    def score(self) -> Score | None:
        """What it is ranked by; None unless it has succeeded."""
        return Score.model_validate(self.scraps[SCORE]) if self.state == "succeeded" else None

    def succeed(self, scraps: dict[str, Any]) -> None:
        """Take what its notebook has glued; without a score it has failed."""
        try:
            Score.model_validate(scraps.get(SCORE))
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join([SCORE, *map(str, problem["loc"])])
            self.fail(Failure(name="ScrapError", message=f"it glued no score ({place}: {problem['msg']})"))
        else:
            self.state, self.reason, self.failure, self.scraps = "succeeded", "", None, scraps
            self.__dict__.pop("score", None)

    def fail(self, failure: Failure) -> None:
        """Say that it has failed, and how."""
        lines = failure.message.strip().splitlines()
        self.state, self.failure, self.scraps = "failed", failure, {}
        self.reason = f"{failure.name}: {lines[0]}".rstrip(" :.") if lines else failure.name
        self.__dict__.pop("score", None)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return ((self.ended or now()) - self.started).total_seconds()


class Line(Record):
    """A trial in the leaderboard.

    Attributes
    ----------
    rank : int or None
        From 1 on; None for one without a score.
    """

    rank: int | None
    number: int
    values: dict[str, Any]
    state: State
    mean: float | None = None
    standard_error: float | None = None
    seconds: float
    page: str = ""
    reason: str = ""


class Board(Record):
    """The leaderboard: those that succeeded, the best first; then the others, by their numbers."""

    metric: str = ""
    direction: str = ""
    lines: list[Line] = Field(default_factory=list)


class Trials:
    """A run's trials, kept in its folder.

    Parameters
    ----------
    run : Run
        Whose they are. Those that are there already are read; a record that can't be read is none.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._found: dict[int, Trial] = {}
        self._counts: Counter[State] = Counter()
        self._best: Trial | None = None
        for path in run.folder.glob(f"{FOLDER}/*/{RECORD}"):
            with suppress(OSError, ValueError, KeyError):
                trial = Trial.model_validate(files.read_json(path))
                if str(trial.number) == path.parent.name and (trial.state != "succeeded" or trial.score):
                    self.keep(trial)

    def __iter__(self) -> Iterator[Trial]:
        return iter([self._found[number] for number in sorted(self._found)])

    def __len__(self) -> int:
        return len(self._found)

    def get(self, number: int) -> Trial | None:
        """Return the trial of that number, if there is one."""
        return self._found.get(number)

    def folder(self, number: int) -> Path:
        """Return the folder of a trial, which is the run folder of its notebook."""
        return self._run.folder / FOLDER / str(number)

    def write(self, trial: Trial) -> None:
        """Write a trial's record, atomically."""
        files.write_text(self.folder(trial.number) / RECORD, trial.model_dump_json(indent=2) + "\n")

    def keep(self, trial: Trial) -> None:
        """Know of a trial as it is now; counts and the best are kept up, so that asking costs nothing."""
        before = self._found.get(trial.number)
        if before is not None:
            self._counts[before.state] -= 1
        # Its state may be changed later on by whoever has it.
        self._found[trial.number] = trial.model_copy()
        self._counts[trial.state] += 1
        if self._best is not None and self._best.number == trial.number:
            self._best = min(self.of("succeeded"), key=_order, default=None)
        elif trial.score is not None and (self._best is None or _order(trial) < _order(self._best)):
            self._best = self._found[trial.number]

    def of(self, state: State) -> list[Trial]:
        """Return those in a state, by their numbers."""
        return [trial for trial in self if trial.state == state]

    def count(self, state: State) -> int:
        """Return how many are in a state."""
        return self._counts[state]

    @property
    def best(self) -> Trial | None:
        """The one of the best score, the first of several; None if none has succeeded."""
        return self._best

    def board(self) -> Board:
        """Return the leaderboard."""
        ranked = sorted(self.of("succeeded"), key=_order)
        lines = [_line(trial, rank) for rank, trial in enumerate(ranked, start=1)]
        lines += [_line(trial, None) for trial in self if trial.state != "succeeded"]
        first = self._best.score if self._best else None
        return Board(
            metric=first.metric if first else "", direction=first.direction if first else "", lines=lines
        )

    def write_board(self) -> None:
        """Write the leaderboard for the report, as JSON and as CSV."""
        board = self.board()
        folder = self._run.folder / FOLDER
        files.write_text(folder / BOARD, board.model_dump_json() + "\n")
        files.write_text(folder / TABLE, _csv(board))


def read_board(run: Run) -> Board:
    """Return a run's leaderboard as it was written last; an empty one where there is none to be read."""
    try:
        return Board.model_validate(files.read_json(run.folder / FOLDER / BOARD))
    except (OSError, ValueError, ValidationError):
        return Board()


def discard(run: Run) -> None:
    """Remove a run's trials, which are to be run again."""
    shutil.rmtree(run.folder / FOLDER, ignore_errors=True)


def _order(trial: Trial) -> tuple[float, int]:
    """Return what trials that have succeeded are sorted by: the best first, of equals the first."""
    return (trial.score.loss if trial.score else math.inf, trial.number)


def _line(trial: Trial, rank: int | None) -> Line:
    score = trial.score
    return Line(
        rank=rank,
        number=trial.number,
        values=trial.values,
        state=trial.state,
        mean=score.mean if score else None,
        standard_error=score.standard_error if score else None,
        seconds=round(trial.seconds, 3),
        page=trial.html,
        reason=trial.reason,
    )


def _csv(board: Board) -> str:
    names = list(dict.fromkeys(name for line in board.lines for name in line.values))
    measured = board.metric or "score"
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(
        ["rank", "trial", *names, measured, "standard_error", "seconds", "state", "reason", "page"]
    )
    for line in board.lines:
        values = [line.values.get(name, "") for name in names]
        table.writerow(
            [
                line.rank or "",
                line.number,
                *(value if isinstance(value, str | int | float) else json.dumps(value) for value in values),
                "" if line.mean is None else line.mean,
                "" if line.standard_error is None else line.standard_error,
                line.seconds,
                line.state,
                line.reason,
                line.page,
            ]
        )
    return buffer.getvalue()
