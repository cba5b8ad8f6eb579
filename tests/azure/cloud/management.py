"""Azure Resource Manager: resource groups, deployments, workspaces and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure import azurite, names
from tests.azure.cloud import tokens
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, missing, refused, route
from tests.azure.cloud.server import Cloud

SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = SUBSCRIPTION + "/resourceGroups/{group}"
DEPLOYMENT = GROUP + "/providers/Microsoft.Resources/deployments/{deployment}"
WORKSPACE_KIND = "Microsoft.MachineLearningServices/workspaces"


def now() -> str:
    """Return the time as Azure writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Management:
    """What there is in the subscription.

    Attributes
    ----------
    groups, workspaces, deployments : dict
        By name in lower case.
    running : dict
        The operation of each deployment.
    created : int
        How many workspaces were ever made.
    """

    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    workspaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    created: int = 0

    def make_group(
        self, name: str, location: str = names.REGION, tags: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a resource group."""
        found = self.groups[name.lower()] = {
            "id": f"/subscriptions/{tokens.SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": location,
            "tags": tags or {},
            "properties": {"provisioningState": "Succeeded"},
        }
        return found

    def make_workspace(self, group: str, name: str) -> dict[str, Any]:
        """Make a workspace, with all that belongs to one."""

        def resource(kind: str, called: str) -> str:
            return f"/subscriptions/{tokens.SUBSCRIPTION}/resourceGroups/{group}/providers/{kind}/{called}"

        self.created += 1
        key = resource(WORKSPACE_KIND, name)
        tracking = f"azureml://{names.SERVICES}/mlflow/v1.0{key}"
        found = self.workspaces[name.lower()] = {
            "id": key,
            "name": name,
            "type": WORKSPACE_KIND,
            "location": names.REGION,
            "tags": {},
            "kind": "Default",
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": tokens.OBJECT, "tenantId": tokens.TENANT},
            "properties": {
                "friendlyName": name,
                "description": "",
                "storageAccount": resource("Microsoft.Storage/storageAccounts", names.ACCOUNT),
                "keyVault": resource("Microsoft.KeyVault/vaults", "mlopsvault"),
                "applicationInsights": resource("Microsoft.insights/components", "mlopsinsights"),
                "containerRegistry": resource("Microsoft.ContainerRegistry/registries", names.REGISTRY),
                "workspaceId": identity(),
                "provisioningState": "Succeeded",
                "discoveryUrl": f"https://{names.SERVICES}/discovery",
                "mlFlowTrackingUri": tracking,
                "creationTime": now(),
                "hbiWorkspace": False,
            },
        }
        return found


@route("GET", "/subscriptions")
def subscriptions(cloud: Cloud, request: Request) -> Answer:
    """List the only one."""
    key = tokens.SUBSCRIPTION
    each = {"id": f"/subscriptions/{key}", "subscriptionId": key, "displayName": "Tests", "state": "Enabled",
            "tenantId": tokens.TENANT}  # fmt: skip
    return Answer(body={"value": [each]})


@route("GET", SUBSCRIPTION)
def subscription(cloud: Cloud, request: Request) -> Answer:
    """Return the only one."""
    return Answer(body=subscriptions(cloud, request).body["value"][0])


@route("GET", SUBSCRIPTION + "/providers/{provider}")
@route("POST", SUBSCRIPTION + "/providers/{provider}/register")
def provider(cloud: Cloud, request: Request) -> Answer:
    """Say that a provider of resources is registered."""
    kinds = ("workspaces", "registries", "components", "vaults", "storageAccounts", "managedClusters")
    return Answer(
        body={
            "id": request.path.removesuffix("/register"),
            "namespace": request.names["provider"],
            "registrationState": "Registered",
            "resourceTypes": [
                {"resourceType": kind, "locations": ["West Europe"], "apiVersions": ["2023-04-01"]}
                for kind in kinds
            ],
        }
    )


@route("GET|HEAD|PUT|DELETE", GROUP)
def group(cloud: Cloud, request: Request) -> Answer:
    """Keep resource groups."""
    management, name = cloud.area(Management), request.names["group"]
    if request.method == "PUT":
        existed = name.lower() in management.groups
        sent = request.json
        made = management.make_group(name, sent["location"], sent.get("tags"))
        return Answer(200 if existed else 201, made)
    if name.lower() not in management.groups:
        return missing("ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    if request.method == "DELETE":
        del management.groups[name.lower()]
        management.workspaces.clear()
        return Answer(200)
    return Answer(204) if request.method == "HEAD" else Answer(body=management.groups[name.lower()])


@route("PUT", DEPLOYMENT)
def deploy(cloud: Cloud, request: Request) -> Answer:
    """Begin the deployment of a template, which makes the workspaces that it names."""
    management, sent = cloud.area(Management), request.json["properties"]
    name = request.names["deployment"].lower()
    if name in management.deployments and _state(cloud, name) == "Running":
        said = "This would overwrite an existing deployment which is still active."
        return refused(409, "DeploymentActive", said)
    parameters = {name: each.get("value") for name, each in sent.get("parameters", {}).items()}
    made = management.deployments[name] = {
        "id": request.path,
        "name": request.names["deployment"],
        "properties": {**sent, "provisioningState": "Running", "timestamp": now(), "outputs": {}},
    }

    def done() -> None:
        made["properties"]["provisioningState"] = "Succeeded"
        for resource in sent["template"].get("resources", []):
            if resource["type"].lower() == WORKSPACE_KIND.lower():
                called = resource["name"]
                if called.startswith("[parameters("):
                    called = parameters[called.split("'")[1]]
                if called.lower() not in management.workspaces:
                    management.make_workspace(request.names["group"], called)

    operation = management.running[name] = cloud.operations.begin("deployment", done)
    status = f"https://{names.MANAGEMENT}{request.path}/operationStatuses/{operation}"
    return Answer(201, made, {"Azure-AsyncOperation": status, "Retry-After": "0"})


@route("GET", DEPLOYMENT + "/operationStatuses/{operation}")
def deployment_status(cloud: Cloud, request: Request) -> Answer:
    """Say how a deployment goes."""
    operation = cloud.operations.find(request.names["operation"])
    if operation is None:
        return missing("NotFound", "There is no such operation.")
    body: dict[str, Any] = {"status": _state(cloud, request.names["deployment"].lower())}
    if operation.error is not None and operation.done:
        body["error"] = {"code": operation.error[0], "message": operation.error[1]}
    return Answer(body=body, headers={"Retry-After": "0"})


def _state(cloud: Cloud, name: str) -> str:
    """Look at a deployment once more, and return its state."""
    management = cloud.area(Management)
    operation = cloud.operations.find(management.running[name])
    assert operation is not None
    state = operation.look()
    if state == "Failed" and operation.error is not None:
        code, message = operation.error
        inner = {"code": code, "message": message}
        management.deployments[name]["properties"] |= {
            "provisioningState": "Failed",
            "error": {
                "code": "DeploymentFailed",
                "message": "At least one resource deployment operation failed.",
                "details": [inner],
            },
        }
    return state


@route("GET", DEPLOYMENT)
def deployment(cloud: Cloud, request: Request) -> Answer:
    """Return a deployment."""
    name = request.names["deployment"].lower()
    found = cloud.area(Management).deployments.get(name)
    if found is None:
        return missing(
            "DeploymentNotFound", f"Deployment '{request.names['deployment']}' could not be found."
        )
    _state(cloud, name)
    return Answer(body=found)


@route("GET", DEPLOYMENT + "/operations")
def deployment_operations(cloud: Cloud, request: Request) -> Answer:
    """List what a deployment does."""
    return Answer(body={"value": []})


@route("GET|DELETE", WORKSPACE)
def workspace(cloud: Cloud, request: Request) -> Answer:
    """Return or delete a workspace."""
    management, name = cloud.area(Management), request.names["workspace"]
    if name.lower() not in management.workspaces:
        kind = f"Microsoft.MachineLearningServices/workspaces/{name}"
        return missing("ResourceNotFound", f"The Resource '{kind}' was not found.")
    if request.method == "DELETE":
        del management.workspaces[name.lower()]
        return Answer(200)
    return Answer(body=management.workspaces[name.lower()])


@route("GET", GROUP + "/providers/Microsoft.MachineLearningServices/workspaces")
@route("GET", SUBSCRIPTION + "/providers/Microsoft.MachineLearningServices/workspaces")
def workspaces(cloud: Cloud, request: Request) -> Answer:
    """List the workspaces."""
    return Answer(body={"value": list(cloud.area(Management).workspaces.values())})


@route("POST", WORKSPACE + "/listKeys")
def keys(cloud: Cloud, request: Request) -> Answer:
    """Return the keys of what belongs to a workspace."""
    return Answer(
        body={
            "userStorageKey": azurite.ACCOUNT_KEY,
            "appInsightsInstrumentationKey": identity(),
            "containerRegistryCredentials": {
                "location": f"{names.REGISTRY}.azurecr.io",
                "username": names.REGISTRY,
                "passwords": [{"name": "password", "value": tokens.PASSWORD}],
            },
        }
    )


@route("GET|DELETE", GROUP + "/providers/Microsoft.Storage/storageAccounts/{name}")
@route("GET|DELETE", GROUP + "/providers/Microsoft.KeyVault/vaults/{name}")
@route("GET|DELETE", GROUP + "/providers/Microsoft.insights/components/{name}")
@route("GET|DELETE", GROUP + "/providers/Microsoft.ContainerRegistry/registries/{name}")
def resource(cloud: Cloud, request: Request) -> Answer:
    """Return what belongs to a workspace."""
    if request.method == "DELETE":
        return Answer(200)
    return Answer(
        body={
            "id": request.path,
            "name": request.names["name"],
            "type": "/".join(request.path.split("/")[6:8]),
            "location": names.REGION,
            "properties": {
                "provisioningState": "Succeeded",
                "vaultUri": "https://mlopsvault.vault.azure.net/",
            },
        }
    )


@route("GET", "/discovery")
@route("GET", "/discovery/{rest:path}")
def discovery(cloud: Cloud, request: Request) -> Answer:
    """Say where a workspace's services are."""
    services = "api experimentation history hyperdrive pipelines modelmanagement studio catalog"
    return Answer(body=dict.fromkeys(services.split(), f"https://{names.SERVICES}"))
