"""When the retraining pipeline is run by itself: one schedule for its endpoint, as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import sdk
from utils.platforms.azureml.faults import speaking
from utils.platforms.azureml.waiting import wait_for
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.options import Schedule
    from utils.platforms.azureml.workspace import Site

ACTIVE = "Active"
SECONDS = 600


def settle(site: Site, endpoint: Any, experiment: str, given: Schedule) -> None:
    """Make, change, enable or disable the schedule of an endpoint, so that it is as the settings say.

    Schedules that somebody has made for the endpoint by hand, under other names, are left alone.

    Parameters
    ----------
    endpoint : azureml.pipeline.core.PipelineEndpoint
        Whose default version is run.
    experiment : str
        Among whose runs its jobs are.

    Raises
    ------
    PlatformError
        If it can't be made or changed, or Azure hasn't been able to.
    """
    with speaking(f"The schedule of {endpoint.name} can't be set"), sdk.quiet():
        if not given.frequency:
            for each in site.retried(lambda: _listed(site, endpoint)):
                _disable(site, each)
            return
        mine = site.retried(lambda: _listed(site, endpoint) or _created(site, endpoint, experiment, given))
        # Two who publish at once may each have made one: both keep the same.
        first, *others = site.retried(lambda: _listed(site, endpoint)) or mine
        for each in others:
            _disable(site, each)
        if _fields(first.recurrence, given) != _fields(_recurrence(given), given):
            site.retried(
                lambda: first.update(recurrence=_recurrence(given), description=given.words, status=ACTIVE)
            )
        elif first.status != ACTIVE:
            site.retried(first.enable)
        _provisioned(site, first)


def _listed(site: Site, endpoint: Any) -> list[Any]:
    """Return the schedules of the endpoint that were made here."""
    from azureml.pipeline.core import Schedule as AzureSchedule

    found = AzureSchedule.list(site.workspace, pipeline_endpoint_id=endpoint.id)
    return sorted((each for each in found if each.name == endpoint.name), key=lambda each: str(each.id))


def _created(site: Site, endpoint: Any, experiment: str, given: Schedule) -> list[Any]:
    from azureml.pipeline.core import Schedule as AzureSchedule

    return [
        AzureSchedule.create_for_pipeline_endpoint(
            site.workspace,
            endpoint.name,
            endpoint.id,
            experiment,
            recurrence=_recurrence(given),
            description=given.words,
        )
    ]


def _disable(site: Site, schedule: Any) -> None:
    if schedule.status == ACTIVE:
        site.retried(schedule.disable)


def _provisioned(site: Site, schedule: Any) -> None:
    """Wait until Azure has set the schedule up; the SDK's own way of waiting takes any end for one."""

    def look() -> tuple[bool | None, str]:
        state = site.retried(
            lambda: schedule._schedule_provider.get_schedule_provisioning_status(schedule.id)
        )
        if state == "Failed":
            raise PlatformError(
                f"Azure could not set up the schedule {schedule.name}: look at it in the studio (Endpoints, "
                "Pipeline endpoints), or publish again."
            )
        return (None if state == "Provisioning" else True), str(state)

    wait_for(f"The schedule {schedule.name}", look, timeout=SECONDS, interval=site.settings.poll_seconds)


def _recurrence(given: Schedule) -> Any:
    from azureml.pipeline.core import ScheduleRecurrence, TimeZone

    return ScheduleRecurrence(
        frequency=given.frequency.title(),
        interval=given.interval,
        start_time=given.start or None,
        time_zone=TimeZone(given.time_zone),
        time_of_day=given.at or None,
        week_days=list(given.days) or None,
    )


def _fields(recurrence: Any, given: Schedule) -> tuple[Any, ...]:
    """Return what two recurrences are compared by. Where no start is asked for, Azure may have its own."""
    start = str(recurrence.start_time or "")[:19] if given.start else ""
    at = tuple((tuple(each) if each else None) for each in (recurrence.hours, recurrence.minutes))
    return (
        recurrence.frequency,
        recurrence.interval,
        start,
        recurrence.time_zone,
        *at,
        tuple(recurrence.week_days or ()),
    )
