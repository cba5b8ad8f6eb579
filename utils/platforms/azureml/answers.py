"""What an error of the SDK, or the answer behind it, says: status, code, message, request id.

The SDK raises errors of some ten families, many of which hold the service's answer only as text within their
message. All are read here by what they carry rather than by their types, so that none of the SDK's modules is
needed.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import email.utils
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from utils.platforms.azureml.bodies import Fault, body, mapping
from utils.platforms.azureml.texts import line

_IDS = (
    "x-ms-request-id",
    "x-ms-correlation-request-id",
    "request-id",
    "x-request-id",
    "x-ms-client-request-id",
)


def read(error: BaseException, before: BaseException | None = None) -> Fault:
    """Read an error, and those that it was made of; the most telling of them counts.

    Parameters
    ----------
    before : Exception, optional
        What was being handled already when the call was made: it isn't the reason.
    """
    errors = list(chain(error, before))
    found = [_fault(each) for each in errors]
    # The outermost that tells: an answer that was only being handled when the network failed isn't the fault.
    best = next(
        (each for each in found if each.network or (each.status and (each.code or each.message))), None
    )
    best = best or next((each for each in found if each.status), None)
    if best is None:
        # The innermost that isn't the SDK's own wrapping has the reason; often it is the first itself.
        best = next((each for each in found if each.code), found[0])
    for each in found:
        best = replace(
            best,
            code=best.code or each.code,
            request=best.request or each.request,
            message=best.message or each.message,
            retry_after=best.retry_after if best.retry_after is not None else each.retry_after,
            certificate=best.certificate or each.certificate,
            repeated=best.repeated or each.repeated,
        )
    return replace(best, repeated=best.repeated or _given_up(errors))


def chain(error: BaseException, before: BaseException | None = None) -> Iterator[BaseException]:
    """Yield an error and those that it came from, each once, outermost first; see `read`."""
    waiting: list[Any] = [error]
    seen: set[int] = {id(before)}
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        context = None if each.__suppress_context__ else each.__context__
        waiting += [getattr(each, "inner_exception", None), getattr(each, "reason", None)]
        waiting += [argument for argument in each.args if isinstance(argument, BaseException)]
        waiting += [each.__cause__, context]


def retry_after(headers: Mapping[str, Any]) -> float | None:
    """Return for how long a service wants to be left alone: given as seconds, milliseconds or a date."""
    lower = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = lower.get(name)
        if not value:
            continue
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) * unit
        with contextlib.suppress(ValueError, TypeError):
            then = email.utils.parsedate_to_datetime(value)
            if then.tzinfo is None:
                then = then.replace(tzinfo=datetime.UTC)
            return max(0.0, then.timestamp() - time.time())
    return None


def _fault(error: BaseException) -> Fault:
    """Read one error, without those that it was made of."""
    answer = getattr(error, "response", None)
    if answer is not None and getattr(answer, "status_code", None):
        return _answer(answer)
    text = _text(error)
    said = _spelled(text)
    if said is not None:
        return said
    kind = type(error).__name__
    if _is_network(error):
        asked = getattr(error, "request", None)
        return Fault(
            0,
            "",
            line(text) or kind,
            method=str(getattr(asked, "method", "") or ""),
            url=_bare(str(getattr(asked, "url", "") or "")),
            network=True,
            certificate="certificate" in text.lower(),
        )
    status = getattr(error, "status_code", None)
    code = getattr(error, "error_code", "") or ""
    number = re.search(r"AADSTS\d+", text)
    return Fault(
        status if isinstance(status, int) else 0,
        str(getattr(code, "value", code)) or (number[0] if number else ""),
        line(re.split(r"\s*(?:\r?\nTrace ID:|Trace ID:)", text)[0]) or kind,
    )


def _answer(answer: Any) -> Fault:
    headers = dict(getattr(answer, "headers", None) or {})
    status = int(answer.status_code)
    content: Any = b""
    with contextlib.suppress(Exception):
        # requests has content, azure-core text(), msrest either.
        content = getattr(answer, "content", None)
        if not isinstance(content, bytes | str):
            content = answer.text() if callable(answer.text) else answer.text
    found = body(content, status)
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    asked = getattr(answer, "request", None)
    raw = getattr(answer, "raw", None)
    history = getattr(getattr(raw, "retries", None), "history", ())
    return replace(
        found,
        status=status,
        code=found.code or lower.get("x-ms-error-code", ""),
        message=found.message or str(getattr(answer, "reason", "") or ""),
        request=next((lower[name] for name in _IDS if lower.get(name)), found.request),
        method=str(getattr(asked, "method", "") or ""),
        url=_bare(str(getattr(asked, "url", "") or getattr(answer, "url", "") or "")),
        retry_after=retry_after(headers),
        repeated=bool(history),
    )


def _spelled(text: str) -> Fault | None:
    """Read an answer that the SDK has written into its message, of which there are three ways."""
    plain = re.search(r"Code: (\d{3})\n: (.*)", text, re.DOTALL)
    if plain:
        return body(plain[2], int(plain[1]))
    code = re.search(r"Response Code:\s*(\d{3})", text)
    if code:
        parts = re.search(r"Headers:\s*(\{.*?\})\s*\n\s*Content:\s*(.*)", text, re.DOTALL)
        headers: Mapping[str, Any] = {}
        content: Any = ""
        if parts:
            with contextlib.suppress(ValueError, SyntaxError):
                headers = ast.literal_eval(parts[1])
            content = parts[2].strip()
            with contextlib.suppress(ValueError, SyntaxError):
                content = ast.literal_eval(re.split(r"\n\tInnerException", content)[0].strip())
        found = body(content, int(code[1]))
        lower = {str(name).lower(): str(value) for name, value in headers.items()}
        return replace(
            found,
            status=int(code[1]),
            request=next((lower[name] for name in _IDS if lower.get(name)), found.request),
            retry_after=retry_after(headers),
        )
    told = re.search(r"Request failed \((\d{3})\):\s*(.*)", text)
    if told:
        # Of data sets: nothing else is left of the answer.
        return Fault(int(told[1]), "", line(told[2]))
    start = text.find("{")
    if start >= 0 and '"status_code"' in text:
        with contextlib.suppress(ValueError):
            given, _ = json.JSONDecoder().raw_decode(text[start:])
            details = given.get("error_details") if isinstance(given, dict) else None
            found = mapping(details) if isinstance(details, dict) else body(details or "")
            return replace(found, status=int(given["status_code"]), url=_bare(str(given.get("url") or "")))
    return None


def _text(error: BaseException) -> str:
    """Return an error's message; azureml's own str() repeats it, within a page of JSON."""
    message = getattr(error, "message", None)
    if isinstance(message, str) and message:
        return message
    try:
        return str(error)
    except Exception:  # some of the SDK's fail to say what they are
        return type(error).__name__


def _is_network(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _NETWORK)


def _given_up(errors: list[BaseException]) -> bool:
    """Return whether urllib3 below msrest, or azure-core, has repeated the request as often as it does."""
    names = {kind.__name__ for error in errors for kind in type(error).__mro__}
    core = names & {"ServiceRequestError", "ServiceResponseError", "HttpResponseError"}
    return bool(core) or {"ClientRequestError", "MaxRetryError"} <= names


_NETWORK = {
    "ChunkedEncodingError",
    "ConnectTimeout",
    "ConnectionError",
    "HTTPException",
    "IncompleteRead",
    "MaxRetryError",
    "NewConnectionError",
    "ProtocolError",
    "ProxyError",
    "ReadTimeout",
    "RemoteDisconnected",
    "SSLError",
    "ServiceRequestError",
    "ServiceResponseError",
    "Timeout",
    "gaierror",
}


def _bare(url: str) -> str:
    return url.split("?")[0]
