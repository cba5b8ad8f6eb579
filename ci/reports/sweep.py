"""A run's sweep: the leaderboard of its trials, and their scores drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ci.reports import pages, sweep_charts, text
from ci.runs import Run
from ci.sweeps import trials
from ci.sweeps.trials import Board, Line

KEYS = {kind: sweep_charts.key(kind) for kind in ("best", "trial", "many", "failed")}
_SHOWN, _FAILED_SHOWN = 50, 20
_IN_WORDS = {"minimize": "lower is better", "maximize": "higher is better"}


@dataclass(frozen=True)
class Row:
    """A trial in the leaderboard, ready to be shown; `page` leads to its notebook."""

    number: int
    rank: str
    values: list[str]
    score: str
    seconds: float
    page: str
    reason: str
    state: pages.Sign
    best: bool


@dataclass(frozen=True)
class Leaderboard:
    """All of a sweep that a page shows.

    Attributes
    ----------
    names : list of str
        The parameters searched.
    done, failed, running, all : int
        Numbers of trials.
    rows : list of Row
        Those with a score, the best first; no more than a page has room for.
    failures : list of Row
    drawing : Drawing or None
    """

    step: str
    method: str
    folds: int
    names: list[str]
    metric: str
    direction: str
    done: int
    failed: int
    running: int
    all: int
    rows: list[Row]
    failures: list[Row]
    drawing: sweep_charts.Drawing | None
    json: str = f"{trials.FOLDER}/{trials.BOARD}"
    csv: str = f"{trials.FOLDER}/{trials.TABLE}"


def of(run: Run, *, drawn: bool = True) -> Leaderboard | None:
    """Return a run's leaderboard, or None if it sweeps nothing.

    Parameters
    ----------
    drawn : bool
        Whether the scores are to be drawn as well.
    """
    if run.sweep is None:
        return None
    board = trials.read_board(run)
    names = list(run.sweep.parameters)
    ranked = [line for line in board.lines if line.rank is not None]
    failed = [line for line in board.lines if line.state == "failed"]
    places = max(
        text.decimals(line.mean for line in ranked),
        text.decimals((line.standard_error for line in ranked[:1]), 2),
    )
    return Leaderboard(
        step=run.sweep.step,
        method="every combination of" if run.sweep.method == "grid" else "by Optuna (TPE) the most promising",
        folds=run.sweep.folds,
        names=names,
        metric=text.metric_name(board.metric) if board.metric else "score",
        direction=_IN_WORDS.get(board.direction, ""),
        done=len(ranked) + len(failed),
        failed=len(failed),
        running=sum(line.state == "running" for line in board.lines),
        all=run.sweep.count,
        rows=[_row(line, names, places) for line in ranked[:_SHOWN]],
        failures=[_row(line, names, places) for line in failed[:_FAILED_SHOWN]],
        drawing=_drawing(board, names) if drawn else None,
    )


def _row(line: Line, names: list[str], places: int) -> Row:
    return Row(
        number=line.number,
        rank="" if line.rank is None else str(line.rank),
        values=[text.value(line.values.get(name), 60) for name in names],
        score="" if line.mean is None else _score(line.mean, line.standard_error, places),
        seconds=line.seconds,
        page=line.page,
        reason=line.reason,
        state=pages.STATES["failed" if line.state == "stopped" else line.state],
        best=line.rank == 1,
    )


def _score(mean: float, error: Any, places: int) -> str:
    return f"{text.number(mean, places)} ± {text.number(error, places)}"


def _drawing(board: Board, names: list[str]) -> sweep_charts.Drawing | None:
    ended = [line for line in board.lines if line.state in ("succeeded", "failed")]
    points = [
        sweep_charts.Point(
            line.values,
            line.mean,
            line.standard_error,
            # A name for each of a thousand would make the page a heavy one.
            f"trial {line.number}: {text.value(line.values)}" if (line.rank or 0) <= _SHOWN else "",
            line.rank == 1,
        )
        for line in ended
    ]
    metric = text.metric_name(board.metric) if board.metric else "score"
    return sweep_charts.draw(points, names, metric=metric, lower_is_better=board.direction != "maximize")
