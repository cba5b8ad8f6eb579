"""A sweep of the diabetes scenario: the best by cross-validation meets the champion as any training does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from utils import platforms

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def swept(begin: Callable[[str], Home]) -> Home:
    """The run "swept", at the gate: four penalties, one of them impossible."""
    home = begin("swept")
    home.call("sweep", "--run-id", "swept", "-p", "alpha", "0.01,0.1,1,-1", "--jobs", "2")
    return home


def test_the_best_of_the_trials_is_packaged_and_waits_at_the_gate(swept: Home) -> None:
    run = swept.run("swept")
    assert run.verdict == "waiting"
    assert run.sweep is not None
    best = run.sweep.best["alpha"]
    assert best in (0.01, 0.1)
    step = run.step("train")
    assert step.reason.startswith(f"best of 4 trials: alpha {best:g}, RMSE ")
    assert step.parameters["hyperparameters"].value == {"alpha": best}
    assert step.scraps["hyperparameters"] == {"alpha": best}
    assert run.step("test_staging").scraps["passed"] is True
    assert run.step("deploy_staging").scraps["digest"] == run.step("package").scraps["digest"]


def test_the_choice_is_made_on_the_training_rows_and_judged_on_the_held_out_ones(swept: Home) -> None:
    run = swept.run("swept")
    validation = run.step("train").scraps["validation"]
    assert len(validation["values"]) == 5
    assert validation["metric"] == run.step("evaluate").scraps["metric"]
    assert validation["mean"] != run.step("evaluate").scraps["challenger"][validation["metric"]]


def test_every_trial_is_in_the_run_history_under_its_own_name(swept: Home) -> None:
    assert len(swept.trainings()) == 3  # the impossible one never came so far
    training = swept.run("swept").step("train").scraps["training_run"]
    assert training in swept.trainings()
    with swept.entered():
        found = platforms.get("local").history.read(training)
    assert run_name(swept) == found.tags["run"]
    assert "validation_root_mean_squared_error" in found.metrics


def run_name(home: Home) -> str:
    sweep = home.run("swept").sweep
    assert sweep is not None
    return f"swept/trials/{sweep.winner}"


def test_the_failed_trial_is_in_the_report_with_a_way_to_its_notebook(swept: Home) -> None:
    page = swept.file("swept", "index.html").read_text()
    assert "Ridge can&#39;t be fitted" in page
    assert 'href="trials/4/notebooks/train.html"' in page
    assert swept.file("swept", "trials", "4", "notebooks", "train.html").exists()


def test_the_winners_model_is_the_runs_own(swept: Home) -> None:
    sweep = swept.run("swept").sweep
    assert sweep is not None
    ours = swept.file("swept", "model", "model.skops").read_bytes()
    assert ours == swept.file("swept", "trials", str(sweep.winner), "model", "model.skops").read_bytes()


def test_status_says_which_was_the_best(swept: Home) -> None:
    assert "best of 4 trials" in " ".join(swept.call("status", "swept").split())


def test_it_is_approved_and_the_same_sweep_again_is_no_better(
    swept: Home, copied: Callable[[Home], Home]
) -> None:
    home = copied(swept)
    home.call("approve", "swept", "--by", "Ada")
    assert home.champion() == "1"
    home.call("sweep", "--run-id", "again", "-p", "alpha", "0.01,0.1", "--jobs", "2")
    assert home.run("again").verdict == "not_better"
    assert home.champion() == "1"
