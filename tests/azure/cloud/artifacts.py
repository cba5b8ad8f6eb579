"""The files of runs: named by this service, kept as blobs; none can be overwritten."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, missing, route
from tests.azure.cloud.server import Cloud

ARTIFACTS = "/artifact/v2.0" + WORKSPACE + "/artifacts"
CONTAINER = "azureml"


@dataclass
class Artifacts:
    """All of them.

    Attributes
    ----------
    found : dict
        ArtifactDto by origin, container and path.
    page : int
        How many are told at once.
    """

    found: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    page: int = 500

    def make(self, origin: str, container: str, path: str) -> Any:
        """Return a new artifact, whose blob is still to be written."""
        from azureml._restclient.models import ArtifactDataPath, ArtifactDto

        key = f"{origin}/{container}/{path}"
        self.found[origin, container, path] = made = make(
            ArtifactDto,
            artifact_id=key,
            origin=origin,
            container=container,
            path=path,
            etag=identity(),
            created_time=datetime.now(UTC),
            data_path=make(ArtifactDataPath, data_store_name="workspaceartifactstore", relative_path=key),
        )
        return made

    def below(self, origin: str, container: str, prefix: str = "") -> list[Any]:
        """Return those whose path begins so."""
        return [
            each
            for (of, within, path), each in sorted(self.found.items())
            if (of, within) == (origin, container) and path.startswith(prefix)
        ]


def write(cloud: Cloud, origin: str, container: str, path: str, content: bytes) -> None:
    """Let there be an artifact with a content, for tests and other areas."""
    cloud.area(Artifacts).make(origin, container, path)
    cloud.blobs.get_blob_client(CONTAINER, f"{origin}/{container}/{path}").upload_blob(
        content, overwrite=True
    )


def information(cloud: Cloud, artifact: Any) -> Any:
    """Return where an artifact's content is, with the right to read and write it."""
    from azureml._restclient.models import ArtifactContentInformationDto

    return make(
        ArtifactContentInformationDto,
        content_uri=cloud.signed(CONTAINER, artifact.artifact_id),
        origin=artifact.origin,
        container=artifact.container,
        path=artifact.path,
    )


@route("POST", ARTIFACTS + "/batch/metadata/{origin}/{container}")
def create(cloud: Cloud, request: Request) -> Answer:
    """Make artifacts; those that there are already are told as errors."""
    from azureml._restclient.models import (
        BatchArtifactContentInformationDto,
        BatchArtifactCreateCommand,
        ErrorResponse,
        RootError,
    )

    artifacts, origin, container = cloud.area(Artifacts), request.names["origin"], request.names["container"]
    made, errors = {}, {}
    for each in request.model(BatchArtifactCreateCommand).paths:
        if (origin, container, each.path) in artifacts.found:
            message = f"Resource Conflict: ArtifactId {origin}/{container}/{each.path} already exists."
            error = make(RootError, code="UserError", message=message)
            errors[each.path] = make(ErrorResponse, error=error)
        else:
            made[each.path] = artifacts.make(origin, container, each.path)
    return Answer(
        body=make(
            BatchArtifactContentInformationDto,
            artifacts=made,
            artifact_content_information={path: information(cloud, each) for path, each in made.items()},
            errors=errors,
        )
    )


@route("GET", ARTIFACTS + "/contentinfo/{origin}/{container}/{path:path}")
@route("GET", ARTIFACTS + "/write/{origin}/{container}/{path:path}")
def content(cloud: Cloud, request: Request) -> Answer:
    """Return where an artifact's content is."""
    found = cloud.area(Artifacts).found.get(
        (request.names["origin"], request.names["container"], request.names["path"])
    )
    if found is None:
        return missing("UserError", f"There is no artifact {request.names['path']}.")
    return Answer(body=information(cloud, found))


@route("GET", ARTIFACTS + "/prefix/contentinfo/{origin}/{container}/{path:path}")
def contents(cloud: Cloud, request: Request) -> Answer:
    """Return where the contents are of all artifacts whose path begins so."""
    from azureml._restclient.models import PaginatedArtifactContentInformationDto

    found, token = _page(cloud, request, request.names["path"])
    value = [information(cloud, each) for each in found]
    return Answer(body=make(PaginatedArtifactContentInformationDto, value=value, continuation_token=token))


@route("GET", ARTIFACTS + "/{origin}/{container}")
def listing(cloud: Cloud, request: Request) -> Answer:
    """List a container's artifacts."""
    from azureml._restclient.models import PaginatedArtifactDto

    found, token = _page(cloud, request, "")
    return Answer(body=make(PaginatedArtifactDto, value=found, continuation_token=token))


def _page(cloud: Cloud, request: Request, prefix: str) -> tuple[list[Any], str | None]:
    artifacts = cloud.area(Artifacts)
    found = artifacts.below(request.names["origin"], request.names["container"], prefix)
    begin = int(request.query.get("continuationToken", 0))
    end = begin + artifacts.page
    return found[begin:end], str(end) if end < len(found) else None
