"""The pipeline's file is checked as a whole before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ci.pipeline import Pipeline, PipelineError, default_file
from ci.scraps import check_scrap

if TYPE_CHECKING:
    from tests.conftest import Toy


def refusal(toy: Toy) -> str:
    with pytest.raises(PipelineError) as error:
        Pipeline(toy.file)
    return str(error.value)


def test_the_projects_own_pipeline_is_valid_and_has_four_stages() -> None:
    chain = Pipeline(default_file())
    assert chain.stages == ["build", "train", "staging", "production"]
    assert chain.steps["deploy_production"].gate == "package.digest"


def test_only_the_gated_step_deploys_to_production() -> None:
    for name, step in Pipeline(default_file()).steps.items():
        if step.notebook == "06_deploy" and step.parameters["environment"] == "production":
            assert step.gate, f"{name} deploys to production without a gate"


def test_a_wrong_notebook_is_named(toy: Toy) -> None:
    toy.step("first")
    toy.steps["first"]["notebook"] = "frist"
    toy.save()
    assert "There is no notebook" in refusal(toy)


def test_an_unknown_scrap_is_named_with_the_nearest(toy: Toy) -> None:
    toy.step("first", gives={"label": "str"})
    toy.step("second", takes={"label": "first.lable"})
    assert "step second: first gives no scrap 'lable'; did you mean label?" in refusal(toy)


def test_an_unknown_step_is_named_with_the_nearest(toy: Toy) -> None:
    toy.step("first", gives={"label": "str"})
    toy.step("second", when={"frist.label": "x"})
    assert "there is no step 'frist'; did you mean first?" in refusal(toy)


def test_a_cycle_is_refused(toy: Toy) -> None:
    toy.step("first", takes={"label": "second.label"}, gives={"label": "str"})
    toy.step("second", takes={"label": "first.label"}, gives={"label": "str"})
    assert "that would be a cycle" in refusal(toy)


def test_a_scrap_of_another_type_than_the_parameter_is_refused(toy: Toy) -> None:
    toy.step("first", gives={"rows": "int"})
    toy.step("second", takes={"label": "first.rows"})
    assert "first.rows is int, but second's label is str" in refusal(toy)


def test_an_int_may_feed_a_float(toy: Toy) -> None:
    toy.step("first", gives={"rows": "int"})
    toy.step("second", parameters="rows: float = 0.0  # rows", takes={"rows": "first.rows"})
    Pipeline(toy.file)


def test_a_parameter_that_the_notebook_does_not_take_is_refused(toy: Toy) -> None:
    toy.step("first")
    toy.steps["first"]["parameters"] = {"lable": "x"}
    toy.save()
    assert "first takes no parameter 'lable'; did you mean label?" in refusal(toy)


def test_a_fixed_parameter_of_another_type_is_refused(toy: Toy) -> None:
    toy.step("first")
    toy.steps["first"]["parameters"] = {"label": 1}
    toy.save()
    assert "parameter label = 1: expected str" in refusal(toy)


@pytest.mark.parametrize(
    "declared",
    [{"retries": -1}, {"retries": "many"}, {"cell_timeout": 0}, {"gives": {"a": "number"}}, {"stages": "x"}],
)
def test_a_wrong_setting_is_named_with_its_place(toy: Toy, declared: dict[str, Any]) -> None:
    toy.step("first", **declared)
    assert f"steps.first.{next(iter(declared))}" in refusal(toy)


def test_on_failure_needs_an_environment(toy: Toy) -> None:
    toy.step("first", on_failure="restore")
    assert "on_failure needs the step's environment" in refusal(toy)


def test_what_a_step_reads_is_one_of_its_parameters_or_the_champion(toy: Toy) -> None:
    toy.step(
        "first", parameters="data: str = ''  # a file\nrows: int = 0  # rows", reads=["data", "champion"]
    )
    Pipeline(toy.file)
    toy.steps["first"]["reads"] = ["dat", "rows", "champio"]
    toy.save()
    said = refusal(toy)
    assert "step first: it reads 'dat', but first takes no such parameter; did you mean data?" in said
    assert "step first: it reads rows, which is int, not the address of a file" in said
    assert "'champio', but first takes no such parameter; did you mean champion?" in said


def test_a_step_builds_on_all_that_the_steps_before_it_build_on() -> None:
    chain = Pipeline(default_file())
    assert chain.beneath("setup") == []
    assert chain.beneath("evaluate") == ["setup", "train"]
    assert chain.beneath("package") == ["setup", "train", "evaluate", "register"]


def test_the_steps_of_a_stage_follow_one_another(toy: Toy) -> None:
    for name, stage in (("first", "a"), ("second", "b"), ("third", "a")):
        toy.step(name, stage=stage)
    assert "the steps of stage a must follow one another" in refusal(toy)


def test_remote_steps_follow_one_another(toy: Toy) -> None:
    toy.step("first", remote=True)
    toy.step("second")
    toy.step("third", remote=True)
    assert "step second: remote steps must follow one another, and second lies between." in refusal(toy)
    toy.step("second", remote=True)
    assert Pipeline(toy.file).remote == ["first", "second", "third"]


def test_a_step_at_a_gate_or_in_an_environment_is_not_remote(toy: Toy) -> None:
    toy.step("first", gives={"digest": "str"})
    toy.step("second", gate="first.digest", remote=True)
    assert "step second: it has a gate, so that it can't be remote." in refusal(toy)
    del toy.steps["second"]["gate"]
    toy.steps["second"]["on_failure"] = "remove"
    toy.save()
    assert "step second: it has on_failure, so that it can't be remote." in refusal(toy)


def test_a_file_that_is_not_there_or_not_yaml_or_empty_is_refused(toy: Toy) -> None:
    assert "can't be read" in refusal(toy)
    toy.file.write_text("steps: [")
    assert "is not YAML" in refusal(toy)
    toy.file.write_text("{notebooks: ., steps: {}}")
    assert "steps" in refusal(toy)


def test_steps_are_selected_by_stage_or_up_to_a_step_or_the_end_of_a_stage() -> None:
    chain = Pipeline(default_file())
    assert chain.select("staging", None) == ["deploy_staging", "test_staging"]
    assert chain.select(None, "evaluate") == ["setup", "train", "evaluate"]
    assert chain.select(None, "train") == ["setup", "train"], "a step goes before a stage of its name"
    assert chain.select(None, "staging")[-1] == "test_staging"
    assert chain.select(None, None) == list(chain.steps)


@pytest.mark.parametrize("words", [("stagging", None), (None, "evalute")])
def test_an_unknown_stage_or_step_is_refused_with_those_that_there_are(words: tuple[str, str]) -> None:
    with pytest.raises(PipelineError, match="staging"):
        Pipeline(default_file()).select(*words)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("outcome", "Promote"), ("outcome", "promote!"), ("outcome", True), ("str", 1), ("int", 1.5),
     ("int", True), ("float", float("nan")), ("float", "1"), ("dict", {"a": [float("inf")]}),
     ("list", [float("nan")]),
     ("bool", 1)],
)  # fmt: skip
def test_a_scrap_of_another_type_or_not_finite_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|finite"):
        check_scrap(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("outcome", "not_better"),
        ("float", 1),
        ("dict", {"rmse": None}),
        ("list", [{"a": 1.5}]),
        ("bool", False),
    ],
)
def test_a_scrap_of_its_type_is_taken_as_it_is(kind: Any, value: Any) -> None:
    assert check_scrap(kind, value) == value
