"""What an error of Azure says, in one line, with what to do about it; and when a call is repeated."""

import io
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
import requests

from utils.platforms.azureml import advice, answers, faults, texts
from utils.platforms.azureml.bodies import Fault
from utils.platforms.azureml.faults import AzureError
from utils.platforms.protocol import PlatformError

SCOPE = "/subscriptions/s/resourceGroups/g"
COMPUTES = "Microsoft.MachineLearningServices/workspaces/computes"
FORBIDDEN = {
    "code": "AuthorizationFailed",
    "message": "The client 'app' with object id 'object-1' does not have authorization to perform action "
    f"'Microsoft.MachineLearningServices/workspaces/write' over scope '{SCOPE}' or the scope is invalid.",
}


class SdkError(Exception):
    """As azureml's: what it says is in `message`, and where it came from in `inner_exception`."""

    def __init__(self, message: str, inner_exception: BaseException | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.inner_exception = inner_exception


def answer(status: int, body: Any, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update({"x-ms-request-id": "request-1", **headers})
    made.raw = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    made.url = "https://management.azure.com/thing?sig=secret"
    return made


def http(status: int, body: Any, **headers: str) -> requests.HTTPError:
    return requests.HTTPError(f"{status} for url", response=answer(status, body, **headers))


def error(code: str, message: str, **others: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **others}}


STORE = (
    b"<?xml version='1.0'?><Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.\n"
    b"RequestId:store-1\nTime:2026</Message></Error>"
)
SPELLED = (
    "Received bad response from Resource Provider:\nResponse Code: 403\n"
    "Headers: {'x-ms-request-id': 'spelled-1', 'Retry-After': '7'}\n"
    f"Content: {json.dumps({'error': FORBIDDEN}).encode()!r}"
)
GONE = error("ResourceNotFound", "gone")
WRITTEN = json.dumps({"error_details": GONE, "status_code": 404, "url": "u"})
INNER = error("UserError", "bad", innerError={"code": "BadArgument", "innerError": {"code": "TooLong"}})
TAKEN = [{"code": "Conflict", "message": json.dumps(error("VaultAlreadyExists", "taken"))}]
DENIED = {"error": "invalid_client", "error_description": "AADSTS7000222: expired. Trace ID: t"}
NO_MODEL = {"code": "ModelNotFound", "statusCode": 404, "message": "no model"}
PLAIN = 'Error retrieving it. Code: 404\n: {"error": {"code": "UserError", "message": "m"}, ' + (
    '"correlation": {"RequestId": "by-body"}}'
)
FAMILIES = {
    "resource manager": (http(404, GONE), 404, "ResourceNotFound", "request-1"),
    "inner code": (http(400, INNER), 400, "TooLong", "request-1"),
    "model management": (http(404, NO_MODEL), 404, "ModelNotFound", "request-1"),
    "deployment": (
        http(400, error("DeploymentFailed", "m", details=TAKEN)), 400, "VaultAlreadyExists", "request-1"
    ),
    "store": (http(404, STORE), 404, "BlobNotFound", "request-1"),
    "sign-in": (http(401, DENIED), 401, "AADSTS7000222", "request-1"),
    "spelled out": (SdkError(SPELLED), 403, "AuthorizationFailed", "spelled-1"),
    "written as JSON": (SdkError(WRITTEN), 404, "ResourceNotFound", ""),
    "plain": (Exception(PLAIN), 404, "UserError", "by-body"),
    "wrapped": (SdkError("wrapped", http(429, error("Slow", "down"))), 429, "Slow", "request-1"),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_of_errors_are_all_read(family: str) -> None:
    raised, *expected = FAMILIES[family]
    found = answers.read(raised)
    assert [found.status, found.code, found.request] == expected
    assert found.message


def test_a_fault_is_one_line_with_code_request_and_what_to_do() -> None:
    with pytest.raises(AzureError) as refused, faults.speaking("The workspace can't be made"):
        raise http(403, {"error": FORBIDDEN})
    told = str(refused.value)
    assert told.startswith("The workspace can't be made: The client 'app'")
    assert "(AuthorizationFailed, HTTP 403, request request-1)" in told
    assert f'--role "Contributor" --assignee object-1 --scope {SCOPE}' in told
    assert "\n" not in told
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    ("fault", "advised"),
    [
        (Fault(403, "AuthorizationFailed", f"perform action '{COMPUTES}/write'"), "AzureML Compute Operator"),
        (Fault(403, "", "Forbidden"), "AzureML Data Scientist, or Contributor"),
        (Fault(400, "ClusterCoreQuotaReached", "m"), "quota is used up"),
        (Fault(409, "OperationNotAllowed", "m"), "quota is used up"),
        (Fault(409, "StorageAccountAlreadyTaken", "m"), "The name is taken"),
        (Fault(409, "VaultAlreadyExists", "m"), "purge"),
        (Fault(401, "ExpiredAuthenticationToken", "m"), "sign-in has expired"),
        (Fault(401, "AADSTS7000215", "m"), "AZURE_CLIENT_SECRET must be the secret's value"),
        (Fault(0, "AADSTS700213", "m"), "federated credential"),
        (Fault(429, "TooManyRequests", "m", retry_after=30.0), "try again in 30 seconds"),
        (Fault(503, "ServerBusy", "m"), "Too many requests"),
        (Fault(500, "InternalServerError", "m"), "Azure's own fault"),
        (Fault(0, "", "m", network=True), "HTTPS_PROXY"),
        (Fault(0, "", "m", network=True, certificate=True), "REQUESTS_CA_BUNDLE"),
        (Fault(409, "MissingSubscriptionRegistration", "m"), "az provider register"),
        (Fault(400, "SkuNotAvailable", "m"), "another size or region"),
        (Fault(400, "BadRequest", "m"), ""),
    ],
)  # fmt: skip
def test_what_to_do_follows_from_the_code(fault: Fault, advised: str) -> None:
    given = advice.give(fault)
    assert advised in given
    assert bool(given) == bool(advised)


@pytest.mark.parametrize(
    "secret",
    [
        "https://a.blob.core.windows.net/c/b?sv=1&sig=hush%2Fhush&se=2",
        "Authorization: Bearer hush.hush.hush",
        "DefaultEndpointsProtocol=https;AccountKey=hushhush==;EndpointSuffix=x",
        "SharedAccessSignature=hush",
        "token eyJhbGhush.eyJhbGhush.hush here",
        '{"access_token": "hush", "primaryKey": "hush"}',
        "client_secret=hush&scope=x",
        "password: hush",
    ],
)
def test_no_secret_is_told(secret: str) -> None:
    with pytest.raises(AzureError) as refused, faults.speaking("It failed"):
        raise SdkError(f"something with {secret} in it")
    assert "hush" not in str(refused.value)
    assert "something with" in str(refused.value)


def test_a_long_message_is_cut() -> None:
    with pytest.raises(AzureError) as refused, faults.speaking("It failed"):
        raise SdkError("word " * 1000)
    assert len(str(refused.value)) < texts.LENGTH + 50


def test_a_refusal_of_our_own_stays_as_it_is_also_within_an_error_of_the_sdk() -> None:
    ours = PlatformError("ours")
    with pytest.raises(PlatformError) as refused, faults.speaking("It failed"):
        raise ours
    assert refused.value is ours
    with pytest.raises(PlatformError) as refused, faults.speaking("It failed"):
        raise SdkError("theirs") from ours
    assert refused.value is ours


def test_what_was_being_handled_before_is_not_the_reason() -> None:
    def absent() -> None:
        raise SdkError("there is no such thing")

    def look_again() -> None:
        try:
            raise http(500, error("InternalServerError", "earlier"))
        except requests.HTTPError:
            with faults.speaking("It can't be found"):
                faults.retried(absent)

    with pytest.raises(AzureError, match="no such thing") as refused:
        look_again()
    assert refused.value.fault.status == 0


def test_only_a_404_for_just_that_thing_says_that_there_is_none() -> None:
    gone = http(404, error("ResourceNotFound", "gone"))
    assert faults.missing(gone)
    assert faults.missing(gone, "resourcenotfound")
    assert not faults.missing(http(404, error("SubscriptionNotFound", "gone")), "ResourceNotFound")
    for other in (
        http(403, {"error": FORBIDDEN}),
        http(500, {}),
        requests.ConnectionError("404"),
        SdkError("404"),
    ):
        assert not faults.missing(other)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": formatdate(0, usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_milliseconds_or_a_date(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert answers.retry_after(headers) == seconds
    assert (answers.retry_after({"Retry-After": formatdate(4102444800, usegmt=True)}) or 0) > 1e6


# ------------------------------------------------------------------ repeating


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    """Return a call that fails so, and then succeeds; with the number of calls."""
    left, calls = list(errors), [0]

    def call() -> str:
        calls[0] += 1
        if left:
            raise left.pop(0)
        return "done"

    return call, calls


def test_passing_faults_are_repeated_and_the_service_says_when(waits: list[float]) -> None:
    call, calls = failing(
        http(429, error("TooManyRequests", "m"), **{"Retry-After": "3"}),
        http(503, {}),
        requests.ConnectionError("cut"),
    )
    assert faults.retried(call) == "done"
    assert calls == [4]
    assert waits[0] == 3.0
    assert 1.0 <= waits[1] <= 2.0 <= waits[2] <= 4.0


@pytest.mark.parametrize(
    "final",
    [http(403, {"error": FORBIDDEN}), http(404, {}), http(409, {}), SdkError("no"), ValueError("no")],
)
def test_what_will_not_pass_is_raised_at_once(final: Exception, waits: list[float]) -> None:
    call, calls = failing(final)
    with pytest.raises(type(final)):
        faults.retried(call)
    assert (calls, waits) == ([1], [])


def test_it_is_not_repeated_for_ever(waits: list[float]) -> None:
    call, calls = failing(*[http(500, {})] * 20)
    with pytest.raises(requests.HTTPError):
        faults.retried(call)
    assert calls == [faults.ATTEMPTS]


def test_nobody_waits_for_longer_than_a_minute(waits: list[float]) -> None:
    call, calls = failing(http(429, {}, **{"Retry-After": "3600"}))
    with pytest.raises(requests.HTTPError):
        faults.retried(call)
    assert (calls, waits) == ([1], [])


def test_what_a_layer_below_has_repeated_is_not_repeated_again(waits: list[float]) -> None:
    def call() -> None:
        faults.repeating()
        raise http(500, {})

    with pytest.raises(requests.HTTPError):
        faults.retried(call)
    assert waits == []


def test_an_expired_token_is_renewed_once(waits: list[float]) -> None:
    expired = http(401, error("ExpiredAuthenticationToken", "expired"))
    renewed: list[str] = []
    call, calls = failing(expired)
    assert faults.retried(call, renew=lambda: renewed.append("once")) == "done"
    call, calls = failing(expired, expired)
    with pytest.raises(requests.HTTPError):
        faults.retried(call, renew=lambda: renewed.append("twice"))
    assert (calls, renewed, waits) == ([2], ["once", "twice"], [])
