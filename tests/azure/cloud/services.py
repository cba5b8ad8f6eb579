"""Web services: what each is made of, its life from version to version, its keys, and its scoring address."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure import names
from tests.azure.cloud import containers, tokens
from tests.azure.cloud.assets import MANAGEMENT, fault
from tests.azure.cloud.computes import Computes
from tests.azure.cloud.containers import Content, Server
from tests.azure.cloud.exact import make, parse, render
from tests.azure.cloud.models import Models
from tests.azure.cloud.operations import Operation
from tests.azure.cloud.packages import accepted, begin, known
from tests.azure.cloud.routing import Answer, Request, identity, route
from tests.azure.cloud.server import Cloud

SERVICES = MANAGEMENT + "/services"
ENDLESS = 10**9
LOOK = 0.05


@dataclass
class Service:
    """A web service.

    Attributes
    ----------
    sent : dict
        The request that made it, as it was changed since.
    state : str
    server : Server or None
        What answers now: the version that was healthy last.
    fresh : Server or None
        The version that is being started.
    keys : list of str
        The primary one, and the secondary one.
    label : str
        Of its own address.
    starts : int
        How many versions were started.
    """

    sent: dict[str, Any]
    state: str = "Transitioning"
    error: tuple[str, str] | None = None
    server: Server | None = None
    fresh: Server | None = None
    operation: Operation | None = None
    keys: list[str] = field(default_factory=lambda: [secrets.token_hex(16), secrets.token_hex(16)])
    label: str = field(default_factory=identity)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    log: str = ""
    starts: int = 0

    @property
    def path(self) -> str:
        """What comes before /score."""
        return "" if self.sent["computeType"] == "ACI" else f"/api/v1/service/{self.sent['name']}"


@dataclass
class Services:
    """Web services by name."""

    found: dict[str, Service] = field(default_factory=dict)


def origin(cloud: Cloud, service: Service) -> str:
    """Return by which scheme and host a service is reached."""
    if service.sent["computeType"] == "ACI":
        return f"http://{service.label}.{names.REGION}.azurecontainer.io"
    name = service.sent["computeName"]
    cluster = cloud.area(Computes).known[name.lower()]["properties"]["properties"]
    given = cluster.get("sslConfiguration") or {}
    secure = given.get("status") in ("Enabled", "Auto")
    label = given.get("leafDomainLabel") or name
    return f"{'https' if secure else 'http'}://{label}.{names.REGION}.cloudapp.azure.com"


# ------------------------------------------------------------------ versions


def _begin(cloud: Cloud, service: Service, content: Content) -> Operation:
    """Start a version of a service; whatever answers goes on until it is ready."""
    service.state, service.error, service.updated = "Transitioning", None, datetime.now(UTC)
    service.starts += 1

    def failed() -> None:
        if service.state == "Transitioning":
            service.state, service.error = "Failed", begun.error
        _end_fresh(service)

    begun = service.operation = begin(cloud, "Service", "DeployService", failed=failed, polls=ENDLESS)
    if begun.error is None:
        service.fresh = containers.start(cloud, content)
        cloud.background(lambda: _watch(cloud, service, begun))
    return begun


def _watch(cloud: Cloud, service: Service, begun: Operation) -> None:
    """Wait until a version is ready or has ended, and let the operation end so."""
    fresh = service.fresh
    assert fresh is not None
    while (ready := fresh.ready()) is None:
        time.sleep(LOOK)
    with cloud.lock:
        if service.fresh is not fresh:
            return  # somebody has changed or deleted the service meanwhile
        if ready:
            service.server, before = fresh, service.server
            service.fresh, service.state = None, "Healthy"
            if before is not None:
                before.leave()
        else:
            service.log, service.state = fresh.log, "Unhealthy"
            service.fresh = None
            begun.error = (
                "KubernetesDeploymentFailed"
                if service.sent["computeType"] == "AKS"
                else "AciDeploymentFailed",
                "Your container application crashed. This may be caused by errors in your scoring file.",
            )
            service.error = begun.error
            fresh.leave()
        begun.polls = 1


def _end_fresh(service: Service) -> None:
    if service.fresh is not None:
        service.fresh.leave()
        service.fresh = None


# ------------------------------------------------------------------ management


@route("POST", SERVICES + "/validate")
@route("POST", SERVICES + "/validate/resource")
def validate(cloud: Cloud, request: Request) -> Answer:
    """Find nothing wrong with what is about to be asked for."""
    return Answer(body={})


@route("POST", SERVICES + "/validate/name/{name}")
def validate_name(cloud: Cloud, request: Request) -> Answer:
    """Say whether a name is taken."""
    name = request.names["name"]
    if name in cloud.area(Services).found:
        return Answer(body={"error": {"code": "Conflict", "message": f"Service {name} already exists."}})
    return Answer(body={})


@route("POST", SERVICES)
def create(cloud: Cloud, request: Request) -> Answer:
    """Make a service."""
    from azureml._restclient import models

    sent, services = request.json, cloud.area(Services).found
    kind = {"ACI": models.ACIServiceCreateRequest, "AKS": models.AKSServiceCreateRequest}[sent["computeType"]]
    parse(kind, {**_without_limits(sent), "environmentImageRequest": known(sent["environmentImageRequest"])})
    if sent["name"] in services:
        return fault(409, "ServiceAlreadyExists", f"Service {sent['name']} already exists.")
    try:
        content = containers.content(cloud, sent["environmentImageRequest"])
    except containers.ContentError as error:
        return fault(400, "BadArgument", str(error))
    service = services[sent["name"]] = Service(sent)
    given = sent.get("keys") or {}
    if given.get("primaryKey"):
        service.keys = [given["primaryKey"], given["secondaryKey"]]
    return accepted(cloud, request, _begin(cloud, service, content))


def _without_limits(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the SDK's models are too old for."""
    needed = {
        name: value
        for name, value in sent["containerResourceRequirements"].items()
        if name not in ("cpuLimit", "memoryInGBLimit")
    }
    return {**sent, "containerResourceRequirements": needed}


@route("PATCH", SERVICES + "/{name}")
def change(cloud: Cloud, request: Request) -> Answer:
    """Change a service by a JSON Patch, all of it or nothing."""
    from azureml._restclient.models import JsonPatchOperation

    service = cloud.area(Services).found.get(request.names["name"])
    if service is None:
        return _unknown(request)
    if service.state == "Transitioning":
        return fault(409, "ServiceTransitioning", "The service is being changed: wait until that has ended.")
    changed = {
        name: dict(value) if isinstance(value, dict) else value for name, value in service.sent.items()
    }
    for each in request.models(JsonPatchOperation):
        first, _, rest = each.path.strip("/").partition("/")
        if (
            each.op == "replace"
            and not rest
            and first in ("kvTags", "environmentImageRequest", "description")
        ):
            changed[first] = each.value
        elif each.op == "replace" and first in ("autoScaler", "containerResourceRequirements") and rest:
            changed[first] = {**(changed.get(first) or {}), rest: each.value}
        elif each.op == "replace" and each.path == "/numReplicas":
            changed[first] = each.value
        elif each.op == "add" and first == "properties":
            changed[first] = {**(changed.get(first) or {}), rest: each.value}
        else:
            return fault(400, "BadArgument", f"{each.op} of {each.path} isn't supported.")
    try:
        content = containers.content(cloud, changed["environmentImageRequest"])
    except containers.ContentError as error:
        return fault(400, "BadArgument", str(error))
    service.sent = changed
    return accepted(cloud, request, _begin(cloud, service, content))


@route("DELETE", SERVICES + "/{name}")
def delete(cloud: Cloud, request: Request) -> Answer:
    """Delete a service, and end its containers."""
    service = cloud.area(Services).found.pop(request.names["name"], None)
    if service is None:
        return Answer(204)
    _end_fresh(service)
    if service.server is not None:
        service.server.leave()
    return Answer(200)


@route("GET", SERVICES + "/{name}")
def read(cloud: Cloud, request: Request) -> Answer:
    """Return a service."""
    service = cloud.area(Services).found.get(request.names["name"])
    return _unknown(request) if service is None else Answer(body=_described(cloud, service))


@route("GET", SERVICES)
def listing(cloud: Cloud, request: Request) -> Answer:
    """List the services."""
    return Answer(body={"value": [_described(cloud, each) for each in cloud.area(Services).found.values()]})


@route("GET", SERVICES + "/{name}/logs")
def log(cloud: Cloud, request: Request) -> Answer:
    """Return the end of a service's log."""
    from azureml._restclient.models import ServiceLogs

    service = cloud.area(Services).found.get(request.names["name"])
    if service is None:
        return _unknown(request)
    lines = (service.log or (service.server.log if service.server else "")).splitlines()
    tail = int(request.query.get("tail", 5000))
    return Answer(body=make(ServiceLogs, content="\n".join(lines[-tail:])))


@route("POST", SERVICES + "/{name}/listkeys")
def keys(cloud: Cloud, request: Request) -> Answer:
    """Return a service's keys."""
    from azureml._restclient.models import AuthKeys

    service = cloud.area(Services).found.get(request.names["name"])
    if service is None:
        return _unknown(request)
    return Answer(body=make(AuthKeys, primary_key=service.keys[0], secondary_key=service.keys[1]))


@route("POST", SERVICES + "/{name}/regenerateKeys")
def rotate(cloud: Cloud, request: Request) -> Answer:
    """Begin to replace one of a service's keys."""
    service, sent = cloud.area(Services).found.get(request.names["name"]), request.json
    if service is None:
        return _unknown(request)
    # By the SDK's model the key's type is a number; the SDK itself sends its name.
    if sent.keys() != {"keyType", "keyValue"} or sent["keyType"] not in ("Primary", "Secondary"):
        return fault(400, "BadArgument", f"{sorted(sent)} isn't understood.")
    which = ("Primary", "Secondary").index(sent["keyType"])

    def done() -> None:
        service.keys[which] = sent["keyValue"] or secrets.token_hex(16)

    return accepted(cloud, request, begin(cloud, "ServiceRegenerateKeys", "RegenerateKeys", done))


def _unknown(request: Request) -> Answer:
    return fault(404, "ServiceNotFound", f"Service {request.names['name']} was not found.")


def _described(cloud: Cloud, service: Service) -> dict[str, Any]:
    """Return a service as Azure tells it: what the SDK reads without asking is there, if only as null."""
    from azureml._restclient import models

    sent, image = service.sent, service.sent["environmentImageRequest"]
    kind = "ACI" if sent["computeType"] == "ACI" else "AKS"
    error = service.error and make(
        models.ServiceResponseBaseError,
        code=service.error[0],
        message=service.error[1],
        status_code=400,
        details=[],
    )
    address = origin(cloud, service) + service.path
    ready = service.server is not None
    common = {
        "id": sent["name"],
        "name": sent["name"],
        "description": sent.get("description"),
        "kv_tags": sent.get("kvTags") or {},
        "properties": sent.get("properties") or {},
        "operation_id": service.operation.id if service.operation else None,
        "state": service.state,
        "created_time": service.created,
        "updated_time": service.updated,
        "error": error,
        "deployment_type": "HttpRealtimeEndpoint",
        "created_by": make(
            models.ServiceResponseBaseCreatedBy, user_object_id=tokens.OBJECT, user_tenant_id=tokens.TENANT
        ),
        "image_digest": f"sha256:{service.server.digest}" if service.server else None,
        "scoring_uri": f"{address}/score" if ready else None,
        "swagger_uri": f"{address}/swagger.json" if ready else None,
        "auth_enabled": bool(sent.get("authEnabled")),
        "app_insights_enabled": bool(sent.get("appInsightsEnabled")),
    }
    specific = _aci(models) if kind == "ACI" else _aks(models, sent, ready)
    found = render(make(getattr(models, f"{kind}ServiceResponse"), **common, **specific))
    found["computeType"] = kind
    found["containerResourceRequirements"] = {
        "gpu": None,
        "fpga": None,
        **sent["containerResourceRequirements"],
    }
    found["environmentImageRequest"] = image
    found["models"] = [_model(cloud.area(Models).found[key]) for key in image.get("modelIds") or []]
    wanted = (
        *(
            "description",
            "kvTags",
            "properties",
            "appInsightsEnabled",
            "authEnabled",
            "scoringUri",
            "location",
        ),
        *("cname", "publicIp", "sslCertificate", "sslEnabled", "sslKey", "dataCollection"),
    )
    return {**dict.fromkeys(wanted), **found}


def _aci(models: Any) -> dict[str, Any]:
    return {"location": names.REGION, "ssl_enabled": False, "public_ip": "127.0.0.1"}


def _aks(models: Any, sent: Mapping[str, Any], ready: bool) -> dict[str, Any]:
    scaler, count = sent.get("autoScaler") or {}, sent.get("numReplicas") or 1
    count = max(count, scaler.get("minReplicas") or 1)
    return {
        "compute_name": sent["computeName"],
        "namespace": sent.get("namespace") or "azureml-mlops",
        "num_replicas": count,
        "aad_auth_enabled": False,
        "max_concurrent_requests_per_container": sent.get("maxConcurrentRequestsPerContainer") or 1,
        "max_queue_wait_ms": sent.get("maxQueueWaitMs") or 500,
        "scoring_timeout_ms": sent.get("scoringTimeoutMs") or 60_000,
        "is_default": True,
        "traffic_percentile": 100.0,
        "auto_scaler": make(
            models.AKSServiceResponseAutoScaler,
            autoscale_enabled=bool(scaler.get("autoscaleEnabled")),
            min_replicas=scaler.get("minReplicas") or 1,
            max_replicas=scaler.get("maxReplicas") or 10,
            target_utilization=scaler.get("targetUtilization") or 70,
            refresh_period_in_seconds=scaler.get("refreshPeriodInSeconds") or 1,
        ),
        "liveness_probe_requirements": make(
            models.AKSServiceResponseLivenessProbeRequirements,
            failure_threshold=3,
            success_threshold=1,
            timeout_seconds=2,
            period_seconds=10,
            initial_delay_seconds=310,
        ),
        "data_collection": make(
            models.AKSServiceResponseDataCollection, event_hub_enabled=False, storage_enabled=False
        ),
        "deployment_status": make(
            models.AKSServiceResponseDeploymentStatus,
            desired_replicas=count,
            updated_replicas=count if ready else 0,
            available_replicas=count if ready else 0,
        ),
    }


def _model(model: Any) -> dict[str, Any]:
    keys = [each["key"] for each in model._attribute_map.values()]
    return {**dict.fromkeys(keys), **render(model)}


# ------------------------------------------------------------------ scoring


@route("GET|POST", "/score")
@route("GET", "/swagger.json")
def of_container(cloud: Cloud, request: Request) -> Answer:
    """Let a container instance answer."""
    found = (each for each in cloud.area(Services).found.values() if _reached(cloud, each, request))
    return _passed(next(found, None), request, request.path)


@route("GET|POST", "/api/v1/service/{name}/{route}")
def of_cluster(cloud: Cloud, request: Request) -> Answer:
    """Let a service on the cluster answer, if it is one."""
    service = cloud.area(Services).found.get(request.names["name"])
    mine = service if service is not None and _reached(cloud, service, request) else None
    return _passed(mine, request, f"/{request.names['route']}")


def _reached(cloud: Cloud, service: Service, request: Request) -> bool:
    return origin(cloud, service).partition("://")[2] == request.host


def _passed(service: Service | None, request: Request, path: str) -> Answer:
    if service is None or path not in ("/score", "/swagger.json"):
        return Answer(404, b"no such service")
    authorization = request.headers.get("authorization", "")
    if authorization.removeprefix("Bearer ") not in service.keys:
        return Answer(401, b"Authentication failed. Request requires a valid key.")
    if service.server is None:
        return Answer(503, b"no container is ready")
    status, body, kind = containers.ask(service.server, request.method, path, request.body, request.headers)
    return Answer(status, body, {"Content-Type": kind})
