"""The calls that begin, show and cancel jobs of pipelines."""

from __future__ import annotations

from tests.azure.cloud.pipeline_jobs import ENDED, Jobs, end, submit, version
from tests.azure.cloud.pipeline_nodes import Place
from tests.azure.cloud.pipelines import PIPELINES, Pipelines, denied
from tests.azure.cloud.routing import Answer, Request, route
from tests.azure.cloud.server import Cloud


@route("POST", PIPELINES + "/PipelineRuns/PipelineEndpointSubmit/Id/{endpoint}")
@route("POST", PIPELINES + "/PipelineRuns/PipelineEndpointSubmit/Id/{endpoint}/{version}")
def submit_endpoint(cloud: Cloud, request: Request) -> Answer:
    """Begin a job of an endpoint's version, by default the default one."""
    endpoint = cloud.area(Pipelines).endpoints.get(request.names["endpoint"])
    if endpoint is None or endpoint.entity_status != "Active":
        return denied(404, "PipelineEndpoint not found, or not active.")
    return _submitted(cloud, request, version(endpoint, request.names.get("version", "")))


@route("POST", PIPELINES + "/PipelineRuns/PipelineSubmit/{pipeline}")
def submit_pipeline(cloud: Cloud, request: Request) -> Answer:
    """Begin a job of a published pipeline."""
    return _submitted(cloud, request, request.names["pipeline"])


def _submitted(cloud: Cloud, request: Request, pipeline: str) -> Answer:
    from azureml.pipeline.core._restclients.aeva.models import PipelineSubmissionInfo

    sent, found = request.model(PipelineSubmissionInfo), cloud.area(Pipelines).pipelines.get(pipeline)
    if found is None or found.entity_status != "Active":
        return denied(400, f"The pipeline {pipeline} isn't active.")
    if not sent.experiment_name:
        return denied(400, "ExperimentName is missing.")
    unknown = sorted(set(sent.parameter_assignments or {}) - set(found.parameter_assignments))
    if unknown:
        return denied(400, f"The pipeline has no parameter {', '.join(unknown)}.")
    return Answer(body=submit(cloud, pipeline, sent, Place.of(request.path)))


@route("GET", PIPELINES + "/PipelineRuns/{job}")
def read(cloud: Cloud, request: Request) -> Answer:
    """Return a job."""
    found = cloud.area(Jobs).found.get(request.names["job"])
    return Answer(body=found.entity) if found else denied(404, "PipelineRun not found.")


@route("GET", PIPELINES + "/PipelineRuns/Pipeline/{pipeline}")
def jobs_of(cloud: Cloud, request: Request) -> Answer:
    """List the jobs of a published pipeline."""
    known = cloud.area(Jobs).found.values()
    return Answer(
        body=[each.entity for each in known if each.entity.pipeline_id == request.names["pipeline"]]
    )


@route("POST", PIPELINES + "/PipelineRuns/{job}/Graph/AllNodes/Status")
def nodes(cloud: Cloud, request: Request) -> Answer:
    """Return the state of each node."""
    if request.json != []:
        return denied(400, "There are no graphs within graphs.")
    return Answer(body=cloud.area(Jobs).found[request.names["job"]].nodes)


@route("DELETE", PIPELINES + "/PipelineRuns/{job}/Execution")
def cancel(cloud: Cloud, request: Request) -> Answer:
    """Cancel a job."""
    found = cloud.area(Jobs).found[request.names["job"]]
    if found.entity.status.status_code in ENDED:
        return denied(400, "The run has ended already.")
    cloud.background(lambda: end(cloud, found))
    return Answer()
