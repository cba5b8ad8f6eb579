"""Data sets: registered under a name, in versions that say where their files are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, missing, refused, route
from tests.azure.cloud.server import Cloud

DATASETS = "/dataset/v1.0" + WORKSPACE + "/datasets"
UNREGISTERED = "unregistered-"


@dataclass
class Datasets:
    """DatasetDto of each version, by name, in the order in which they were registered."""

    found: dict[str, list[Any]] = field(default_factory=dict)

    def identical(self, dataflow: str) -> str:
        """Return "name:version" of a version with these very files, or ""."""
        for name, versions in self.found.items():
            for each in versions:
                if each.latest.dataflow == dataflow:
                    return f"{name}:{each.latest.version_id}"
        return ""

    def saved(self, key: str) -> Any | None:
        """Return the version with a saved id."""
        versions = (each for found in self.found.values() for each in found)
        return next((each for each in versions if each.latest.saved_dataset_id == key), None)


@route("POST", DATASETS)
def register(cloud: Cloud, request: Request) -> Answer:
    """Register a new version; the same files can't be registered a second time."""
    from azureml._restclient.models import DatasetDto, DatasetStateDto

    datasets, sent = cloud.area(Datasets), request.model(DatasetDto)
    versions = datasets.found.setdefault(sent.name, [])
    if versions and request.query.get("ifExistsOk") != "true":
        return refused(409, "UserError", f"There is a dataset {sent.name} already.")
    identical = datasets.identical(sent.latest.dataflow)
    if identical:
        return refused(400, "UserError", f"The dataset has been registered as {identical} (name:version).")
    now = datetime.now(UTC)
    sent.dataset_id = versions[0].dataset_id if versions else identity()
    sent.created_time, sent.modified_time, sent.etag = now, now, identity()
    sent.tags, sent.dataset_state = sent.tags or {}, make(DatasetStateDto, state="active")
    sent.latest.dataset_id, sent.latest.created_time = sent.dataset_id, now
    sent.latest.version_id, sent.latest.saved_dataset_id = str(len(versions) + 1), identity()
    versions.append(sent)
    return Answer(body=sent)


@route("GET", DATASETS + "/query/name={name}")
def by_name(cloud: Cloud, request: Request) -> Answer:
    """Return a version of a data set, the newest unless one is named."""
    versions = cloud.area(Datasets).found.get(request.names["name"], [])
    wanted = request.query.get("versionId")
    fitting = [each for each in versions if wanted in (None, "", each.latest.version_id)]
    if not fitting:
        return missing("UserError", f"There is no dataset {request.names['name']}.")
    return Answer(body=fitting[-1])


@route("GET", "/data/v1.0" + WORKSPACE + "/dataversion/{name}/versions/{version}")
def dataflow(cloud: Cloud, request: Request) -> Answer:
    """Return what tells the native library how a version's files are read."""
    found = cloud.area(Datasets).saved(request.names["name"].removeprefix(UNREGISTERED))
    if found is None:
        return missing("UserError", f"There is no version {request.names['name']}.")
    read = json.loads(found.latest.dataflow)["meta"]["RsDataflow"]
    return Answer(body={"legacyDataflow": read})


@route("GET", DATASETS)
def listing(cloud: Cloud, request: Request) -> Answer:
    """List the newest version of each data set."""
    from azureml._restclient.models import PaginatedResultDatasetDto

    newest = [versions[-1] for versions in cloud.area(Datasets).found.values() if versions]
    return Answer(body=make(PaginatedResultDatasetDto, value=newest))
