"""Software environments: registered by name and version, their images built once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.azure import names
from tests.azure.cloud import exact, tokens
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, missing, refused, route
from tests.azure.cloud.server import Cloud

SERVICE = "/environment/v1.0" + WORKSPACE
NAMED = SERVICE + "/environments/{name}"
VERSION = NAMED + "/versions/{version}"
LOG = "builds/log.txt"
# What the SDK's own classes send beside what its generated models have.
BESIDE = {"condaDependenciesFile", "sharedVolumes", "shmSize", "arguments", "registryIdentity"}


@dataclass
class Environments:
    """What environments there are.

    Attributes
    ----------
    known : dict
        The definitions, by name and version; the last is the newest.
    images : set of (str, str)
        Which have an image.
    builds : list of (str, str)
        Which were built, once for each time.
    log : str
        What the next builds write.
    """

    known: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    images: set[tuple[str, str]] = field(default_factory=set)
    builds: list[tuple[str, str]] = field(default_factory=list)
    log: str = "Step 1/4 : FROM base\nSuccessfully built\n"


@route("PUT", NAMED)
@route("PUT", VERSION)
def register(cloud: Cloud, request: Request) -> Answer:
    """Register a definition; the same again is the same, another of the same version is refused."""
    from azureml._restclient.models import EnvironmentDefinition

    environments, name = cloud.area(Environments), request.names["name"]
    # The service reads keys without regard to case; two are in upper case.
    sent = {key[0].lower() + key[1:]: value for key, value in request.json.items() if value is not None}
    exact.parse(EnvironmentDefinition, _without(sent))
    of_name = [version for called, version in environments.known if called == name]
    version = request.names.get("version") or str(len(of_name) + 1)
    made = {
        "name": name,
        "version": version,
        "environmentVariables": sent.get("environmentVariables") or {},
        "python": sent["python"],
        "docker": sent["docker"],
        "spark": sent.get("spark"),
        "inferencingStackVersion": sent.get("inferencingStackVersion"),
    }
    there = environments.known.get((name, version))
    if there is not None and there != made:
        return refused(409, "Conflict", f"Environment {name} of version {version} is registered otherwise.")
    environments.known[name, version] = made
    return Answer(body=made)


@route("GET", NAMED)
@route("GET", VERSION)
def read(cloud: Cloud, request: Request) -> Answer:
    """Return a definition, the newest if no version is named."""
    environments, name = cloud.area(Environments), request.names["name"]
    of_name = [version for called, version in environments.known if called == name]
    version = request.names.get("version") or (of_name[-1] if of_name else "")
    found = environments.known.get((name, version))
    if found is None:
        said = f"Environment {name} of version {version or 'any'} is not found."
        return missing("EnvironmentNotFound", said)
    return Answer(body=found)


@route("GET", SERVICE + "/environments")
def everything(cloud: Cloud, request: Request) -> Answer:
    """List all of them."""
    return Answer(body={"value": list(cloud.area(Environments).known.values())})


@route("GET", VERSION + "/image")
def image(cloud: Cloud, request: Request) -> Answer:
    """Say whether an environment has an image."""
    key = (request.names["name"], request.names["version"])
    if key not in cloud.area(Environments).known:
        return missing("EnvironmentNotFound", f"Environment {key[0]} of version {key[1]} is not found.")
    return Answer(
        body={
            "imageExistsInRegistry": key in cloud.area(Environments).images,
            "dockerImage": {
                "name": f"azureml/azureml_{key[1]}",
                "registry": {
                    "address": f"{names.REGISTRY}.azurecr.io",
                    "username": names.REGISTRY,
                    "password": tokens.PASSWORD,
                },
            },
            "pythonEnvironment": {"interpreterPath": "/opt/mlops/bin/python"},
        }
    )


@route("POST", "/environment/v2.0" + WORKSPACE + "/environments/{name}/versions/{version}/image")
def build(cloud: Cloud, request: Request) -> Answer:
    """Begin to build an image."""
    key = (request.names["name"], request.names["version"])
    environments = cloud.area(Environments)
    if key not in environments.known:
        return missing("EnvironmentNotFound", f"Environment {key[0]} of version {key[1]} is not found.")
    environments.builds.append(key)
    operation = cloud.operations.begin("environment", lambda: environments.images.add(key))
    base = request.path.split("/environments/")[0].replace("/v2.0", "/v1.0")
    return Answer(202, {"location": f"https://{names.SERVICES}{base}/builds/{operation}"})


@route("GET", SERVICE + "/builds/{operation}")
def build_status(cloud: Cloud, request: Request) -> Answer:
    """Say how a build goes, and where its log is."""
    found = cloud.operations.find(request.names["operation"])
    if found is None:
        return missing("NotFound", "There is no such build.")
    blob = cloud.blobs.get_blob_client("azureml", LOG)
    blob.upload_blob(cloud.area(Environments).log.encode(), overwrite=True)
    return Answer(body={"status": found.look(), "logUrl": cloud.signed("azureml", LOG)})


def _without(value: Any) -> Any:
    """Return a definition without what the models don't have."""
    if isinstance(value, dict):
        return {name: _without(each) for name, each in value.items() if name not in BESIDE}
    return value
