"""Run history: experiments, their runs, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.azure.cloud import filters, tokens
from tests.azure.cloud.exact import make, parse
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, missing, refused, route
from tests.azure.cloud.server import Cloud

HISTORY = "/history/v1.0" + WORKSPACE
BY_NAME = HISTORY + "/experiments/{experiment}"
BY_ID = HISTORY + "/experimentids/{experiment}"
EVENT = "Microsoft.MachineLearning.Run."
ENDED = ("Completed", "Failed", "Canceled")

# "Service limits in Azure Machine Learning", runs.
NUMBER = 50
KEY_LENGTH = 100
VALUE_LENGTH = 1000


class RefusedError(Exception):
    """What the service refuses; it becomes the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.answer = refused(status, "UserError", message)


@dataclass
class History:
    """All experiments and runs.

    Attributes
    ----------
    experiments : dict
        ExperimentDto by name.
    runs : dict
        RunDto by id.
    settling : int
        How often a run that has ended is seen as "Finalizing" before it is what it has become.
    """

    experiments: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    settling: int = 1
    _pending: dict[str, tuple[int, str]] = field(default_factory=dict)

    def experiment(self, name: str) -> Any:
        """Return an experiment, made if there is none of that name."""
        from azureml._restclient.models import ExperimentDto

        if name not in self.experiments:
            self.experiments[name] = make(
                ExperimentDto,
                experiment_id=identity(),
                name=name,
                description="",
                created_utc=datetime.now(UTC),
                tags={},
            )
        return self.experiments[name]

    def named(self, key: str) -> str:
        """Return the name of an experiment that is called by its name or by its id."""
        for name, found in self.experiments.items():
            if key in (name, found.experiment_id):
                return name
        raise RefusedError(f"Experiment {key} not found.", 404)

    def begin(self, run: str, experiment: str, **values: Any) -> Any:
        """Return a new run."""
        from azureml._restclient.models import CreatedByDto, RunDto

        parent = self.runs.get(values.get("parent_run_id") or "")
        made = make(
            RunDto,
            **{
                "run_id": run,
                "run_uuid": identity(),
                "run_number": len(self.runs) + 1,
                "root_run_id": parent.root_run_id if parent else run,
                "root_run_uuid": parent.root_run_uuid if parent else identity(),
                "experiment_id": self.experiment(experiment).experiment_id,
                "data_container_id": f"dcid.{run}",
                "status": "NotStarted",
                "created_utc": datetime.now(UTC),
                "user_id": tokens.OBJECT,
                "heartbeat_enabled": False,
                "hidden": False,
                "display_name": run,
                "properties": {},
                "tags": {},
                "created_by": make(CreatedByDto, user_object_id=tokens.OBJECT, user_tenant_id=tokens.TENANT),
                **values,
            },
        )
        self.runs[run] = made
        return made

    def change(self, found: Any, sent: Any) -> None:
        """Take over what a caller sends: tags may be changed, properties only be added."""
        _demand_limits(found.tags | (sent.tags or {}), "tag")
        _demand_limits(found.properties | (sent.properties or {}), "property")
        for name, value in (sent.properties or {}).items():
            if found.properties.get(name, value) != value:
                raise RefusedError(f"The property {name} is immutable and can't be changed.")
        found.tags |= sent.tags or {}
        found.properties |= sent.properties or {}
        for name in ("display_name", "description", "status", "name", "target", "script_name"):
            if getattr(sent, name) is not None:
                setattr(found, name, getattr(sent, name))

    def happened(self, found: Any, event: str, data: Mapping[str, Any]) -> None:
        """Let something happen to a run, by the event's name without its prefix."""
        from azureml._restclient.models import ErrorResponse

        if event == "Start":
            found.status, found.start_time_utc = "Running", datetime.now(UTC)
        elif event in ENDED:
            found.end_time_utc = datetime.now(UTC)
            found.status = "Finalizing" if self.settling else event
            self._pending[found.run_id] = (self.settling, event)
        elif event == "Error":
            found.error = parse(ErrorResponse, data["ErrorResponse"])
        elif event not in ("Heartbeat", "Warning", "CancelRequested"):
            raise RefusedError(f"There is no event {event}.")

    def look(self, run: str) -> Any:
        """Return a run, which time has gone on for a little; or refuse an unknown one."""
        if run not in self.runs:
            raise RefusedError(f"Run {run} was not found.", 404)
        found = self.runs[run]
        if run in self._pending:
            left, status = self._pending.pop(run)
            if left > 0:
                self._pending[run] = (left - 1, status)
            else:
                found.status = status
        return found


def _demand_limits(values: Mapping[str, Any], what: str) -> None:
    if len(values) > NUMBER:
        raise RefusedError(f"A run can't have more than {NUMBER} of a {what}.")
    for name, value in values.items():
        if len(name) > KEY_LENGTH:
            raise RefusedError(f"The key of the {what} {name[:20]}… is longer than {KEY_LENGTH} characters.")
        if len(value or "") > VALUE_LENGTH:
            raise RefusedError(f"The value of the {what} {name} is longer than {VALUE_LENGTH} characters.")


@route("GET|POST", BY_NAME)
def experiment(cloud: Cloud, request: Request) -> Answer:
    """Return an experiment by its name, or make it."""
    history, name = cloud.area(History), request.names["experiment"]
    if request.method == "GET" and name not in history.experiments:
        return missing("UserError", f"Experiment {name} not found.")
    return Answer(body=history.experiment(name))


@route("GET", BY_ID)
def experiment_by_id(cloud: Cloud, request: Request) -> Answer:
    """Return an experiment by its id."""
    history = cloud.area(History)
    try:
        return Answer(body=history.experiments[history.named(request.names["experiment"])])
    except RefusedError as error:
        return error.answer


@route("GET", HISTORY + "/runs/{run}")
@route("GET", BY_NAME + "/runs/{run}")
@route("GET", BY_ID + "/runs/{run}")
def read_run(cloud: Cloud, request: Request) -> Answer:
    """Return a run."""
    try:
        return Answer(body=cloud.area(History).look(request.names["run"]))
    except RefusedError as error:
        return error.answer


@route("PATCH", BY_NAME + "/runs/{run}")
@route("PATCH", BY_ID + "/runs/{run}")
def write_run(cloud: Cloud, request: Request) -> Answer:
    """Change a run, or begin one."""
    from azureml._restclient.models import CreateRunDto

    history, run, sent = cloud.area(History), request.names["run"], request.model(CreateRunDto)
    try:
        name = history.named(request.names["experiment"])
        if run not in history.runs:
            history.begin(
                run,
                name,
                parent_run_id=sent.parent_run_id,
                run_type=sent.run_type,
                run_type_v2=sent.run_type_v2,
            )
        history.change(history.runs[run], sent)
    except RefusedError as error:
        return error.answer
    return Answer(body=history.runs[run])


@route("POST", BY_NAME + "/runs/{run}/events")
@route("POST", BY_ID + "/runs/{run}/events")
def event(cloud: Cloud, request: Request) -> Answer:
    """Let something happen to a run."""
    from azureml._restclient.models import BaseEvent

    history, sent = cloud.area(History), request.model(BaseEvent)
    try:
        history.happened(history.look(request.names["run"]), sent.name.removeprefix(EVENT), sent.data)
    except RefusedError as error:
        return error.answer
    return Answer()


@route("GET", BY_NAME + "/runs/{run}/details")
def details(cloud: Cloud, request: Request) -> Answer:
    """Return a run's details."""
    from azureml._restclient.models import RunDetailsDto

    try:
        found = cloud.area(History).look(request.names["run"])
    except RefusedError as error:
        return error.answer
    shown = {
        name: getattr(found, name)
        for name in ("run_id", "target", "status", "start_time_utc", "end_time_utc", "error", "properties")
    }
    return Answer(
        body=make(RunDetailsDto, **shown, run_definition=found.run_definition, services={}, log_files={})
    )


@route("GET", BY_NAME + "/runs/{run}/children")
def children(cloud: Cloud, request: Request) -> Answer:
    """List a run's children."""
    from azureml._restclient.models import PaginatedRunDto

    runs = cloud.area(History).runs.values()
    found = [each for each in runs if each.parent_run_id == request.names["run"]]
    return Answer(body=make(PaginatedRunDto, value=found))


@route("POST", BY_NAME + "/runs:query")
def query(cloud: Cloud, request: Request) -> Answer:
    """List an experiment's runs, newest first."""
    from azureml._restclient.models import PaginatedRunDto, QueryParamsDto

    history, asked = cloud.area(History), request.model(QueryParamsDto)
    named = history.experiments.get(request.names["experiment"])
    found = [each for each in history.runs.values() if named and each.experiment_id == named.experiment_id]
    if asked.filter:
        found = [each for each in found if filters.fits(each, asked.filter)]
    return Answer(body=make(PaginatedRunDto, value=found[::-1]))


@route("POST", BY_NAME + "/runs/{run}/token")
@route("POST", BY_ID + "/runs/{run}/token")
@route("GET", BY_NAME + "/runs/{run}/token")
def token(cloud: Cloud, request: Request) -> Answer:
    """Give a run's process a new token."""
    from azureml._restclient.models import TokenResult

    until = datetime.now(UTC) + timedelta(minutes=60)
    return Answer(body=make(TokenResult, token=cloud.token(60), expiry_time_utc=until))
