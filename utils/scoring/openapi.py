"""The OpenAPI document of a service, made from its model's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .loading import Loaded
from .settings import Settings

_TYPES: Mapping[str, dict[str, Any]] = {
    "number": {"type": "number"},
    "integer": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
}

_REFUSALS = {
    "400": "The body is not the right JSON.",
    "401": "The API key is missing or wrong.",
    "405": "Only POST is taken.",
    "408": "The request wasn't whole in time.",
    "413": "Too many rows or bytes.",
    "415": "The Content-Type is not application/json.",
    "422": "A value doesn't fit the model's inputs; the reason names its row and column.",
    "431": "The request's head is too large.",
    "500": "The service failed.",
    "503": "Too many connections.",
}

# What a server may answer to any request, before its path is known.
_ANYWHERE = ("400", "405", "408", "431", "500", "503")

_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "What is wrong, where, and what is expected."}},
    "required": ["error"],
    "additionalProperties": False,
}


def document(loaded: Loaded, settings: Settings, *, keys: bool) -> dict[str, Any]:
    """Describe the service of a package.

    Parameters
    ----------
    loaded : Loaded
    settings : Settings
    keys : bool
        Whether API keys are asked for.

    Returns
    -------
    dict
        The content of openapi.json.

    References
    ----------
    OpenAPI Initiative, "OpenAPI Specification 3.1.0", https://spec.openapis.org/oas/v3.1.0
    """
    schema, identity = loaded.scorer.schema, loaded.identity
    security: dict[str, Any] = {"security": [{"key": []}]} if keys else {}
    components: dict[str, Any] = {
        "schemas": {
            **_rows(schema["inputs"], settings.max_rows),
            "Answer": _answer(schema["output"], settings.max_rows),
            "Error": _ERROR,
            "Health": _health(),
        },
    }
    if keys:
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "An API key of this service."}
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": identity.name,
            "version": identity.version,
            "summary": f"Predicts {schema['output']['name']}.",
            "description": f"Package {identity.digest}.",
        },
        "paths": {
            "/score": {"post": {**_score(loaded, settings, keys), **security}},
            "/health/live": {"get": _get("live", "Whether the process answers.", _json({"type": "object"}))},
            "/health/ready": {
                "get": _get(
                    "ready",
                    "Whether requests should be sent here, and which package answers them.",
                    _json(_reference("Health")),
                    {"503": _said("The service is about to pause or end.", _reference("Health"))},
                )
            },
            "/metrics": {
                "get": {
                    **_get(
                        "metrics",
                        "What was asked and how it went, for Prometheus.",
                        {"text/plain": {"schema": {"type": "string"}}},
                        {"401": _said(_REFUSALS["401"], _reference("Error"))} if keys else {},
                    ),
                    **security,
                }
            },
            "/openapi.json": {"get": _get("openapi", "This document.", _json({"type": "object"}))},
            "/": {
                "get": _get(
                    "page", "A page about the service.", {"text/html": {"schema": {"type": "string"}}}
                )
            },
        },
        "components": components,
    }


def _score(loaded: Loaded, settings: Settings, keys: bool) -> dict[str, Any]:
    schema = loaded.scorer.schema
    names = [column["name"] for column in schema["inputs"]]
    refusals = {status: words for status, words in _REFUSALS.items() if keys or status != "401"}
    examples = {
        "lists": {"value": {"data": [loaded.example]}},
        "records": {"value": {"data": [dict(zip(names, loaded.example, strict=True))]}},
    }
    return {
        "operationId": "score",
        "summary": f"Predict {schema['output']['name']} for rows.",
        "description": f"At most {settings.max_rows} rows and {settings.max_bytes} bytes at a time.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference("Rows"), "examples": examples}},
        },
        "responses": {
            "200": {"description": "One prediction for each row.", "content": _json(_reference("Answer"))},
            **{status: _said(words, _reference("Error")) for status, words in refusals.items()},
        },
    }


def _rows(inputs: Sequence[Mapping[str, Any]], most: int) -> dict[str, Any]:
    """Describe the rows, in both forms; all rows of a request have the same."""
    columns = {column["name"]: _column(column) for column in inputs}
    row = {
        "type": "array",
        "description": f"The values of {', '.join(columns)}, in this order.",
        "prefixItems": list(columns.values()),
        "items": False,
        "minItems": len(columns),
        "maxItems": len(columns),
    }
    record = {
        "type": "object",
        "properties": columns,
        "required": [column["name"] for column in inputs if not column["nullable"]],
        "additionalProperties": False,
    }
    several = {"type": "array", "minItems": 1, "maxItems": most}
    return {
        "Row": row,
        "Record": record,
        "Rows": {
            "type": "object",
            "properties": {
                "data": {
                    "anyOf": [
                        {**several, "items": _reference("Row")},
                        {**several, "items": _reference("Record")},
                    ]
                }
            },
            "required": ["data"],
            "additionalProperties": False,
        },
    }


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(_TYPES[column["type"]])
    if column["nullable"]:
        found["type"] = [found["type"], "null"]
    elif column["type"] == "string":
        found["minLength"] = 1
    return found


def _answer(output: Mapping[str, Any], most: int) -> dict[str, Any]:
    items = {"enum": output["classes"]} if "classes" in output else {"type": "number"}
    return {
        "type": "object",
        "properties": {"result": {"type": "array", "items": items, "minItems": 1, "maxItems": most}},
        "required": ["result"],
        "additionalProperties": False,
    }


def _health() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "status": {"enum": ["ready", "draining"]},
            "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "model": {"type": "string"},
            "version": {"type": "string"},
        },
        "required": ["status", "digest", "model", "version"],
        "additionalProperties": False,
    }


def _get(
    name: str, words: str, content: dict[str, Any], others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    anywhere = {status: _said(_REFUSALS[status], _reference("Error")) for status in _ANYWHERE}
    return {
        "operationId": name,
        "summary": words,
        "responses": {"200": {"description": words, "content": content}, **anywhere, **(others or {})},
    }


def _said(words: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": _json(schema)}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
