"""Images of models: built by a long operation, and pushed to the workspace's registry; and that registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure import names
from tests.azure.cloud import containers, tokens
from tests.azure.cloud.artifacts import CONTAINER
from tests.azure.cloud.assets import MANAGEMENT, fault
from tests.azure.cloud.exact import make, parse
from tests.azure.cloud.operations import Operation
from tests.azure.cloud.routing import Answer, Request, identity, route
from tests.azure.cloud.server import Cloud

REGISTRY = f"{names.REGISTRY}.azurecr.io"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

# What the SDK sends of an environment and its own generated models, which are older, don't have.
NEWER: dict[str, Any] = {
    "databricks": None,
    "assetId": None,
    "python": {"condaDependenciesFile": None},
    "docker": dict.fromkeys(("enabled", "buildContext", "sharedVolumes", "shmSize", "arguments", "platform")),
}


@dataclass
class Registry:
    """Manifests of images, by repository and tag or digest.

    Attributes
    ----------
    silent : bool
        Whether it keeps the digest to itself.
    """

    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    silent: bool = False

    def push(self, repository: str, tag: str, layers: list[dict[str, Any]]) -> str:
        """Take an image; return its digest."""
        config = {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": 7023,
            "digest": f"sha256:{hashlib.sha256(repr(layers).encode()).hexdigest()}",
        }
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        content = json.dumps(manifest, indent=3).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.manifests[repository, tag] = self.manifests[repository, digest] = content
        return digest


@route("GET|HEAD", "/v2/{repository:path}/manifests/{reference}")
def manifest(cloud: Cloud, request: Request) -> Answer:
    """Return the manifest of an image, with its digest."""
    registry = cloud.area(Registry)
    if (
        containers.authorized(request.headers.get("authorization", ""))
        != f"{names.REGISTRY}:{tokens.PASSWORD}"
    ):
        return _registry_fault(401, "UNAUTHORIZED", "authentication required")
    found = registry.manifests.get((request.names["repository"], request.names["reference"]))
    if found is None:
        return _registry_fault(404, "MANIFEST_UNKNOWN", "manifest is not found")
    headers = {"Content-Type": MANIFEST}
    if not registry.silent:
        headers["Docker-Content-Digest"] = f"sha256:{hashlib.sha256(found).hexdigest()}"
    return Answer(200, found, headers)


def _registry_fault(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"errors": [{"code": code, "message": message, "detail": {}}]})


@route("POST", MANAGEMENT + "/packages")
def package(cloud: Cloud, request: Request) -> Answer:
    """Begin to build an image."""
    from azureml._restclient.models import EnvironmentImageRequest

    # The SDK's model of the whole request is older, and its package forgets to export it.
    sent = request.json
    if sent.keys() != {"imageRequest", "packageType", "imageName", "imageLabel"}:
        return fault(400, "BadArgument", f"{sorted(sent)} isn't understood.")
    parse(EnvironmentImageRequest, known(sent["imageRequest"]))
    if sent["packageType"] != "DockerImage":
        return fault(400, "BadArgument", f"{sent['packageType']} isn't supported.")
    try:
        content = containers.content(cloud, sent["imageRequest"])
    except containers.ContentError as error:
        return fault(400, "BadArgument", str(error))
    repository = request.json["imageName"] or "package"
    tag = request.json["imageLabel"] or datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    location = f"{REGISTRY}/{repository}:{tag}"

    def built() -> None:
        cloud.area(Registry).push(repository, tag, layers(sent["imageRequest"], content))

    begun = begin(cloud, "PackageDockerImage", "BuildImage", built, location=location)
    write_log(cloud, begun, f"Building image {location}\nSuccessfully pushed {location}\n")
    return accepted(cloud, request, begun)


def layers(request: Mapping[str, Any], content: containers.Content) -> list[dict[str, Any]]:
    """Return an image's layers: the base, the software, and the application."""
    environment = json.dumps(request.get("environment"), sort_keys=True).encode()
    size = sum(map(len, content.files.values()))
    described = (
        ("base", b"base", 80_000_000),
        ("software", environment, 120_000_000),
        ("app", content.digest.encode(), size),
    )
    return [
        {
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": length,
            "digest": f"sha256:{hashlib.sha256(what.encode() + seed).hexdigest()}",
        }
        for what, seed, length in described
    ]


def known(image: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request for an image without what the SDK's models are too old for."""

    def pruned(value: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: pruned(each, newer[name]) if newer.get(name) and each else each
            for name, each in value.items()
            if name not in newer or newer[name]
        }

    return {**image, "environment": pruned(image["environment"], NEWER)}


# ------------------------------------------------------------------ operations


def begin(
    cloud: Cloud,
    kind: str,
    step: str,
    done: Callable[[], object] | None = None,
    *,
    failed: Callable[[], object] | None = None,
    location: str | None = None,
    polls: int | None = None,
) -> Operation:
    """Begin a long operation.

    Parameters
    ----------
    done, failed : callable, optional
        Called once it has ended well or badly.
    location : str, optional
        Of what it makes.
    """
    key = cloud.operations.begin(
        kind, done, polls, step=step, failed=failed, location=location, began=datetime.now(UTC)
    )
    found = cloud.operations.find(key)
    assert found is not None
    return found


def accepted(cloud: Cloud, request: Request, operation: Operation) -> Answer:
    """Return that an operation has begun."""
    workspace = request.path.split("/modelmanagement/v1.0")[1].partition("/workspaces/")
    base = f"{workspace[0]}/workspaces/{workspace[2].split('/')[0]}"
    where = f"https://{names.SERVICES}/api{base}/operations/{operation.id}"
    return Answer(202, headers={"Operation-Location": where})


def write_log(cloud: Cloud, operation: Operation, text: str) -> None:
    """Write an operation's log."""
    blob = cloud.blobs.get_blob_client(CONTAINER, f"operations/{operation.id}")
    blob.upload_blob(text.encode(), overwrite=True)


@route("GET", MANAGEMENT + "/operations/{operation}")
def operation(cloud: Cloud, request: Request) -> Answer:
    """Say how an operation goes."""
    from azureml._restclient.models import (
        AsyncOperationStatus,
        AsyncOperationStatusError,
        AsyncOperationStatusOperationDetails,
    )

    found = cloud.operations.find(request.names["operation"])
    if found is None:
        return fault(404, "OperationNotFound", f"There is no operation {request.names['operation']}.")
    state = found.look()
    told, error = found.details, None
    if state == "Failed" and found.error is not None:
        if told["failed"] is not None:
            told["failed"]()
            told["failed"] = None
        code, message = found.error
        error = make(AsyncOperationStatusError, code=code, status_code=400, message=message, details=[],
                     correlation={"RequestId": identity()})  # fmt: skip
    ended = state != "Running"
    return Answer(
        body=make(
            AsyncOperationStatus,
            id=found.id,
            operation_type=found.kind,
            state=state,
            created_time=told["began"],
            end_time=datetime.now(UTC) if ended else None,
            error=error,
            resource_location=told["location"] if state == "Succeeded" else None,
            operation_log=cloud.signed(CONTAINER, f"operations/{found.id}"),
            operation_details=make(
                AsyncOperationStatusOperationDetails,
                sub_operation_type=told["step"],
                sub_operation_state=state,
            ),
        )
    )
