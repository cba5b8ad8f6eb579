"""What the body of an error says, of whichever of Azure's services it is."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.platforms.azureml.texts import line

# These only say that something within has failed.
_WRAPPERS = {
    "BadRequest",
    "Conflict",
    "DeploymentFailed",
    "InvalidTemplateDeployment",
    "MultipleErrorsOccurred",
    "ResourceDeploymentFailure",
}


@dataclass(frozen=True)
class Fault:
    """What went wrong.

    Attributes
    ----------
    status : int
        The answer's status; 0 where there was no answer.
    code : str
        Azure's own word, such as "AuthorizationFailed".
    message : str
        One line, without secrets, not too long.
    request : str
        The request's id, by which Microsoft's support finds it.
    method, url : str
        What was asked, as far as it is known; without its query.
    retry_after : float or None
        When the service would have it again, in seconds.
    network : bool
        Whether there was no answer because of the connection.
    certificate : bool
        Whether the other side's certificate wasn't accepted.
    repeated : bool
        Whether a layer below has repeated the request in vain already.
    """

    status: int = 0
    code: str = ""
    message: str = ""
    request: str = ""
    method: str = ""
    url: str = ""
    retry_after: float | None = None
    network: bool = False
    certificate: bool = False
    repeated: bool = False


def body(content: Any, status: int = 0) -> Fault:
    """Read the error in a body: Azure Resource Manager's, the services' own, a sign-in's, or a store's."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content or "")
    with contextlib.suppress(ValueError):
        return mapping(json.loads(text), status)
    code = re.search(r"<Code>([^<]*)</Code>", text)
    if code:
        message = re.search(r"<Message>([^<]*)</Message>", text)
        said = message[1] if message else ""
        request = re.search(r"RequestId:(\S+)", said)
        return Fault(status, code[1], line(said.split("RequestId:")[0]), request[1] if request else "")
    return Fault(status, "", "" if "<html" in text.lower() else line(text))


def mapping(content: Any, status: int = 0) -> Fault:
    """Read an error that has been decoded."""
    if not isinstance(content, Mapping):
        return Fault(status, "", line(str(content or "")))
    # The service that runs pipelines writes its names with a capital.
    content = {str(key)[:1].lower() + str(key)[1:]: value for key, value in content.items()}
    error = content.get("error", content)
    if isinstance(error, str):
        # A sign-in's: {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client
        # secret…"}.
        said = str(content.get("error_description") or content.get("message") or "")
        number = re.search(r"AADSTS\d+", said)
        words = re.split(r"\s*(?:\r?\n|Trace ID:)", said)[0]
        return Fault(status, number[0] if number else error, line(words), str(content.get("trace_id") or ""))
    if not isinstance(error, Mapping):
        return Fault(status, "", line(str(error)))
    code, message = _deepest(error)
    correlation = content.get("correlation") or error.get("correlation") or {}
    request = ""
    if isinstance(correlation, Mapping):
        lower = {str(key).lower(): value for key, value in correlation.items()}
        request = str(lower.get("requestid") or lower.get("request") or lower.get("operation") or "")
    given = content.get("statusCode") or content.get("status_code") or status
    number_of = int(given) if str(given).isdigit() else status
    return Fault(number_of, code, line(message), request)


def _deepest(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return the code and the message that tell most: a deployment's own say only that something failed."""
    lower = {str(key).lower(): value for key, value in error.items()}
    code, message = str(lower.get("code") or ""), str(lower.get("message") or "")
    details = [each for each in lower.get("details") or [] if isinstance(each, Mapping)]
    if code in _WRAPPERS and details:
        inner = _deepest(details[0])
        # A detail may hold the inner service's whole answer as text.
        with contextlib.suppress(ValueError):
            within = json.loads(inner[1])
            if isinstance(within, Mapping):
                inner = _deepest(within.get("error", within))
        if inner[0] or inner[1]:
            return inner[0] or code, inner[1] or message
    within = lower.get("innererror") or lower.get("inner_error")
    while isinstance(within, Mapping):
        named = {str(key).lower(): value for key, value in within.items()}
        code = str(named.get("code") or code)
        message = message or str(named.get("message") or "")
        within = named.get("innererror") or named.get("inner_error")
    said = [str(each.get("message") or "") for each in details if each.get("message")]
    if said and said[0] not in message:
        message = f"{message.rstrip()} {said[0]}".strip()
    return code, message
