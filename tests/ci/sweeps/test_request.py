"""What is searched is typed and refused as `-p` is, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci.declarations import ParameterError
from ci.parameters import Parameters
from ci.pipeline import Pipeline
from ci.sweeps import request
from ci.sweeps.space import Range, Sweep

if TYPE_CHECKING:
    from tests.conftest import Toy

TRAIN = """
hyperparameters: dict[str, object] = {"alpha": 1.0, "iterations": 10, "solver": "auto"}  # the estimator's
estimator: str = "Ridge"  # which
scale: bool = False  # whether
metrics: list[str] = ["r2"]  # which
seed: int = 1  # of chance
folds: int = 0  # of the cross-validation
"""


@pytest.fixture
def chain(toy: Toy) -> Pipeline:
    toy.step("setup", parameters="seed: int = 1  # of chance")
    toy.step("train", parameters=TRAIN, gives={"validation": "dict"})
    toy.step("judge", parameters="limit: float = 1.0  # the worst")
    return Pipeline(toy.file)


def plan(chain: Pipeline, *words: tuple[str, str], sweep: Any = None, **scenario: Any) -> Sweep:
    file = chain.folder / "scenario.yml"
    if sweep is not None or scenario:
        import yaml

        file.write_text(yaml.safe_dump({**scenario, **({} if sweep is None else {"sweep": sweep})}))
    fixed, searched = request.part(words)
    parameters = Parameters(chain.declarations, file, chain.folder / "local.yml", fixed, None, chain.fixed)
    return request.plan(chain, parameters, file, searched, None)


def refusal(chain: Pipeline, *words: tuple[str, str], sweep: Any = None, **scenario: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        plan(chain, *words, sweep=sweep, **scenario)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.01,0.1, 1", ["0.01", "0.1", "1"]),
        ("auto", ["auto"]),
        ("[a, b],[c]", ["[a, b]", "[c]"]),
        ("{a: 1, b: 2},{a: 3}", ["{a: 1, b: 2}", "{a: 3}"]),
        ("'a,b',c", ["a,b", "c"]),
        ("1,,2", ["1", "", "2"]),
        ("1,", ["1", ""]),
        ("a: b,[", ["a: b", "["]),
        ("", [""]),
    ],
)
def test_words_are_split_at_their_commas_but_not_within_brackets_and_quotes(
    text: str, expected: list[str]
) -> None:
    assert request.split(text) == expected


def test_several_values_make_a_grid_and_single_ones_hold_for_the_whole_run(chain: Pipeline) -> None:
    found = plan(chain, ("alpha", "0.1,1"), ("scale", "true,false"), ("solver", "svd"))
    assert list(found.combinations()) == [
        {"alpha": 0.1, "scale": True},
        {"alpha": 0.1, "scale": False},
        {"alpha": 1, "scale": True},
        {"alpha": 1, "scale": False},
    ]
    assert (found.step, found.folds, found.count) == ("train", 5, 4)


@pytest.mark.parametrize(
    ("name", "words", "values"),
    [
        ("estimator", "1,2", ["1", "2"]),
        ("scale", "true,false", [True, False]),
        ("metrics", "[r2],[r2, max_error]", [["r2"], ["r2", "max_error"]]),
        ("solver", "auto,1", ["auto", "1"]),
        ("iterations", "1,1e2", [1, 100.0]),
        ("hyperparameters", "{alpha: 1},{alpha: 2}", [{"alpha": 1}, {"alpha": 2}]),
    ],
)
def test_values_get_the_types_that_p_would_give_them(
    chain: Pipeline, name: str, words: str, values: list[Any]
) -> None:
    found = plan(chain, (name, words)).parameters[name]
    assert found == values
    assert isinstance(found, list)
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([("alhpa", "1,2")], "did you mean alpha?"),
        ([("alpha", "1,strong")], "'strong' is not of the expected type, a number"),
        ([("scale", "true,1")], "expected bool"),
        ([("alpha", "1,nan")], "not of the expected type"),
        ([("estimator", "a,https://me:pass@host/b")], "address with a secret"),
        ([("run_dir", "a,b")], "set by the pipeline itself"),
        ([("seed", "1,2")], "setup, train take it"),
        ([("folds", "2,3")], "folds can't be searched"),
        ([("alpha", "1,2"), ("limit", "1,2")], "can't be searched together"),
        ([("limit", "1,2")], "judge can't be swept"),
        ([("alpha", "1,2"), ("hyperparameters", "{alpha: 1}")], "given as a whole"),
        ([("alpha", "1,2"), ("hyperparameters", "{alpha: 1},{alpha: 2}")], "given as a whole"),
        ([("alpha", "1,2"), ("alpha", "3")], "given twice"),
        ([("alpha", "1,2,1.0")], "a value twice"),
        ([("alpha", "1,2"), ("folds", "0")], "needs 2 or more"),
        (
            [("alpha", ",".join(map(str, range(101)))), ("iterations", ",".join(map(str, range(100))))],
            "the most",
        ),
        ([("alpha", "1")], "nothing to search"),
    ],
)
def test_what_cant_be_searched_is_refused(
    chain: Pipeline, words: list[tuple[str, str]], complaint: str
) -> None:
    assert complaint in refusal(chain, *words)


def test_the_scenarios_file_can_say_what_is_searched_and_the_command_line_is_stronger(
    chain: Pipeline,
) -> None:
    assert plan(chain, sweep={"parameters": {"alpha": [0.1, 1]}}).parameters == {"alpha": [0.1, 1]}
    assert plan(chain, ("scale", "true,false")).parameters == {"scale": [True, False]}


def test_folds_are_the_scenarios_if_it_gives_them(chain: Pipeline) -> None:
    assert plan(chain, ("alpha", "1,2"), folds=3).folds == 3


def test_a_range_is_of_whole_numbers_only_where_the_parameter_is(chain: Pipeline) -> None:
    searched = {"alpha": {"low": 1, "high": 10, "log": True}, "iterations": {"low": 1, "high": 10}}
    found = plan(chain, sweep={"method": "optuna", "trials": 5, "parameters": searched})
    assert found.parameters["alpha"] == Range(low=1.0, high=10.0, log=True)
    assert [type(getattr(found.parameters["alpha"], end)) for end in ("low", "high")] == [float, float]
    assert found.parameters["iterations"] == Range(low=1, high=10)
    assert found.count == 5


@pytest.mark.parametrize(
    ("sweep", "complaint"),
    [
        ({"paramaters": {"alpha": [1]}}, "sweep: paramaters: Extra inputs are not permitted"),
        ({"parameters": {}}, "at least 1 item"),
        ({"parameters": {"alpha": []}}, "alpha has no values"),
        ({"parameters": {"alpha": ["x"]}}, "sweep alpha: 'x' is not of the expected type"),
        ({"parameters": {"alpha": {"low": 1, "high": 2}}}, "alpha is a range; a grid needs a list"),
        ({"parameters": {"alpha": [1]}, "trials": 3}, "trials goes with method: optuna"),
        ({"parameters": {"alpha": [1]}, "method": "optuna"}, "needs trials"),
        ({"parameters": {"alpha": [1]}, "method": "random"}, "'grid' or 'optuna'"),
        ({"method": "optuna", "trials": 3, "parameters": {"alpha": {"low": 2, "high": 1}}}, "low has to be"),
        (
            {"method": "optuna", "trials": 3, "parameters": {"alpha": {"low": 0, "high": 1, "log": True}}},
            "log needs a low above 0",
        ),
        (
            {"method": "optuna", "trials": 3, "parameters": {"alpha": {"low": 0, "high": 1, "stp": 1}}},
            "parameters.alpha.stp: Extra inputs",
        ),
        ({"method": "optuna", "trials": 3, "parameters": {"solver": {"low": 0, "high": 1}}}, "solver"),
        ([1], "dictionary"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_with_its_place(
    chain: Pipeline, sweep: Any, complaint: str
) -> None:
    said = refusal(chain, sweep=sweep)
    assert complaint in said
    assert "parameters/scenario.yml: sweep" in said


def test_what_the_declaration_searches_cant_be_fixed_as_well(chain: Pipeline) -> None:
    assert "-p alpha fixes it" in refusal(chain, ("alpha", "1"), sweep={"parameters": {"alpha": [1, 2]}})


def test_a_trials_values_are_merged_into_the_hyperparameters_and_say_where_they_came_from(
    chain: Pipeline, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.yml"
    empty.touch()
    parameters = Parameters(chain.declarations, empty, empty, [("solver", "svd")])
    given = parameters.varied({"folds": 5, "alpha": 0.5, "scale": True}).of("train", {})
    assert given["hyperparameters"].value == {"alpha": 0.5, "iterations": 10, "solver": "svd"}
    assert given["hyperparameters"].source == "notebook default, with -p solver and alpha of the sweep"
    assert given["scale"].source == "the sweep"
    assert parameters.of("train", {})["hyperparameters"].value["alpha"] == 1.0
