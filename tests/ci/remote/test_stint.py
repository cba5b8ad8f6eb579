"""What the platform's compute is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ci.parameters import Parameters
from ci.pipeline import Pipeline, PipelineError, default_file
from ci.remote import stint

if TYPE_CHECKING:
    from tests.conftest import Toy


def given(chain: Pipeline, scenario: str, overrides: Sequence[tuple[str, str]] = ()) -> Parameters:
    """Return a run's parameters on the local platform."""
    files = chain.parameter_file(scenario), chain.parameter_file("local")
    return Parameters(chain.declarations, *files, overrides, None, chain.fixed)


@pytest.fixture
def chain() -> Pipeline:
    return Pipeline(default_file())


def test_the_projects_own_pipeline_trains_evaluates_registers_and_packages_elsewhere(chain: Pipeline) -> None:
    with stint.prepared(chain, "diabetes", given(chain, "diabetes")) as asked:
        assert list(asked.steps) == ["train", "evaluate", "register", "package"]
        assert asked.scenario == "diabetes"
        assert (asked.source / "notebooks" / "02_train.ipynb").is_file()
        assert (asked.source / "ci" / "reports" / "templates" / "run.html.j2").is_file()
        assert not (asked.source / "tests").exists()
        digest = asked.digest
    assert not asked.source.exists()
    with stint.prepared(chain, "diabetes", given(chain, "diabetes", [("alpha", "2")])) as again:
        assert again.digest == digest


def test_who_starts_a_job_may_set_what_the_pipeline_neither_fixes_nor_hands_on(chain: Pipeline) -> None:
    names = stint.settable(chain, given(chain, "diabetes"))
    assert {"data", "alpha", "estimator", "metric", "seed", "folds"} <= set(names)
    assert not {"run_dir", "scenario", "platform", "environment", "snapshot", "training_run"} & set(names)
    assert "latency_limit_ms" not in names
    assert {"C", "max_iter"} <= set(stint.settable(chain, given(chain, "breast_cancer")))


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("alpha", "1e-5", 1e-5),
        ("alpha", "3", 3),
        ("scale", "true", True),
        ("metrics", "[r2, mean_absolute_error]", ["r2", "mean_absolute_error"]),
        ("hyperparameters", "{alpha: 0.1, solver: svd}", {"alpha": 0.1, "solver": "svd"}),
        ("target", "1", "1"),
        ("target", "a = b, 'c'", "a = b, 'c'"),
    ],
)
def test_a_value_travels_as_a_text_and_is_read_as_the_same_value(
    chain: Pipeline, name: str, word: str, value: Any
) -> None:
    typed = given(chain, "diabetes", [(name, word)])
    texts = stint.texts(typed, [name, "data"])
    assert list(texts) == [name]
    again = given(chain, "diabetes", list(texts.items()))
    assert again.overrides == typed.overrides == {name: value}
    assert type(again.overrides[name]) is type(typed.overrides[name])


def test_what_other_machines_do_not_have_is_refused(toy: Toy, chain: Pipeline) -> None:
    toy.step("train")
    with pytest.raises(PipelineError, match="no step has 'remote: true'"):
        stint.demand(Pipeline(toy.file), "scenario")
    toy.step("train", remote=True)
    with pytest.raises(PipelineError, match=r"steps go by parameters/pipeline\.yml alone"):
        stint.demand(Pipeline(toy.file), "scenario")
    with pytest.raises(PipelineError, match="put it into parameters/"):
        stint.demand(chain, str(toy.folder / "scenario.yml"))
