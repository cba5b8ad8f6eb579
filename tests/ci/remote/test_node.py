"""What `python -m ci step` does by itself, as a schedule or a REST call has it run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ci.remote.conftest import Small


class Nodes:
    """Runs nodes, each on a machine of its own."""

    def __init__(self, away: Small, folder: Path) -> None:
        self.away, self.folder = away, folder

    def give(self, name: str) -> Path:
        """Return the folder that a node gives."""
        return self.folder / "given" / name

    def record(self, name: str) -> Any:
        """Read the record that a node has given."""
        return json.loads((self.give(name) / "run.json").read_text())

    def states(self, name: str) -> dict[str, str]:
        """Return the states of the steps in it."""
        return {step["name"]: step["state"] for step in self.record(name)["steps"]}

    def run(self, step: str, *words: str, take: str = "", name: str = "", code: int = 0) -> str:
        """Run a node; its exit code has to be `code`."""
        machine = self.folder / "machines" / (name or step)
        machine.mkdir(parents=True, exist_ok=True)
        folders = ["--take", str(self.give(take)) if take else "", "--give", str(self.give(name or step))]
        about = ["--run", "", "--scenario", "scenario", "--platform", "elsewhere"]
        return self.away.call("step", step, *folders, *about, *words, code=code, MLOPS_HOME=str(machine))


@pytest.fixture
def nodes(away: Small, tmp_path: Path) -> Nodes:
    """Nodes of a job that nobody has handed over."""
    return Nodes(away, tmp_path / "job")


def test_a_run_that_begins_there_has_one_id_for_all_nodes_and_the_values_it_is_given(nodes: Nodes) -> None:
    nodes.run("train", "--parameters", "alpha=2", "label=", "rows=")
    assert nodes.states("train") == {
        "setup": "succeeded",
        "train": "succeeded",
        "evaluate": "pending",
        "package": "pending",
        "release": "pending",
    }
    nodes.run("evaluate", "--parameters", "alpha=2", "--parameters", "label=", take="train")
    run = nodes.record("evaluate")
    assert run["id"] == nodes.record("train")["id"]
    assert run["overrides"] == {"alpha": 2.0}
    assert nodes.states("evaluate")["evaluate"] == "succeeded"
    assert (nodes.away.service / "kept" / f"{run['id']}.tar").is_file()


def test_a_model_that_is_not_better_ends_the_nodes_well(nodes: Nodes) -> None:
    nodes.run("train")
    nodes.run("evaluate", take="train")
    nodes.run("package", take="evaluate")
    assert nodes.states("package")["package"] == "skipped"
    assert nodes.record("package")["verdict"] == "not_better"


def test_a_job_without_a_run_agrees_on_the_id_that_its_environment_has(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_RUN", "nightly-7")
    nodes.run("train")
    nodes.run("train", name="again")
    assert nodes.record("train") == nodes.record("again")
    assert nodes.record("train")["id"] == "nightly-7"


def test_a_failed_step_ends_with_1_and_its_folder_is_given_and_kept(nodes: Nodes) -> None:
    nodes.away.train("1 / 0")
    said = nodes.run("train", code=1)
    assert "ZeroDivisionError" in said
    assert nodes.states("train")["train"] == "failed"
    assert (nodes.give("train") / "notebooks" / "train.html").is_file()
    assert len(list((nodes.away.service / "kept").iterdir())) == 1
    assert "evaluate needs what train gives" in nodes.run("evaluate", take="train", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parameters", "alpha=many"), "alpha = 'many'"),
        (("--parameters", "alpha"), "'alpha' is no parameter"),
        (("alpha=2",), "'alpha=2' is no parameter"),
        (("--parameters", "alhpa=2"), "did you mean alpha?"),
    ],
)
def test_values_that_can_not_be_are_refused_before_anything_begins(
    nodes: Nodes, words: tuple[str, ...], message: str
) -> None:
    assert message in nodes.run("train", *words, code=2)
    assert not nodes.give("train").exists()


def test_a_folder_that_holds_no_run_is_refused(nodes: Nodes) -> None:
    assert "holds no run" in nodes.run("evaluate", take="nothing", code=2)


def test_other_values_than_those_a_step_was_done_with_are_refused(nodes: Nodes) -> None:
    nodes.run("train")
    said = nodes.run("evaluate", "--parameters", "alpha=2", take="train", code=2)
    assert "train has already succeeded with alpha = 1.0" in said
    assert nodes.states("evaluate")["evaluate"] == "failed"
