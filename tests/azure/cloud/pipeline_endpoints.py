"""Pipeline endpoints, which are stable names for published pipelines, and their schedules."""

from __future__ import annotations

from typing import Any

from tests.azure.cloud.pipelines import PIPELINES, STATUS, Pipelines, address, denied, entity, wanted
from tests.azure.cloud.routing import Answer, Request, route
from tests.azure.cloud.server import Cloud

_CONFLICT = "Response status code does not indicate success: 409 (Conflict). Failed to add item to collection"


@route("POST", PIPELINES + "/PipelineEndpoints/Create")
def create(cloud: Cloud, request: Request) -> Answer:
    """Make an endpoint; a second one of a name is refused."""
    from azureml.pipeline.core._restclients.aeva.models import (
        PipelineEndpointCreationInfo,
        PipelineEndpointEntity,
        PipelineVersion,
    )

    sent, pipelines = request.model(PipelineEndpointCreationInfo), cloud.area(Pipelines)
    if sent.pipeline_id not in pipelines.pipelines:
        return denied(400, f"There is no pipeline {sent.pipeline_id}.")
    taken = any(each.name == sent.name for each in pipelines.endpoints.values())
    if taken and not pipelines.twins:
        return denied(409, f"{_CONFLICT}: PipelineEndpoint.")
    made = entity(
        PipelineEndpointEntity,
        name=sent.name,
        description=sent.description,
        default_version="0",
        pipeline_version_list=[make_version(PipelineVersion, "0", sent.pipeline_id)],
        properties=sent.properties or {},
        tags={},
    )
    made.url = address(request, f"PipelineRuns/PipelineEndpointSubmit/Id/{made.id}")
    made.swaggerurl = address(request, f"PipelineEndpoints/Swagger/{made.id}")
    pipelines.endpoints[made.id] = made
    return denied(409, f"{_CONFLICT}: PipelineEndpoint.") if taken else Answer(body=made)


def make_version(model: type, number: str, pipeline: str) -> Any:
    """Return a version of an endpoint."""
    return model(version=number, pipeline_id=pipeline)


@route("GET", PIPELINES + "/PipelineEndpoints")
def listing(cloud: Cloud, request: Request) -> Answer:
    """List endpoints: as many as a header says, or a hundred."""
    found = wanted(request, cloud.area(Pipelines).endpoints.values())
    return Answer(body=found[: int(request.headers.get("batchsize", 100))])


@route("GET", PIPELINES + "/PipelineEndpoints/Id/{endpoint}")
def by_id(cloud: Cloud, request: Request) -> Answer:
    """Return an endpoint."""
    found = cloud.area(Pipelines).endpoints.get(request.names["endpoint"])
    return Answer(body=found) if found else denied(404, "PipelineEndpoint not found.")


@route("GET", PIPELINES + "/PipelineEndpoints/Name")
def by_name(cloud: Cloud, request: Request) -> Answer:
    """Return an endpoint by its name."""
    for found in cloud.area(Pipelines).endpoints.values():
        if found.name == request.query["Name"]:
            return Answer(body=found)
    return denied(404, "PipelineEndpoint name not found.")


@route("PUT", PIPELINES + "/PipelineEndpoints/{endpoint}")
def change(cloud: Cloud, request: Request) -> Answer:
    """Put a changed endpoint in the place of the one before: who comes last counts."""
    from azureml.pipeline.core._restclients.aeva.models import PipelineEndpointEntity

    sent, pipelines = request.model(PipelineEndpointEntity), cloud.area(Pipelines)
    before = pipelines.endpoints[request.names["endpoint"]]
    if pipelines.strict and sent.etag != before.etag:
        return denied(412, "The entity has been changed meanwhile.")
    if sent.default_version not in [each.version for each in sent.pipeline_version_list]:
        return denied(400, f"There is no version {sent.default_version}.")
    sent.etag = entity(PipelineEndpointEntity).etag
    sent.entity_status = STATUS.get(sent.entity_status, sent.entity_status)
    pipelines.endpoints[sent.id] = sent
    return Answer(body=sent)


@route("GET", PIPELINES + "/PipelineEndpoints/{endpoint}/pipelines")
def pipelines_of(cloud: Cloud, request: Request) -> Answer:
    """List the published pipelines of an endpoint."""
    pipelines = cloud.area(Pipelines)
    versions = pipelines.endpoints[request.names["endpoint"]].pipeline_version_list
    return Answer(body=wanted(request, [pipelines.pipelines[each.pipeline_id] for each in versions]))


@route("POST", PIPELINES + "/Schedules/Create")
def create_schedule(cloud: Cloud, request: Request) -> Answer:
    """Make a schedule, which is set up in a while."""
    from azureml.pipeline.core._restclients.aeva.models import PipelineScheduleEntity, ScheduleCreationInfo

    sent = request.model(ScheduleCreationInfo)
    made = entity(
        PipelineScheduleEntity,
        name=sent.name,
        pipeline_id=sent.pipeline_id,
        pipeline_endpoint_id=sent.pipeline_endpoint_id,
        pipeline_submission_info=sent.pipeline_submission_info,
        recurrence=sent.recurrence,
        schedule_type="Recurrence" if sent.schedule_type == "0" else "DataStore",
        provisioning_status="Provisioning",
    )
    cloud.area(Pipelines).schedules[made.id] = made
    return Answer(body=made)


@route("GET", PIPELINES + "/Schedules/{schedule}")
def schedule(cloud: Cloud, request: Request) -> Answer:
    """Return a schedule; the second look finds it set up."""
    found = cloud.area(Pipelines).schedules.get(request.names["schedule"])
    if found is None:
        return denied(404, "Schedule not found.")
    answer = Answer(body=found.serialize(keep_readonly=True))
    if found.provisioning_status == "Provisioning":
        failed = cloud.area(Pipelines).unprovisioned
        found.provisioning_status = "Failed" if failed else "Completed"
    return answer


@route("PUT", PIPELINES + "/Schedules/{schedule}")
def change_schedule(cloud: Cloud, request: Request) -> Answer:
    """Put a changed schedule in the place of the one before."""
    from azureml.pipeline.core._restclients.aeva.models import PipelineScheduleEntity

    sent = request.model(PipelineScheduleEntity)
    sent.entity_status = STATUS.get(sent.entity_status, sent.entity_status)
    sent.provisioning_status = "Provisioning"
    cloud.area(Pipelines).schedules[request.names["schedule"]] = sent
    return Answer(body=sent)


@route("GET", PIPELINES + "/Schedules/PipelineEndpoint/{endpoint}")
def schedules_of(cloud: Cloud, request: Request) -> Answer:
    """List the schedules of an endpoint, whatever their state."""
    known = cloud.area(Pipelines).schedules.values()
    return Answer(body=[each for each in known if each.pipeline_endpoint_id == request.names["endpoint"]])
