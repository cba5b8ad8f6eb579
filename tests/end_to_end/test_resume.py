"""A run goes on wherever it failed, on whatever machine: what has succeeded is not done again.

One run of another scenario: each of its steps fails once, and each stage has a machine of its own, to which
the run folder and the workspace are copied.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Home, Project
    from utils.platforms.protocol import Endpoint

pytestmark = pytest.mark.end_to_end

SCENARIO = "breast_cancer"
MISFORTUNE = "raise RuntimeError('a misfortune')"
AT_ONCE, IN_THE_END = "import ", ""

# Where in its notebook each step fails. Those that have done their work by then must not do it twice.
STAGES = {
    "build": {"setup": AT_ONCE},
    "train": {"train": AT_ONCE, "evaluate": AT_ONCE, "register": IN_THE_END, "package": AT_ONCE},
    "staging": {"deploy_staging": AT_ONCE, "test_staging": IN_THE_END},
    "production": {"deploy_production": IN_THE_END, "test_production": IN_THE_END},
}


class Unlucky:
    """A run that fails in every step, and what was seen of it on its way."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.machines: dict[str, Home] = {}
        self.failures: dict[str, str] = {}
        self.live_after: dict[str, Endpoint | None] = {}

    def go(self, home: Home) -> None:
        """Take the run through all stages."""
        for stage, steps in STAGES.items():
            home = home.copy(home.folder.with_name(f"unlucky-{stage}"))
            self.machines[stage] = home
            if stage == "production":
                self._call(home, stage, 0)
                home.call("approve", "unlucky", "--by", "Ada", "--no-resume", *self._pipeline)
            for step, where in steps.items():
                with self.project.cell(self._notebook(step), MISFORTUNE, before=where):
                    self._call(home, stage, 1)
                self.failures[step] = home.run("unlucky").step(step).reason
                self.live_after[step] = home.live(stage, SCENARIO)
            self._call(home, stage, 0)

    @property
    def home(self) -> Home:
        """Where the run ended."""
        return self.machines["production"]

    @property
    def _pipeline(self) -> list[str]:
        return ["--pipeline", str(self.project.file)]

    def _notebook(self, step: str) -> str:
        return next(
            path.stem
            for path in (self.project.folder / "notebooks").glob("*.ipynb")
            if path.stem[3:] == step.partition("_")[0]
        )

    def _call(self, home: Home, stage: str, code: int) -> None:
        begun = home.file("unlucky").exists()
        words = ["resume", "unlucky"] if begun else ["run", "--scenario", SCENARIO, "--run-id", "unlucky"]
        home.call(*words, "--stage", stage, *self._pipeline, code=code)


@pytest.fixture(scope="module")
def unlucky(alter: Callable[[Path], Project], begin: Callable[[str], Home], tmp_path_factory: Any) -> Unlucky:
    made = Unlucky(alter(tmp_path_factory.mktemp("unlucky") / "project"))
    made.go(begin("unlucky"))
    return made


def test_a_run_that_failed_once_in_every_step_is_released(unlucky: Unlucky) -> None:
    assert unlucky.home.run("unlucky").verdict == "released"
    assert list(unlucky.failures) == list(unlucky.home.states("unlucky"))
    for step, reason in unlucky.failures.items():
        assert reason.startswith("a misfortune"), step


def test_what_had_succeeded_was_not_run_again(unlucky: Unlucky) -> None:
    # A failed test in staging takes the service down, so that it has to be deployed once more.
    expected = dict.fromkeys(unlucky.failures, 2) | {"deploy_staging": 3}
    assert unlucky.home.attempts("unlucky") == expected


def test_it_was_trained_and_registered_once(unlucky: Unlucky) -> None:
    home = unlucky.home
    run = home.run("unlucky")
    assert home.trainings(SCENARIO) == [run.step("train").scraps["training_run"]]
    newest = home.newest(SCENARIO)
    assert newest is not None
    assert newest.version == home.champion(SCENARIO) == run.step("register").scraps["model_version"] == "1"


def test_a_first_release_that_fails_leaves_nothing_in_production(unlucky: Unlucky) -> None:
    assert unlucky.failures["deploy_production"] == "a misfortune; nothing runs in production"
    assert unlucky.live_after["deploy_production"] is None


def test_a_failure_after_the_production_test_has_passed_takes_nothing_back(unlucky: Unlucky) -> None:
    assert unlucky.failures["test_production"] == "a misfortune; production serves model version 1"
    live = unlucky.live_after["test_production"]
    assert live is not None
    assert live == unlucky.home.live("production", SCENARIO)


def test_a_failure_in_staging_takes_it_down(unlucky: Unlucky) -> None:
    for step in ("deploy_staging", "test_staging"):
        assert unlucky.failures[step] == "a misfortune; staging was taken down"
        assert unlucky.live_after[step] is None


def test_one_service_of_it_runs_and_answers(unlucky: Unlucky, ask: Any) -> None:
    live = unlucky.home.live("production", SCENARIO)
    assert live is not None
    assert live.confirmed
    assert [process.pid for process in unlucky.home.services()] == [live.details["pid"]]
    assert ask(unlucky.home, live, unlucky.home.file("unlucky", "package"))
    for stage in ("build", "train", "staging"):
        assert unlucky.machines[stage].services() == [], stage


def test_each_stage_left_the_later_ones_to_other_machines(unlucky: Unlucky) -> None:
    for stage, home in unlucky.machines.items():
        run = home.run("unlucky")
        assert {step.state for step in run.steps if step.stage == stage} == {"succeeded"}
        assert run.verdict == {"production": "released", "staging": "waiting"}.get(stage, "stopped")
