"""Computes of a workspace: clusters that train, attached machines, Kubernetes clusters."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.azure import names
from tests.azure.cloud import exact
from tests.azure.cloud.management import SUBSCRIPTION, now
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, missing, refused, route
from tests.azure.cloud.server import Cloud

COMPUTE = WORKSPACE + "/computes/{compute}"
OPERATIONS = (
    SUBSCRIPTION
    + "/providers/Microsoft.MachineLearningServices/locations/{region}/computeOperationsStatus/{operation}"
)
# The SDK sends and demands these of Kubernetes clusters, though its own generated model doesn't have them.
NEWER = {
    "clusterPurpose",
    "loadBalancerType",
    "loadBalancerSubnet",
    "leafDomainLabel",
    "overwriteExistingDomain",
}


@dataclass
class Computes:
    """What computes there are, by name in lower case.

    Attributes
    ----------
    known : dict
    running : dict
        The operation that makes each.
    made : list of str
        The names of all that ever were, once for each time.
    nodes : bool
        Whether clusters get the nodes that they ask for.
    errors : list of (str, str)
        What they report instead, as codes and messages.
    """

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    nodes: bool = True
    errors: list[tuple[str, str]] = field(default_factory=list)


@route("PUT", COMPUTE)
def make(cloud: Cloud, request: Request) -> Answer:
    """Make or attach a compute."""
    computes, name = cloud.area(Computes), request.names["compute"]
    sent = request.json
    _exact(sent)
    there = computes.known.get(name.lower())
    if there is not None and _state(cloud, name) == "Creating":
        return refused(409, "Conflict", f"The compute '{name}' is being created by another request.")
    given = sent["properties"]
    made = computes.known[name.lower()] = {
        "id": request.path,
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": sent["location"],
        "tags": sent.get("tags") or {},
        "properties": {
            "computeType": given["computeType"],
            "computeLocation": given.get("computeLocation") or sent["location"],
            "provisioningState": "Creating",
            "provisioningErrors": None,
            "isAttachedCompute": "resourceId" in given,
            "createdOn": now(),
            "modifiedOn": now(),
            "resourceId": given.get("resourceId"),
            "description": given.get("description") or "",
            "properties": _details(request, given),
        },
    }
    _exact(made)
    computes.made.append(name)
    operation = computes.running[name.lower()] = cloud.operations.begin("compute")
    status = OPERATIONS.format(
        subscription=request.names["subscription"], region=names.REGION, operation=operation
    )
    return Answer(
        201, made, {"Azure-AsyncOperation": f"https://{names.MANAGEMENT}{status}?api-version=2018-11-19"}
    )


@route("GET", COMPUTE)
@route("GET", "/rp/workspaces" + COMPUTE)
def read(cloud: Cloud, request: Request) -> Answer:
    """Return a compute, a little further than before."""
    computes, name = cloud.area(Computes), request.names["compute"]
    found = computes.known.get(name.lower())
    if found is None:
        return missing("ComputeNotFound", f"The specified compute could not be found: {name}.")
    if _state(cloud, name) == "Succeeded" and found["properties"]["computeType"] == "AmlCompute":
        _scale(computes, found["properties"]["properties"])
    _exact(found)
    return Answer(body=found)


@route("PATCH", COMPUTE)
def change(cloud: Cloud, request: Request) -> Answer:
    """Give a cluster other numbers of nodes."""
    found = cloud.area(Computes).known.get(request.names["compute"].lower())
    if found is None:
        return missing("ComputeNotFound", "The specified compute could not be found.")
    _exact(request.json)
    found["properties"]["properties"]["scaleSettings"] = request.json["properties"]["properties"][
        "scaleSettings"
    ]
    return Answer(body=found)


@route("DELETE", COMPUTE)
def delete(cloud: Cloud, request: Request) -> Answer:
    """Delete or detach a compute."""
    cloud.area(Computes).known.pop(request.names["compute"].lower(), None)
    operation = cloud.operations.begin("compute deletion")
    status = OPERATIONS.format(
        subscription=request.names["subscription"], region=names.REGION, operation=operation
    )
    return Answer(
        202, None, {"Azure-AsyncOperation": f"https://{names.MANAGEMENT}{status}?api-version=2018-11-19"}
    )


@route("GET", WORKSPACE + "/computes")
@route("GET", "/rp/workspaces" + WORKSPACE + "/computes")
def everything(cloud: Cloud, request: Request) -> Answer:
    """List the computes."""
    return Answer(body={"value": list(cloud.area(Computes).known.values())})


@route("GET", OPERATIONS)
def operation(cloud: Cloud, request: Request) -> Answer:
    """Say how the making of a compute goes."""
    found = cloud.operations.find(request.names["operation"])
    if found is None:
        return missing("NotFound", "There is no such operation.")
    state = found.look()
    body: dict[str, Any] = {"status": "InProgress" if state == "Running" else state}
    if state == "Failed" and found.error is not None:
        body["error"] = {"code": found.error[0], "message": found.error[1]}
    return Answer(body=body)


def _state(cloud: Cloud, name: str) -> str:
    """Look at the making of a compute once more, and return its state."""
    computes = cloud.area(Computes)
    running = cloud.operations.find(computes.running[name.lower()])
    assert running is not None
    properties = computes.known[name.lower()]["properties"]
    properties["provisioningState"] = state = {"Running": "Creating"}.get(running.look(), running.look())
    if state == "Failed" and running.error is not None:
        code, message = running.error
        properties["provisioningErrors"] = [{"error": {"code": code, "message": message}}]
    return str(state)


def _details(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a compute says of itself, by its kind; no secret that it was sent."""
    sent = copy.deepcopy(given.get("properties") or {})
    if given["computeType"] == "AmlCompute":
        zero = ("idle", "leaving", "preempted", "preparing", "running", "unusable")
        return {
            **sent,
            "subnet": None,
            "remoteLoginPortPublicAccess": "NotSpecified",
            "allocationState": "Steady",
            "allocationStateTransitionTime": now(),
            "currentNodeCount": 0,
            "targetNodeCount": 0,
            "nodeStateCounts": {f"{each}NodeCount": 0 for each in zero},
            "errors": [],
        }
    if given["computeType"] == "AKS":
        return {
            "agentCount": sent.get("agentCount", 3),
            "agentVmSize": sent.get("agentVmSize", "Standard_D3_v2"),
            "clusterPurpose": sent.get("clusterPurpose", "FastProd"),
            "clusterFqdn": f"{request.names['compute']}.hcp.{names.REGION}.azmk8s.io",
            "systemServices": [],
            "sslConfiguration": sent.get("sslConfiguration") or {"status": "Disabled"},
            "loadBalancerType": sent.get("loadBalancerType", "PublicIp"),
            "loadBalancerSubnet": None,
        }
    return {"sshPort": sent.get("sshPort"), "virtualMachineSize": "Standard_D2_v2"}


def _scale(computes: Computes, cluster: dict[str, Any]) -> None:
    """Let a cluster have the nodes that it always keeps, or say why it doesn't."""
    wanted = cluster["scaleSettings"]["minNodeCount"]
    cluster["targetNodeCount"] = wanted
    cluster["errors"] = [{"error": {"code": code, "message": said}} for code, said in computes.errors]
    if computes.nodes and not computes.errors:
        cluster["currentNodeCount"] = min(cluster["currentNodeCount"] + 1, wanted)
        cluster["nodeStateCounts"]["idleNodeCount"] = cluster["currentNodeCount"]


def _exact(compute: dict[str, Any]) -> None:
    """Hold a compute to the SDK's own models of one, and of errors.

    Errors have a model of their own: the package that has computes calls another one by the same name.
    """
    from azureml._base_sdk_common.workspace.models import MachineLearningServiceError
    from azureml._restclient.models import ComputeResource

    known = copy.deepcopy(compute)
    details = known["properties"].get("properties") or {}
    errors = (known["properties"].pop("provisioningErrors", None) or []) + (details.pop("errors", None) or [])
    for error in errors:
        exact.parse(MachineLearningServiceError, error)
    if known["properties"]["computeType"] == "AKS":
        for part in (details, details.get("sslConfiguration") or {}):
            for name in NEWER & part.keys():
                del part[name]
        if "agentVmSize" in details:
            details["agentVMSize"] = details.pop("agentVmSize")
    exact.parse(ComputeResource, known)
