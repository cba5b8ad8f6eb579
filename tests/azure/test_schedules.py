"""The schedule of the retraining pipeline: as the settings say, and not more often than they say."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.azure import projects
from tests.azure.cloud import Cloud, faults, pipeline_jobs
from tests.azure.cloud.pipeline_jobs import Jobs
from tests.azure.cloud.pipelines import Pipelines
from utils.platforms.azureml.retraining import AzureRetraining
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError, Stint

PREFIX = "MLOPS_AZUREML_RETRAINING_SCHEDULE_"


@pytest.fixture
def stint(tmp_path: Path) -> Stint:
    return projects.make(tmp_path / "project")


@pytest.fixture
def publish(workspace: Any, stint: Stint, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Publish as a process does whose settings have this schedule."""

    def publishing(**given: str) -> None:
        for name in ("FREQUENCY", "INTERVAL", "AT", "WEEK_DAYS", "TIME_ZONE", "START"):
            monkeypatch.delenv(PREFIX + name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(PREFIX + name.upper(), value)
        AzureRetraining(Site()).publish(stint)

    return publishing


def schedules(cloud: Cloud) -> list[Any]:
    """Return those that are active."""
    known = cloud.area(Pipelines).schedules.values()
    return [each for each in known if each.entity_status == "Active"]


def writes(cloud: Cloud) -> int:
    """Count what was asked to be made or changed."""
    return sum(call.method in ("POST", "PUT") and "/Schedules" in call.path for call in cloud.calls)


def test_without_a_schedule_none_is_made(cloud: Cloud, publish: Callable[..., None]) -> None:
    publish()
    assert writes(cloud) == 0


def test_a_schedule_is_made_once_and_runs_the_endpoint(cloud: Cloud, publish: Callable[..., None]) -> None:
    weekly = {"frequency": "week", "at": "02:30", "week_days": "Monday, Thursday"}
    publish(**weekly, time_zone="W. Europe Standard Time")
    publish(**weekly, time_zone="W. Europe Standard Time")
    assert writes(cloud) == 1
    (made,) = schedules(cloud)
    (endpoint,) = cloud.area(Pipelines).endpoints.values()
    assert made.pipeline_endpoint_id == endpoint.id
    assert (made.recurrence.frequency, made.recurrence.interval) == ("Week", 1)
    assert (made.recurrence.schedule.hours, made.recurrence.schedule.minutes) == ([2], [30])
    assert made.recurrence.schedule.week_days == ["Monday", "Thursday"]
    assert made.recurrence.time_zone == "W. Europe Standard Time"


def test_a_schedule_is_changed_disabled_and_enabled(cloud: Cloud, publish: Callable[..., None]) -> None:
    publish(frequency="day")
    publish(frequency="hour", interval="6")
    (made,) = schedules(cloud)
    assert (made.recurrence.frequency, made.recurrence.interval) == ("Hour", 6)
    publish()
    assert schedules(cloud) == []
    publish(frequency="hour", interval="6")
    assert [each.id for each in schedules(cloud)] == [made.id]
    assert len(cloud.area(Pipelines).schedules) == 1


def test_when_its_time_comes_a_job_begins_a_run_of_its_own(
    cloud: Cloud, publish: Callable[..., None]
) -> None:
    publish(frequency="day")
    (made,) = schedules(cloud)
    job = pipeline_jobs.fire(cloud, made.id)
    assert projects.ended(AzureRetraining(Site()), job).state == "succeeded"
    assert cloud.area(Jobs).found[job].entity.run_history_experiment_name == "retrain-diabetes"


def test_two_who_publish_at_once_leave_one_schedule(
    cloud: Cloud, publish: Callable[..., None], stint: Stint
) -> None:
    publish()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv(PREFIX + "FREQUENCY", "day")
        list(pool.map(lambda _: AzureRetraining(Site()).publish(stint), range(2)))
    assert len(schedules(cloud)) == 1


def test_an_answer_that_was_lost_leaves_one_schedule(cloud: Cloud, publish: Callable[..., None]) -> None:
    cloud.faults.add("POST", "/Schedules/Create", [faults.lost()])
    publish(frequency="day")
    assert len(cloud.area(Pipelines).schedules) == 1
    assert cloud.faults.left == 0


def test_schedules_of_other_names_are_left_alone(cloud: Cloud, publish: Callable[..., None]) -> None:
    publish(frequency="day")
    (made,) = schedules(cloud)
    made.name = "by hand"
    publish()
    assert schedules(cloud) == [made]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"frequency": "day", "time_zone": "Europe/Berlin"}, "'Europe/Berlin' is not a valid TimeZone"),
        ({"frequency": "hour", "at": "02:30"}, "hours if frequency is Week or Day"),
        ({"frequency": "day", "week_days": "Monday"}, "week days if frequency is Week"),
    ],
)
def test_a_schedule_that_can_not_be_is_refused(
    cloud: Cloud, publish: Callable[..., None], given: dict[str, str], words: str
) -> None:
    with pytest.raises(PlatformError, match=f"The schedule of retrain-diabetes can't be set: .*{words}"):
        publish(**given)
    assert writes(cloud) == 0


def test_a_schedule_that_azure_can_not_set_up_is_told(cloud: Cloud, publish: Callable[..., None]) -> None:
    cloud.area(Pipelines).unprovisioned = True
    with pytest.raises(PlatformError, match="Azure could not set up the schedule retrain-diabetes"):
        publish(frequency="day")
