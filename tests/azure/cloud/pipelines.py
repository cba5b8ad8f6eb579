"""Pipelines: modules, graphs, published pipelines, endpoints and schedules. `jobs` runs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure import names
from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, route
from tests.azure.cloud.server import Cloud

PIPELINES = "/pipelines/v1.0" + WORKSPACE
# Which the service knows; the SDK makes the others.
_TYPES = ("AnyFile", "AnyDirectory", "DataFrame", "ZipFile")
STATUS = {"0": "Active", "1": "Deprecated", "2": "Disabled"}


@dataclass
class Pipelines:
    """What was made, each kind by its id.

    Attributes
    ----------
    modules : dict
        ModuleEntity, with its properties.
    graphs, interfaces : dict
        GraphEntity and EntityInterface, by the graph's id.
    pipelines, endpoints, schedules : dict
        PipelineEntity, PipelineEndpointEntity, PipelineScheduleEntity.
    strict : bool
        Whether an endpoint that somebody else has changed meanwhile can't be changed. Nobody knows.
    twins : bool
        Whether a second endpoint of a name is refused, but made all the same, as has been seen.
    unprovisioned : bool
        Whether schedules can't be set up.
    """

    types: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, Any] = field(default_factory=dict)
    graphs: dict[str, Any] = field(default_factory=dict)
    interfaces: dict[str, Any] = field(default_factory=dict)
    pipelines: dict[str, Any] = field(default_factory=dict)
    endpoints: dict[str, Any] = field(default_factory=dict)
    schedules: dict[str, Any] = field(default_factory=dict)
    strict: bool = False
    twins: bool = False
    unprovisioned: bool = False

    def graph(self, sent: Any, interface: Any) -> Any:
        """Keep a graph; return it."""
        from azureml.pipeline.core._restclients.aeva.models import GraphEntity

        made = entity(
            GraphEntity,
            module_nodes=sent.module_nodes,
            dataset_nodes=sent.dataset_nodes or [],
            edges=sent.edges or [],
        )
        self.graphs[made.id], self.interfaces[made.id] = made, interface
        return made


def denied(status: int, message: str) -> Answer:
    """Return an error as this service writes it: with capitals."""
    from azureml.pipeline.core._restclients.aeva.models import ErrorResponse, RootError

    error = make(RootError, code="UserError", message=message)
    correlation = {"operation": identity(), "request": identity()}
    return Answer(status, make(ErrorResponse, error=error, correlation=correlation))


def entity(model: type, **values: Any) -> Any:
    """Return a new entity of the service."""
    now = datetime.now(UTC)
    known = getattr(model, "_attribute_map", {})
    times: dict[str, Any] = {"created_date": now, "last_modified_date": now}
    if known["created_date"]["type"] == "str":
        times = {name: value.isoformat() for name, value in times.items()}
    common = {"id": identity(), "etag": f'"{identity()}"', "entity_status": "Active", **times}
    return make(model, **common, **values)


def address(request: Request, path: str) -> str:
    """Return an address of the service, in the workspace of a request."""
    head = request.path.lower().index("/workspaces/") + len("/workspaces/")
    workspace = request.path[head:].split("/")[0]
    return f"https://{names.SERVICES}{request.path[:head]}{workspace}/{path}"


@route("GET", PIPELINES + "/DataTypes")
def types(cloud: Cloud, request: Request) -> Answer:
    """List the types of data."""
    from azureml.pipeline.core._restclients.aeva.models import DataTypeEntity

    known = cloud.area(Pipelines).types
    for name in _TYPES:
        if name not in known:
            known[name] = entity(DataTypeEntity, name=name, is_directory=name == "AnyDirectory")
            known[name].id = name
    return Answer(body=list(known.values()))


@route("POST", PIPELINES + "/DataTypes")
def create_type(cloud: Cloud, request: Request) -> Answer:
    """Make a type of data."""
    from azureml.pipeline.core._restclients.aeva.models import DataTypeCreationInfo, DataTypeEntity

    sent = request.model(DataTypeCreationInfo)
    if sent.id in cloud.area(Pipelines).types:
        return denied(409, f"DataType {sent.id} already exists.")
    made = entity(
        DataTypeEntity, name=sent.name, description=sent.description, is_directory=sent.is_directory
    )
    made.id, made.parent_data_type_ids = sent.id, sent.parent_data_type_ids
    cloud.area(Pipelines).types[sent.id] = made
    return Answer(body=made)


@route("GET", PIPELINES + "/Modules/Hash/{hash}")
def module_by_hash(cloud: Cloud, request: Request) -> Answer:
    """Return the module that was made with a hash."""
    for each in cloud.area(Pipelines).modules.values():
        if each.identifier_hash == request.names["hash"]:
            return Answer(body=_shown(each))
    return denied(404, "There is no module of that hash.")


@route("POST", PIPELINES + "/Modules")
def create_module(cloud: Cloud, request: Request) -> Answer:
    """Make a module: what a node runs."""
    from azureml.pipeline.core._restclients.aeva.models import (
        DataLocation,
        ModuleCreationInfo,
        ModuleEntity,
    )

    sent = request.model(ModuleCreationInfo)
    same = ("name", "description", "is_deterministic", "module_execution_type", "module_type",
            "identifier_hash", "structured_interface", "properties", "category", "runconfig",
            "step_type")  # fmt: skip
    made = entity(
        ModuleEntity,
        **{name: getattr(sent, name) for name in same},
        upload_state="Completed",
        data_location=make(DataLocation, storage_type="Snapshot", storage_id=sent.storage_id),
    )
    cloud.area(Pipelines).modules[made.id] = made
    return Answer(body=made)


@route("GET", PIPELINES + "/Modules/{module}")
def module(cloud: Cloud, request: Request) -> Answer:
    """Return a module."""
    found = cloud.area(Pipelines).modules.get(request.names["module"])
    return Answer(body=_shown(found)) if found else denied(404, "No module.")


def _shown(entity: Any) -> Any:
    """Return a module with its interface."""
    from azureml.pipeline.core._restclients.aeva.models import (
        EntityInterface,
        Module,
        NodeInputPort,
        NodeOutputPort,
        NodePortInterface,
        Parameter,
    )

    def parameters(given: Any) -> list[Any]:
        return [
            make(
                Parameter,
                name=each.name,
                default_value=each.default_value,
                is_optional=each.is_optional,
                type="3",
            )
            for each in given or []
        ]

    given = entity.structured_interface
    inputs = [
        make(
            NodeInputPort,
            name=each.name,
            data_types_ids=each.data_type_ids_list,
            is_optional=each.is_optional,
        )
        for each in given.inputs or []
    ]
    outputs = [
        make(NodeOutputPort, name=each.name, data_type_id=each.data_type_id) for each in given.outputs or []
    ]
    interface = make(
        EntityInterface,
        parameters=parameters(given.parameters),
        metadata_parameters=parameters(given.metadata_parameters),
        ports=make(NodePortInterface, inputs=inputs, outputs=outputs),
        data_path_parameters=[],
        data_path_parameter_list=[],
    )
    return make(Module, data=entity, interface=interface)


@route("GET", PIPELINES + "/Graphs/{graph}")
def graph(cloud: Cloud, request: Request) -> Answer:
    """Return a graph."""
    found = cloud.area(Pipelines).graphs.get(request.names["graph"])
    return Answer(body=found) if found else denied(404, "No graph.")


@route("POST", PIPELINES + "/Pipelines/Create")
def publish(cloud: Cloud, request: Request) -> Answer:
    """Publish a pipeline."""
    from azureml.pipeline.core._restclients.aeva.models import PipelineCreationInfo, PipelineEntity

    sent, pipelines = request.model(PipelineCreationInfo), cloud.area(Pipelines)
    kept = pipelines.graph(sent.graph, sent.graph_interface)
    made = entity(
        PipelineEntity,
        name=sent.name,
        description=sent.description,
        version=sent.version,
        graph_id=kept.id,
        total_run_steps=len(kept.module_nodes),
        parameter_assignments={
            each.name: each.default_value for each in sent.graph_interface.parameters or []
        },
        data_set_definition_value_assignments={},
        continue_run_on_step_failure=bool(sent.continue_run_on_step_failure),
        properties=sent.properties or {},
        enable_email_notification=bool(sent.enable_email_notification),
    )
    made.url = address(request, f"PipelineRuns/PipelineSubmit/{made.id}")
    pipelines.pipelines[made.id] = made
    return Answer(body=made)


@route("GET", PIPELINES + "/Pipelines")
def published(cloud: Cloud, request: Request) -> Answer:
    """List the published pipelines."""
    return Answer(body=wanted(request, cloud.area(Pipelines).pipelines.values()))


@route("GET", PIPELINES + "/Pipelines/{pipeline}")
def pipeline(cloud: Cloud, request: Request) -> Answer:
    """Return a published pipeline."""
    found = cloud.area(Pipelines).pipelines.get(request.names["pipeline"])
    return Answer(body=found) if found else denied(404, "No pipeline.")


@route("PUT", PIPELINES + "/Pipelines/{pipeline}/status")
def pipeline_status(cloud: Cloud, request: Request) -> Answer:
    """Enable or disable a published pipeline."""
    found = cloud.area(Pipelines).pipelines[request.names["pipeline"]]
    found.entity_status = STATUS.get(str(request.json), str(request.json))
    return Answer()


def wanted(request: Request, found: Iterable[Any]) -> list[Any]:
    """Leave out what is disabled, if the request says so."""
    active = request.query.get("activeOnly", "true").lower() == "true"
    return [each for each in found if not active or each.entity_status == "Active"]
