"""What is tried next."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ci.sweeps import search
from ci.sweeps.space import Space
from ci.sweeps.trials import Trial
from utils import project

OPTUNA = Space.model_validate(
    {
        "method": "optuna",
        "trials": 40,
        "parameters": {
            "alpha": {"low": 0.001, "high": 10.0, "log": True},
            "depth": {"low": 1, "high": 8},
            "share": {"low": 0.0, "high": 1.0, "step": 0.25},
            "kind": ["auto", None, [1, 2], {"a": 1}],
        },
    }
)


def ended(number: int, values: dict[str, Any], loss: float | None) -> Trial:
    trial = Trial(number=number, values=values)
    if loss is not None:
        trial.succeed(
            {"validation": {"metric": "r2", "direction": "maximize", "mean": -loss, "standard_error": 0.1}}
        )
        assert trial.score
    else:
        trial.state = "failed"
    return trial


def loss(values: dict[str, Any]) -> float:
    return float(abs(values["depth"] - 3) + abs(values["share"] - 0.5) + (values["kind"] != [1, 2]))


def run(found: search.Search, numbers: range) -> list[Trial]:
    trials = []
    for number in numbers:
        values = found.ask(number)
        trials.append(ended(number, values, loss(values)))
        found.tell(trials[-1])
    return trials


def test_a_grid_tries_every_combination_once_and_in_order() -> None:
    space = Space.model_validate({"parameters": {"a": [1, 2], "b": ["x", "y", "z"]}})
    tried = [search.of(space).ask(number) for number in range(1, space.count + 1)]
    assert [tuple(values.values()) for values in tried] == [
        (1, "x"), (1, "y"), (1, "z"), (2, "x"), (2, "y"), (2, "z"),
    ]  # fmt: skip


def test_optuna_keeps_to_ranges_steps_and_choices() -> None:
    for trial in run(search.of(OPTUNA), range(1, 21)):
        values = trial.values
        assert 0.001 <= values["alpha"] <= 10
        assert isinstance(values["depth"], int)
        assert values["depth"] in range(1, 9)
        assert values["share"] * 4 == int(values["share"] * 4)
        assert values["kind"] in ["auto", None, [1, 2], {"a": 1}]


def test_optuna_finds_the_better_ones_whichever_direction_is_good() -> None:
    losses = [loss(trial.values) for trial in run(search.of(OPTUNA), range(1, 41))]
    assert sum(losses[20:]) < 0.6 * sum(losses[:20])


def test_a_search_taken_up_again_goes_on_as_if_it_had_not_been_interrupted() -> None:
    whole = run(search.of(OPTUNA), range(1, 16))
    again = search.of(OPTUNA)
    for trial in whole[:12]:
        again.tell(trial)
    assert [trial.values for trial in run(again, range(13, 16))] == [trial.values for trial in whole[12:]]


def test_the_seed_decides_what_is_tried() -> None:
    other = OPTUNA.model_copy(update={"seed": 43})
    assert search.of(OPTUNA).ask(1) == search.of(OPTUNA).ask(1)
    assert search.of(other).ask(1) != search.of(OPTUNA).ask(1)


def test_a_failed_trial_counts_for_nothing() -> None:
    found = search.of(OPTUNA)
    for number in range(1, 15):
        found.tell(ended(number, found.ask(number), None))
    assert found.ask(15)["depth"] in range(1, 9)


@pytest.mark.parametrize("method", ["grid"])
def test_a_grid_does_not_import_optuna(method: str) -> None:
    code = (
        "import sys; from ci import cli, runner; from ci.sweeps import execution, search, space\n"
        f"search.of(space.Space(method={method!r}, parameters={{'a': [1, 2]}})).ask(1)\n"
        "assert 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project.root())
