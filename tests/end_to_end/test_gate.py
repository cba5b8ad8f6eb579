"""Nothing reaches production but what a person has approved, and only while the comparison holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from utils import approvals, files, project

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.kernels import Kernels
    from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def home(waiting: Home, copied: Callable[[Home], Home]) -> Home:
    """A home whose run "first" waits."""
    return copied(waiting)


def demand_nothing_deployed(home: Home) -> None:
    assert home.live("production") is None
    assert home.services() == []
    assert home.champion() is None


def test_a_resumed_run_still_waits(home: Home) -> None:
    assert "python -m ci approve first" in home.call("resume", "first")
    assert home.states("first")["deploy_production"] == "waiting"
    assert home.attempts("first")["deploy_production"] == 0
    demand_nothing_deployed(home)


def test_an_approval_of_another_package_is_none(home: Home) -> None:
    approvals.write(home.file("first"), "approved", by="Ada", digest="e" * 64)
    assert "the approval is for package eeeeeeeeeeee" in home.call("resume", "first")
    assert home.states("first")["deploy_production"] == "waiting"
    demand_nothing_deployed(home)


def test_a_rejected_run_is_red_and_stays_so(home: Home) -> None:
    home.call("reject", "--by", "Ada", "--comment", "wait for the new data")
    assert home.run("first").verdict == "rejected"
    assert "rejected by Ada: wait for the new data" in home.call("resume", "first", code=1)
    home.call("approve", "first", "--by", "Eve", code=2)
    demand_nothing_deployed(home)


def change_a_file(package: Path) -> None:
    golden = json.loads((package / "golden.json").read_text())
    golden["expected"][0] += 1
    files.write_json(package / "golden.json", golden)


def change_a_file_and_the_manifest(package: Path) -> None:
    change_a_file(package)
    manifest = files.read_json(package / "manifest.json")
    manifest["files"]["golden.json"] = files.sha256(package / "golden.json")
    files.write_json(package / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(change_a_file, "golden.json was changed"), (change_a_file_and_the_manifest, "build it again")],
)
def test_a_package_changed_after_its_approval_is_not_deployed(
    home: Home, change: Callable[[Path], None], complaint: str
) -> None:
    home.call("approve", "--by", "Ada", "--no-resume")
    change(home.file("first", "package"))
    assert complaint in home.call("resume", "first", code=1)
    assert home.run("first").verdict == "failed"
    assert home.states("first")["test_production"] == "pending"
    demand_nothing_deployed(home)


def test_the_deploy_notebook_run_by_hand_deploys_to_production_only_what_was_approved(
    home: Home, kernels: Kernels, tmp_path: Path
) -> None:
    with home.entered(), pytest.raises(PapermillExecutionError, match="Nobody has approved run first"):
        papermill.execute_notebook(
            str(project.root() / "notebooks" / "06_deploy.ipynb"),
            str(tmp_path / "out.ipynb"),
            parameters={"run_dir": "runs/first", "environment": "production"},
            progress_bar=False,
            cwd=str(project.root()),
            **kernels.engine_options(),
        )
    demand_nothing_deployed(home)


def test_a_champion_that_changed_after_the_evaluation_forbids_the_release(home: Home) -> None:
    registry = home.platform.registry
    training = registry.version("diabetes", "1").training_run
    other = registry.register("diabetes", training, tags={}, key="another-run")
    registry.promote("diabetes", other.version)
    said = home.call("approve", "--by", "Ada", code=1)
    assert "Version 1 was compared with champion none, but the champion is 2 by now" in said
    assert home.champion() == "2"
    assert home.live("production") is None
    assert home.services() == []
