"""The OpenAPI document is what the service does: schemathesis asks what it allows and what not."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.utils.scoring.conftest import KEY, body_of
from utils import files
from utils.packaging import Package

# More can be asked for; each run asks others.
REQUESTS = int(os.environ.get("SCHEMATHESIS_REQUESTS", "1500"))

ALWAYS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def port(built: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a service with keys."""
    folder = tmp_path_factory.mktemp("contract")
    keys = files.write_text(folder / "keys", KEY)
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(built.folder / "serve.py"), "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
            env={"SCORING_DRAIN_SECONDS": "0.2", "SCORING_KEYS_FILE": str(keys)},
        )
        found = listener.getsockname()[1]
    try:
        yield found
        counted = _count(found)
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0
    assert counted > 0
    assert "Traceback" not in (folder / "log").read_text()


def _count(port: int) -> float:
    """Return how many requests to score were answered; none of them by 5xx."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics", headers=HEADERS)
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    counted = [line.split('"', 2)[1:] for line in lines if line.startswith("scoring_requests_total{")]
    assert [number for status, number in counted if status.startswith("5") and number != "} 0.0"] == []
    return sum(float(number.split()[1]) for _, number in counted)


def _ask(strategy: Any, requests: int, ask: Any) -> None:
    settings = hypothesis.settings(
        max_examples=requests,
        database=None,
        derandomize=True,  # what fails once fails again; another number of requests gives others
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    given: Any = hypothesis.given(strategy)
    settings(given(ask))()


@pytest.fixture(scope="module")
def operations(port: int) -> dict[str, Any]:
    schema: Any = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", wait_for_schema=60)
    return {found.path: found for found in (result.ok() for result in schema.get_all_operations())}


def test_what_the_document_allows_is_scored(operations: dict[str, Any]) -> None:
    statuses: Counter[int] = Counter()

    def ask(case: Any) -> None:
        response = case.call_and_validate(headers=HEADERS, checks=ALWAYS)
        statuses[response.status_code] += 1
        # The document can't say how large numbers may be until the model's prediction is none.
        assert response.status_code == 200 or "can't be scored" in response.json()["error"], case.body

    _ask(operations["/score"].as_strategy(generation_mode=POSITIVE), REQUESTS // 3, ask)
    assert statuses[200] > sum(statuses.values()) * 0.5, statuses


def test_what_the_document_doesnt_allow_is_refused(operations: dict[str, Any]) -> None:
    def ask(case: Any) -> None:
        response = case.call_and_validate(headers=HEADERS, checks=ALWAYS)
        # It may also have changed the header of the key, for which our own is sent.
        assert response.status_code in (400, 401, 413, 415, 422) or "Authorization" in case.headers

    _ask(operations["/score"].as_strategy(generation_mode=NEGATIVE), REQUESTS // 3, ask)


def test_a_body_with_something_changed_is_answered(port: int, built: Package) -> None:
    rows = files.read_json(built.folder / "golden.json")["data"]
    whole = body_of(*rows[:2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    pieces = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b'"',
        b"\\",
        b"null",
        b"NaN",
        b"1e999",
        b"\\ud800",
        b"-",
        b"0",
    ]
    piece = strategies.one_of(strategies.binary(max_size=8), strategies.sampled_from(pieces))
    start, length = strategies.integers(0, len(whole)), strategies.integers(0, 12)
    changes = strategies.lists(strategies.tuples(start, length, piece), max_size=4)

    def ask(changed: list[tuple[int, int, bytes]]) -> None:
        body = whole
        for start, length, new in changed:
            body = body[:start] + new + body[start + length :]
        connection.request("POST", "/score", body, {**HEADERS, "Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status in (200, 400, 413, 422), body
        assert list(answer) == (["result"] if response.status == 200 else ["error"]), body

    _ask(changes, REQUESTS - 2 * (REQUESTS // 3), ask)
    connection.close()


def test_every_page_is_as_the_document_says(operations: dict[str, Any]) -> None:
    def ask(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, checks=ALWAYS)

    for path, operation in operations.items():
        if path != "/score":
            _ask(operation.as_strategy(generation_mode=POSITIVE), 10, ask)
