"""Assets: which files a model is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, route
from tests.azure.cloud.server import Cloud

MANAGEMENT = "/modelmanagement/v1.0" + WORKSPACE


@dataclass
class Assets:
    """Asset by id."""

    found: dict[str, Any] = field(default_factory=dict)


def fault(status: int, code: str, message: str) -> Answer:
    """Return an error as the services for models, images and endpoints write it."""
    from azureml._restclient.models import ModelErrorResponse

    return Answer(
        status,
        make(
            ModelErrorResponse,
            code=code,
            status_code=status,
            message=message,
            details=[],
            correlation={"RequestId": identity()},
        ),
    )


@route("POST", MANAGEMENT + "/assets")
def create(cloud: Cloud, request: Request) -> Answer:
    """Make an asset."""
    from azureml._restclient.models import Asset

    sent = request.model(Asset)
    sent.id, sent.created_time = identity().replace("-", ""), datetime.now(UTC)
    cloud.area(Assets).found[sent.id] = sent
    return Answer(body=sent)


@route("GET", MANAGEMENT + "/assets/{asset}")
def read(cloud: Cloud, request: Request) -> Answer:
    """Return an asset."""
    found = cloud.area(Assets).found.get(request.names["asset"])
    return Answer(body=found) if found else fault(404, "AssetNotFound", "There is no such asset.")
