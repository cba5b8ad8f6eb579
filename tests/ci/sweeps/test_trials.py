"""Trials are kept one by one, and the leaderboard shows all of them."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest

from ci.runs import Failure, Run
from ci.sweeps.space import Sweep
from ci.sweeps.trials import Trial, Trials, discard, read_board
from ci.sweeps.words import described

Make = Callable[..., Trial]


@pytest.fixture
def run(home: object) -> Run:
    from ci import runs

    sweep = Sweep(parameters={"alpha": [1, 2, 3]}, step="train", folds=5)
    made = Run(
        id="r1", scenario="s", platform="local", created=runs.now(), commit="c", dirty=False, lock_digest="d",
        steps=[], sweep=sweep,
    )  # fmt: skip
    made.save()
    return made


def trial(number: int, mean: float | None, *, direction: str = "minimize") -> Trial:
    made = Trial(number=number, values={"alpha": number})
    made.ended = made.started
    if mean is None:
        made.fail(Failure(name="ValueError", message="no\nmore"))
    else:
        found = {"metric": "root_mean_squared_error", "direction": direction, "mean": mean}
        made.succeed({"validation": found | {"standard_error": 1.08}})
    return made


def kept(run: Run, *made: Trial) -> Trials:
    trials = Trials(run)
    for each in made:
        trials.write(each)
        trials.keep(each)
    return trials


def test_what_was_written_is_read_again(run: Run) -> None:
    kept(run, trial(1, 55.2), trial(2, None))
    again = Trials(run)
    assert [each.state for each in again] == ["succeeded", "failed"]
    assert again.best is not None
    assert again.best.number == 1
    assert (again.count("succeeded"), again.count("failed"), again.count("running")) == (1, 1, 0)


@pytest.mark.parametrize(("direction", "best"), [("minimize", 2), ("maximize", 3)])
def test_the_best_is_by_the_metrics_own_direction_and_the_first_of_equals(
    run: Run, direction: str, best: int
) -> None:
    scores = [(1, 2.0), (2, 1.0), (3, 5.0), (4, 1.0), (5, 5.0)]
    found = kept(run, *(trial(number, mean, direction=direction) for number, mean in reversed(scores)))
    assert found.best is not None
    assert found.best.number == best


def test_a_trial_that_is_no_longer_the_best_leaves_the_place_to_the_next(run: Run) -> None:
    found = kept(run, trial(1, 2.0), trial(2, 1.0))
    found.keep(trial(2, None))
    assert found.best is not None
    assert found.best.number == 1
    assert found.count("succeeded") == 1


def test_the_leaderboard_ranks_the_scored_ones_and_lists_the_others_after_them(run: Run) -> None:
    found = kept(run, trial(1, 57.0), trial(2, None), trial(3, 55.0))
    found.write_board()
    board = read_board(run)
    assert (board.metric, board.direction) == ("root_mean_squared_error", "minimize")
    assert [(line.rank, line.number) for line in board.lines] == [(1, 3), (2, 1), (None, 2)]
    assert board.lines[2].reason == "ValueError: no"
    rows = list(csv.DictReader((run.folder / "trials" / "leaderboard.csv").read_text().splitlines()))
    assert [row["root_mean_squared_error"] for row in rows] == ["55.0", "57.0", ""]
    assert [row["alpha"] for row in rows] == ["3", "1", "2"]


def test_without_a_leaderboard_there_is_an_empty_one(run: Run) -> None:
    assert read_board(run).lines == []
    (run.folder / "trials").mkdir()
    (run.folder / "trials" / "leaderboard.json").write_text("{")
    assert read_board(run).lines == []


@pytest.mark.parametrize(
    "validation",
    [
        None,
        {},
        {"metric": "r2", "direction": "maximize", "mean": float("nan"), "standard_error": 0.1},
        {"metric": "r2", "direction": "maximize", "mean": 0.5, "standard_error": -0.1},
        {"metric": "r2", "direction": "better", "mean": 0.5, "standard_error": 0.1},
        {"metric": "r2", "direction": "maximize", "mean": "0.5", "standard_error": 0.1},
    ],
)
def test_a_score_that_is_none_fails_its_trial(validation: object) -> None:
    made = Trial(number=1, values={})
    made.succeed({"validation": validation})
    assert made.state == "failed"
    assert made.score is None
    assert "glued no score" in made.reason


def test_a_trial_is_described_by_its_values_and_its_score() -> None:
    assert described(trial(3, 55.234)) == "alpha 3, RMSE 55.2 ± 1.1"
    assert described(trial(3, None)) == "alpha 3"


def test_discarded_trials_are_gone(run: Run) -> None:
    kept(run, trial(1, 1.0))
    discard(run)
    assert len(Trials(run)) == 0
    discard(run)
