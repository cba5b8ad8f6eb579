"""Jobs of pipelines: submitted by an endpoint, a pipeline or a schedule, and really run, node after node."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure.cloud.computes import Computes
from tests.azure.cloud.exact import make
from tests.azure.cloud.history import History
from tests.azure.cloud.pipeline_nodes import Execution, NodeError, Place
from tests.azure.cloud.pipelines import Pipelines, entity
from tests.azure.cloud.routing import identity
from tests.azure.cloud.server import Cloud

ENDED = ("Finished", "Failed", "Canceled")
# The words that run history has for the same.
_HISTORY = {"Finished": "Completed", "Failed": "Failed", "Canceled": "Canceled"}
# How Azure ML calls whatever ends with another code than 0.
NOT_ZERO = (
    "AzureMLCompute job failed.\nJobFailed: Submitted script failed with a non-zero exit code; "
    "see the driver log file for details."
)


@dataclass
class Job:
    """A job, with the state of its nodes.

    Attributes
    ----------
    entity : PipelineRunEntity
    nodes : dict
        TaskStatus by the node's id.
    """

    entity: Any
    place: Place
    nodes: dict[str, Any] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    execution: Execution | None = None


@dataclass
class Jobs:
    """All jobs, and what a test wants of those to come.

    Attributes
    ----------
    environ : dict
        Further variables for the processes of nodes.
    minutes : float
        How long the token is good for that a node's process is given.
    between : list of callable
        Called before each node begins, with the step's name.
    unseen : bool
        Whether the run history is behind: a job is seen there only when it has ended.
    """

    found: dict[str, Job] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    minutes: float = 60
    between: list[Callable[[str], object]] = field(default_factory=list)
    unseen: bool = False


def submit(cloud: Cloud, pipeline: str, sent: Any, place: Place) -> Any:
    """Begin a job of a published pipeline; return its entity."""
    from azureml.pipeline.core._restclients.aeva.models import (
        PipelineRunEntity,
        PipelineRunStatus,
        TaskStatus,
    )

    known, now = cloud.area(Pipelines), datetime.now(UTC)
    published = known.pipelines[pipeline]
    made = entity(
        PipelineRunEntity,
        description=sent.description,
        status=make(PipelineRunStatus, status_code="NotStarted", creation_time=now),
        graph_id=published.graph_id,
        is_submitted=True,
        has_errors=False,
        has_warnings=False,
        upload_state="Completed",
        parameter_assignments=sent.parameter_assignments or {},
        data_set_definition_value_assignments={},
        run_history_experiment_name=sent.experiment_name,
        pipeline_id=pipeline,
        run_source=sent.run_source or "Unavailable",
        run_type=sent.run_type or "HTTP",
        total_run_steps=published.total_run_steps,
        schedule_id=sent.schedule_id,
        tags=sent.tags or {},
        properties=sent.properties or {},
    )
    if not cloud.area(Jobs).unseen:
        _appear(cloud, made)
    job = Job(made, place)
    graph = known.graphs[made.graph_id]
    for each in graph.module_nodes:
        job.nodes[each.id] = make(TaskStatus, status_code="NotStarted", creation_time=now, has_warnings=False)
    cloud.area(Jobs).found[made.id] = job
    thread = cloud.background(lambda: run(cloud, job))

    def close() -> None:
        end(cloud, job)
        thread.join()

    cloud.at_end(close)
    return made


def _appear(cloud: Cloud, made: Any) -> None:
    """Let a job be seen in the run history."""
    cloud.area(History).begin(
        made.id,
        made.run_history_experiment_name,
        run_type="azureml.PipelineRun",
        properties={
            "azureml.runsource": "azureml.PipelineRun",
            "runSource": made.run_source,
            "runType": made.run_type,
            "azureml.parameters": json.dumps(made.parameter_assignments),
            "azureml.pipelineid": made.pipeline_id,
            **made.properties,
        },
        tags=dict(made.tags),
    )


def version(endpoint: Any, number: str) -> str:
    """Return the id of the pipeline of an endpoint's version, by default the default one."""
    wanted = number or endpoint.default_version
    return str(next(each.pipeline_id for each in endpoint.pipeline_version_list if each.version == wanted))


def fire(cloud: Cloud, schedule: str) -> str:
    """Let the time of a schedule come; return the job's id."""
    pipelines = cloud.area(Pipelines)
    found = pipelines.schedules[schedule]
    endpoint = pipelines.endpoints[found.pipeline_endpoint_id]
    sent = found.pipeline_submission_info
    sent.schedule_id, sent.run_type = schedule, "Schedule"
    with cloud.lock:
        return str(submit(cloud, version(endpoint, ""), sent, Place.of(endpoint.url)).id)


def run(cloud: Cloud, job: Job) -> None:
    """Run the nodes of a job in their order, until one fails or the job is cancelled."""
    pipelines, jobs, computes = cloud.area(Pipelines), cloud.area(Jobs), cloud.area(Computes)
    graph = pipelines.graphs[job.entity.graph_id]
    outcome = "Finished"
    with cloud.lock:
        _become(cloud, job, "Running")
    for node in _ordered(graph):
        module = pipelines.modules[node.module_id]
        with cloud.lock:
            _queue(cloud, job, node, module)
        while not computes.nodes and not job.cancelled.wait(0.02):
            pass
        for call in jobs.between:
            call(module.name)
        status = "Canceled" if job.cancelled.is_set() else _run_node(cloud, job, graph, node, module)
        with cloud.lock:
            _end_node(cloud, job, node, status)
        if status != "Finished":
            outcome = status
            break
    with cloud.lock:
        for each in job.nodes.values():
            if each.status_code == "NotStarted":
                each.status_code = "Canceled"
        _become(cloud, job, outcome)


def end(cloud: Cloud, job: Job) -> None:
    """End a job and whatever runs of it."""
    job.cancelled.set()
    if job.execution is not None:
        job.execution.end()


def _run_node(cloud: Cloud, job: Job, graph: Any, node: Any, module: Any) -> str:
    """Run a node's process; return what it has become."""
    status, jobs = job.nodes[node.id], cloud.area(Jobs)
    history = cloud.area(History)
    found = history.runs[status.run_id]
    with cloud.lock:
        status.status_code, status.start_time = "Running", datetime.now(UTC)
        history.happened(found, "Start", {})
    job.execution = Execution(cloud, job.place, job.entity, graph, node, module, status.run_id, job.nodes)
    try:
        code = job.execution.run(jobs.environ, jobs.minutes)
    except NodeError as error:
        return _failed(found, status, str(error))
    if job.cancelled.is_set():
        return "Canceled"
    return "Finished" if code == 0 else _failed(found, status, NOT_ZERO)


def _failed(found: Any, status: Any, message: str) -> str:
    from azureml._restclient.models import ErrorResponse, RootError

    error = make(RootError, code="UserError", message=message)
    correlation = {"operation": identity(), "request": identity()}
    found.error = make(ErrorResponse, error=error, correlation=correlation)
    status.status_detail = None
    return "Failed"


def _queue(cloud: Cloud, job: Job, node: Any, module: Any) -> None:
    status = job.nodes[node.id]
    status.status_code, status.run_id, status.schedule_time = "Queued", identity(), datetime.now(UTC)
    made = cloud.area(History).begin(
        status.run_id,
        job.entity.run_history_experiment_name,
        parent_run_id=job.entity.id,
        run_type="azureml.StepRun",
        name=module.name,
        properties={
            "azureml.runsource": "azureml.StepRun",
            "azureml.nodeid": node.id,
            "azureml.moduleid": module.id,
            "azureml.moduleName": module.name,
            "azureml.pipelinerunid": job.entity.id,
            "ContentSnapshotId": module.data_location.storage_id,
            "StepType": module.step_type,
        },
        tags={"azureml.pipeline": job.entity.id, "azureml.nodeid": node.id},
    )
    made.status = "Queued"


def _end_node(cloud: Cloud, job: Job, node: Any, outcome: str) -> None:
    status, history = job.nodes[node.id], cloud.area(History)
    status.status_code, status.end_time = outcome, datetime.now(UTC)
    if status.run_id:
        history.happened(history.runs[status.run_id], _HISTORY[outcome], {})


def _become(cloud: Cloud, job: Job, status: str) -> None:
    history = cloud.area(History)
    job.entity.status.status_code = status
    if job.entity.id not in history.runs:
        if status not in ENDED:
            return
        _appear(cloud, job.entity)
    found = history.runs[job.entity.id]
    if status in ENDED:
        job.entity.status.end_time = datetime.now(UTC)
        history.happened(found, _HISTORY[status], {})
    else:
        history.happened(found, "Start", {})


def _ordered(graph: Any) -> list[Any]:
    """Return the nodes, each after those whose output it takes."""
    before: Mapping[str, set[str]] = {each.id: set() for each in graph.module_nodes}
    for edge in graph.edges:
        before[edge.destination_input_port.node_id].add(edge.source_output_port.node_id)
    found: list[Any] = []
    while len(found) < len(graph.module_nodes):
        done = {each.id for each in found}
        found += [each for each in graph.module_nodes if each.id not in done and before[each.id] <= done]
    return found
