"""The lifecycle as the README tells it: released, the same again is no better, another is promoted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.end_to_end

BEFORE_THE_GATE = ("setup", "train", "evaluate", "register", "package", "deploy_staging", "test_staging")


def test_the_first_run_waits_at_the_gate_with_every_step_before_it_succeeded(waiting: Home) -> None:
    states = waiting.states("first")
    assert [name for name, state in states.items() if state == "succeeded"] == list(BEFORE_THE_GATE)
    assert states["deploy_production"] == "waiting"
    assert states["test_production"] == "pending"
    assert waiting.run("first").verdict == "waiting"
    assert "python -m ci approve first" in waiting.output
    assert waiting.champion() is None


def test_the_first_run_leaves_no_service_behind(waiting: Home) -> None:
    assert waiting.live("staging") is None
    assert waiting.live("production") is None
    assert waiting.services() == []


def test_it_needs_no_network(waiting: Home, isolation: list[str]) -> None:
    if not isolation:
        pytest.skip("this system lets nobody but root make a network namespace (unshare --user --net)")
    assert waiting.run("first").verdict == "waiting"


def test_an_approved_run_is_released_and_its_model_is_the_champion(released: Home, waiting: Home) -> None:
    assert set(released.states("first").values()) == {"succeeded"}
    run = released.run("first")
    assert run.verdict == "released"
    assert run.approval is not None
    assert run.approval["by"] == "Ada"
    assert released.champion() == "1"
    live = released.live("production")
    assert live is not None
    assert live.confirmed
    assert live.digest == run.step("package").scraps["digest"]
    # What had succeeded before the gate was not run again.
    assert released.attempts("first") == dict.fromkeys(released.attempts("first"), 1)


def test_the_report_of_a_release_tells_who_approved_and_links_each_step(released: Home) -> None:
    page = released.file("first", "index.html").read_text()
    assert "Ada" in page
    for step in released.run("first").steps:
        assert step.html in page
        assert released.file("first", step.html).stat().st_size > 0
    assert "first" in released.folder.joinpath("runs", "index.html").read_text()


def test_the_same_again_is_not_better_and_every_later_step_is_skipped_with_the_reason(again: Home) -> None:
    run = again.run("again")
    reason = run.step("evaluate").scraps["reason"]
    assert "no difference" in reason
    assert (run.verdict, run.reason) == ("not_better", reason)
    later = run.steps[3:]
    assert [step.state for step in later] == ["skipped"] * 6
    assert {step.reason for step in later} == {reason}
    for step in later:
        assert f"{step.name}: skipped: {reason}" in again.output
    for name in ("index.html", "summary.md"):
        assert reason in again.file("again", name).read_text(), name


def test_the_same_again_registers_nothing_deploys_nothing_and_leaves_the_champion(
    again: Home, released: Home
) -> None:
    newest = again.newest()
    assert newest is not None
    assert newest.version == again.champion() == "1"
    before, after = released.live("production"), again.live("production")
    assert before is not None
    assert after is not None
    assert (after.url, after.details["pid"]) == (before.url, before.details["pid"])
    assert again.live("staging") is None


def test_the_same_again_is_not_trained_again_but_compared_with_the_champion(
    again: Home, released: Home
) -> None:
    reasons = {step.name: step.reason for step in again.run("again").steps}
    assert reasons["setup"] == reasons["train"] == "reused from first"
    assert reasons["evaluate"] == "ran because the champion changed: none → version 1"
    assert again.trainings() == released.trainings()
    page = again.file("again", "index.html").read_text()
    assert 'reused from <a href="../first/index.html">first</a>' in page
    assert reasons["evaluate"] in page


def test_a_third_time_no_notebook_is_executed(again: Home, copied: Callable[[Home], Home]) -> None:
    home = copied(again)
    home.call("run", "--run-id", "idle")
    run = home.run("idle")
    assert run.verdict == "not_better"
    assert {step.attempts for step in run.steps} == {0}
    assert [step.reused for step in run.steps[:3]] == ["first", "first", "again"]
    assert {step.state for step in run.steps[3:]} == {"skipped"}
    assert not home.file("idle", "kernels.log").exists()
    assert home.trainings() == again.trainings()
    for step in run.steps[:3]:
        assert step.made
        for name in (*step.made, step.html):
            before = home.file(step.reused, name)
            assert home.file("idle", name).read_bytes() == before.read_bytes(), name


def test_a_run_with_force_trains_anew(again: Home, copied: Callable[[Home], Home]) -> None:
    home = copied(again)
    home.call("run", "--run-id", "forced", "--until", "train", "--force")
    assert {step.reason for step in home.run("forced").steps[:2]} == {"ran because of --force"}
    assert len(home.trainings()) == len(again.trainings()) + 1


def test_without_the_workspace_everything_is_made_again(again: Home, copied: Callable[[Home], Home]) -> None:
    home = copied(again)
    home.down()
    shutil.rmtree(home.folder / "workspace")
    home.call("run", "--run-id", "anew", "--until", "train")
    for step in home.run("anew").steps[:2]:
        assert step.reason == "ran because the run history is another one"
    assert home.trainings() == [home.run("anew").step("train").scraps["training_run"]]


def test_a_better_model_is_promoted_and_waits_while_the_old_one_serves(better: Home, again: Home) -> None:
    run = better.run("better")
    assert run.verdict == "waiting"
    assert run.step("setup").reused == "first"
    assert run.step("train").reason == "ran because alpha changed 1.0 → 0.5"
    assert run.step("evaluate").scraps["outcome"] == "promote"
    assert run.step("evaluate").scraps["opponent"] == "champion version 1"
    assert run.step("train").parameters["hyperparameters"].value == {"alpha": 0.5}
    before, now = again.live("production"), better.live("production")
    assert before is not None
    assert now is not None
    assert (now.digest, now.details["pid"]) == (before.digest, before.details["pid"])
    assert better.champion() == "1"


def test_an_approved_better_model_takes_the_place_of_the_old_one_whose_service_ends(
    promoted: Home, better: Home, story: Home, ask: Any
) -> None:
    assert promoted.run("better").verdict == "released"
    assert promoted.champion() == "2"
    old, now = better.live("production"), story.live("production")
    assert old is not None
    assert now is not None
    assert now.model_version == "2"
    assert now.confirmed
    assert not psutil.pid_exists(old.details["pid"])
    assert [process.pid for process in story.services()] == [now.details["pid"]]
    assert ask(story, now, story.file("better", "package"))


def test_status_tells_where_the_service_is_and_down_leaves_no_process(promoted: Home, story: Home) -> None:
    live = story.live("production")
    assert live is not None
    assert f"{live.url} serves model version 2" in story.call("status")
    assert f"Stopped diabetes in production ({live.url})" in story.call("down")
    assert story.services() == []
    assert not psutil.pid_exists(live.details["pid"])
    assert "No service is running" in story.call("down")


def test_what_was_taken_down_is_brought_up_again_as_it_was(promoted: Home, story: Home, ask: Any) -> None:
    story.call("down")
    assert "model version 2 doesn't run; start it: python -m ci up" in story.call("status")
    assert "serves model version 2" in story.call("up")
    live = story.live("production")
    assert live is not None
    assert live.confirmed
    assert ask(story, live, story.file("better", "package"))
    assert "what was in production runs" in story.call("up")
    assert "serves model version 1" in story.call("rollback", "--by", "Ada")
    assert story.champion() == "1"
    assert "serves model version 2" in story.call("rollback", "--to", "2", "--by", "Ada")
    assert story.champion() == "2"
    story.call("down")


def test_approving_a_released_run_again_changes_nothing(promoted: Home, copied: Any) -> None:
    home = copied(promoted)
    assert "was approved by Ada" in home.call("approve", "better", "--by", "Eve")
    assert home.attempts("better") == promoted.attempts("better")
    assert home.services() == []
    assert home.newest().version == "2"
