"""Registered models and their versions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from tests.azure import names
from tests.azure.cloud import tokens
from tests.azure.cloud.assets import MANAGEMENT, Assets, fault
from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import Answer, Request, route
from tests.azure.cloud.server import Cloud

ASSET = "aml://asset/"


@dataclass
class Models:
    """All of them.

    Attributes
    ----------
    found : dict
        Model by id, such as "diabetes:3".
    page : int
        How many are told at once, at most.
    deaf : bool
        Whether a filter by name finds nothing, as if it were understood otherwise.
    onward : str
        By which query parameter the next page is asked for.
    """

    found: dict[str, Any] = field(default_factory=dict)
    page: int = 255
    deaf: bool = False
    onward: str = "$skipToken"
    _last: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Return the next version's number; none is given twice, though a version be deleted."""
        self._last[name] = self._last.get(name, 0) + 1
        return self._last[name]

    def versions(self, name: str) -> list[Any]:
        """Return a model's versions."""
        return [each for each in self.found.values() if each.name == name]


@route("POST", MANAGEMENT + "/models")
def register(cloud: Cloud, request: Request) -> Answer:
    """Register a new version of a model."""
    from azureml._restclient.models import Model, ModelCreatedBy

    models, sent = cloud.area(Models), request.model(Model)
    if sent.url.removeprefix(ASSET) not in cloud.area(Assets).found:
        return fault(400, "AssetNotFound", f"There is no asset {sent.url}.")
    sent.version = models.number(sent.name)
    sent.id = f"{sent.name}:{sent.version}"
    sent.created_time = sent.modified_time = datetime.now(UTC)
    sent.framework = sent.framework or "Custom"
    sent.kv_tags, sent.properties = sent.kv_tags or {}, sent.properties or {}
    sent.datasets, sent.derived_model_ids = sent.datasets or [], []
    sent.created_by = make(ModelCreatedBy, user_object_id=tokens.OBJECT, user_tenant_id=tokens.TENANT)
    models.found[sent.id] = sent
    return Answer(body=sent)


@route("GET", MANAGEMENT + "/models")
def listing(cloud: Cloud, request: Request) -> Answer:
    """List models, newest first, by name, tags and properties, in pages."""
    from azureml._restclient.models import PaginatedModelList

    models, asked = cloud.area(Models), request.query
    known = {"name", "tags", "properties", "runId", "framework", "count", "$skipToken", "latestVersionOnly"}
    if asked.keys() - known:
        return fault(400, "BadArgument", f"{sorted(asked.keys() - known)} isn't understood.")
    found = [each for each in reversed(models.found.values()) if _fits(each, asked)]
    if models.deaf and "name" in asked:
        found = []
    if asked.get("latestVersionOnly", "").lower() == "true":
        ordered = sorted(found, key=lambda each: (each.name, -each.version))
        found = [next(group) for _, group in itertools.groupby(ordered, key=lambda each: each.name)]
    begin = int(asked.get("$skipToken", 0))
    end = begin + min(int(asked.get("count", models.page)), models.page)
    link = None
    if end < len(found):
        link = f"https://{names.SERVICES}{request.path}?{urlencode({**asked, models.onward: end})}"
    return Answer(body=make(PaginatedModelList, value=found[begin:end], next_link=link))


def _fits(model: Any, asked: Mapping[str, str]) -> bool:
    return (
        asked.get("name") in (None, model.name)
        and asked.get("runId") in (None, model.run_id)
        and asked.get("framework") in (None, model.framework)
        and _has(model.kv_tags, asked.get("tags", ""))
        and _has(model.properties, asked.get("properties", ""))
    )


def _has(values: Mapping[str, str], wanted: str) -> bool:
    """Whether there is all of "key,key=value"."""
    for each in filter(None, wanted.split(",")):
        name, equals, value = each.partition("=")
        if name not in values or (equals and values[name] != value):
            return False
    return True


@route("GET|DELETE", MANAGEMENT + "/models/{model}")
def version(cloud: Cloud, request: Request) -> Answer:
    """Return a version, or delete it."""
    models, key = cloud.area(Models), request.names["model"]
    if request.method == "DELETE":
        return Answer(200 if models.found.pop(key, None) else 204)
    if key not in models.found:
        return fault(404, "ModelNotFound", f"Model with id {key} was not found.")
    return Answer(body=models.found[key])


@route("PATCH", MANAGEMENT + "/models/{model}")
def change(cloud: Cloud, request: Request) -> Answer:
    """Change a version by a JSON Patch: its tags as a whole; properties can only be added to."""
    from azureml._restclient.models import JsonPatchOperation

    found = cloud.area(Models).found.get(request.names["model"])
    if found is None:
        return fault(404, "ModelNotFound", f"Model with id {request.names['model']} was not found.")
    for each in request.models(JsonPatchOperation):
        if each.op in ("replace", "add") and each.path == "/kvTags":
            found.kv_tags = dict(each.value)
        elif each.op == "replace" and each.path == "/description":
            found.description = each.value
        elif each.op == "add" and each.path == "/properties":
            if any(each.value.get(name, value) != value for name, value in found.properties.items()):
                return fault(400, "BadArgument", "Properties are immutable.")
            found.properties |= each.value
        else:
            return fault(400, "BadArgument", f"{each.op} of {each.path} isn't supported.")
    found.modified_time = datetime.now(UTC)
    return Answer(body=found)
