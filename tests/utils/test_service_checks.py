"""Service checks: a good service passes, and each way to be bad is found and named."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from utils import files, packaging, service_checks
from utils.packaging import Package
from utils.platforms.protocol import Endpoint
from utils.scoring import entry
from utils.scoring.scorer import BadRequest, Scorer
from utils.service_checks import Report, ServiceError

Answer = tuple[int, Any]


class Service:
    """A scoring service in a thread, whose answers a test can spoil."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.scorer = Scorer(package.folder)
        self.spoil: Callable[[str, bytes, Answer], Answer | None] = lambda path, body, answer: answer
        self.headers: dict[str, str] = {}
        self.key = ""
        self.describes = False
        self.failed = 0
        self.asked: list[tuple[str, bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One packet for each answer, as real services send it.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._send(service.answer(self.path, b""))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if service.key and self.headers["Authorization"] != f"Bearer {service.key}":
                    self._send((401, {"error": "no key"}))
                else:
                    self._send(service.answer(self.path, body))

            def _send(self, answer: Answer | None) -> None:
                if answer is None:
                    self.close_connection = True
                    return
                status, content = answer
                encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            def log_message(self, *words: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *given: object) -> None:
                pass  # the client hung up, as some tests make it do

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, body: bytes) -> Answer | None:
        self.asked.append((path, body))
        return self.spoil(path, body, self._right(path, body))

    def _right(self, path: str, body: bytes) -> Answer:
        if path == "/health/ready":
            return 200, {"status": "ready", "digest": self.package.digest}
        if path == "/metrics":
            counted = f"""scoring_requests_total{{status="200"}} 3.0
scoring_requests_total{{status="500"}} {self.failed}.0
"""
            return 200, counted.encode()
        if path != "/score":
            return 404, {"error": "no such path"}
        if self.describes and body == entry.DESCRIBE.encode():
            return 200, {"name": "demo", "version": "3", "digest": self.package.digest}
        try:
            return 200, {"result": self.scorer.score(body)}
        except BadRequest as refused:
            return refused.status, {"error": refused.message}

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def check(self, *, endpoint: Endpoint | None = None, **options: Any) -> Report:
        given = {"requests": 20, "timeout": 20.0, **options}
        return service_checks.check(endpoint or _endpoint(self.url), self.package, **given)


def _endpoint(url: str) -> Endpoint:
    return Endpoint("staging", "demo", url, "", "3", confirmed=False)


@pytest.fixture
def service(built: Package) -> Iterator[Service]:
    found = Service(built)
    yield found
    found.stop()


@pytest.fixture
def alone(service: Service) -> Endpoint:
    """An endpoint of whose service nothing but /score can be reached."""
    service.describes = True
    service.spoil = lambda path, body, answer: answer if path == "/score" else (404, {})
    return replace(_endpoint(service.url), routes=())


def _failed(report: Report) -> dict[str, str]:
    return {check["check"]: check["observed"] for check in report.checks if not check["passed"]}


def test_a_good_service_passes_every_check(service: Service) -> None:
    report = service.check()
    assert _failed(report) == {}
    assert report.passed
    assert [check["check"] for check in report.checks] == [
        "health",
        "golden rows",
        "bad request: not JSON",
        "bad request: NaN",
        "bad request: no body",
        "bad request: missing columns",
        "bad request: wrong types",
        "bad request: no rows",
        "bad request: 10,000 rows",
        "single rows",
        "errors",
    ]
    for check in report.checks:
        assert check["expected"]
        assert check["observed"]
        json.dumps(check)
    service_checks.demand(report)


def test_a_service_with_keys_must_refuse_those_who_have_none(service: Service) -> None:
    service.key = "a-key-of-this-service"
    report = service.check(key=service.key)
    assert _failed(report) == {}
    assert {"no API key", "wrong API key"} <= {check["check"] for check in report.checks}
    assert "golden rows" in _failed(service.check())
    open_to_all = {"no API key": "200", "wrong API key": "200"}
    service.key, key = "", service.key
    assert _failed(service.check(key=key)) == open_to_all


def test_a_service_that_has_failed_before_is_found_out(service: Service) -> None:
    service.failed = 2
    assert _failed(service.check()) == {"errors": "2 of 5"}
    service.spoil = lambda path, body, answer: (404, {}) if path == "/metrics" else answer
    assert list(_failed(service.check())) == ["errors"]


def test_latencies_are_of_the_requests_after_the_warm_up(service: Service) -> None:
    report = service.check(requests=25)
    assert report.latencies.shape == (25,)
    assert (report.latencies > 0).all()
    assert report.latency["requests"] == 25
    values = [report.latency[name] for name in ("p50", "p90", "p99", "max")]
    assert values == sorted(values, key=float)  # type: ignore[arg-type]
    assert report.latency["max"] == report.latencies.max()
    assert all(type(value) is float for value in values)


def test_a_service_slower_than_the_limit_fails(service: Service) -> None:
    assert service.check(latency_limit_ms=60_000).passed
    report = service.check(latency_limit_ms=1e-6)
    assert list(_failed(report)) == ["latency"]
    assert report.checks[-1]["expected"] == "99th percentile of at most 1e-06 ms"


def test_without_requests_no_latency_is_measured(service: Service) -> None:
    report = service.check(requests=0)
    assert report.passed
    assert report.latency == {"p50": None, "p90": None, "p99": None, "max": None, "requests": 0}
    assert not service.check(requests=0, latency_limit_ms=5).passed


def test_classes_must_be_the_very_labels(classification_folder: Any, rows: Any, tmp_path: Any) -> None:
    package = packaging.build(
        classification_folder,
        tmp_path / "package",
        name="c",
        version="1",
        golden_rows=rows.head(4),
        lineage={},
    )
    service = Service(package)
    try:
        assert service.check().passed
        service.spoil = lambda path, body, answer: (
            (200, {"result": ["High"] * len(answer[1]["result"])})
            if path == "/score" and "result" in answer[1]
            else answer
        )
        assert "'High' instead of" in _failed(service.check())["golden rows"]
    finally:
        service.stop()


def test_predictions_may_differ_by_the_tolerance_and_no_more(service: Service) -> None:
    expected = np.array(files.read_json(service.package.folder / "golden.json")["expected"])
    distance = 1e-3 * (1 + np.abs(expected).min())

    def shift(path: str, body: bytes, answer: Answer) -> Answer:
        if path != "/score" or "result" not in answer[1]:
            return answer
        return 200, {"result": [value + distance for value in answer[1]["result"]]}

    service.spoil = shift
    assert service.check(tolerance=1.1e-3).passed
    failed = _failed(service.check(tolerance=0.5e-3))
    assert "golden rows" in failed
    assert "single rows" in failed
    assert "instead of" in failed["golden rows"]


@pytest.mark.parametrize(
    "result", [[], None, "text", [None] * 8, [True] * 8, ["1.0"] * 8, [10**400] * 8, [[1.0]] * 8, {"a": 1}]
)
def test_an_answer_of_another_form_is_wrong(service: Service, result: Any) -> None:
    service.spoil = lambda path, body, answer: (200, {"result": result}) if path == "/score" else answer
    assert "golden rows" in _failed(service.check())


@pytest.mark.parametrize("content", [b"<html>", b"[" * 100_000, b"[1, 2]", b"NaN", b"\xff", b""])
def test_an_answer_that_is_not_the_agreed_json_is_wrong(service: Service, content: bytes) -> None:
    service.spoil = lambda path, body, answer: (200, content)
    report = service.check()
    assert not any(check["passed"] for check in report.checks)


def test_a_service_of_another_package_is_found_out(service: Service) -> None:
    assert list(_failed(service.check(digest="0" * 64))) == ["health"]


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (lambda body: b"bmi=1" in body, "not JSON"),
        (lambda body: b"NaN" in body, "NaN"),
        (lambda body: len(body) > 100_000, "10,000 rows"),
        (lambda body: b'"text"' in body, "wrong types"),
    ],
)
def test_a_bad_request_must_not_be_answered_as_if_it_were_good(
    service: Service, bad: Callable[[bytes], bool], name: str
) -> None:
    service.spoil = lambda path, body, answer: (200, {"error": "bad"}) if bad(body) else answer
    assert list(_failed(service.check())) == [f"bad request: {name}"]


def test_a_refusal_without_a_reason_is_not_enough(service: Service) -> None:
    service.spoil = lambda path, body, answer: (answer[0], {}) if answer[0] >= 400 else answer
    failed = _failed(service.check())
    assert len(failed) == 7
    assert all(name.startswith("bad request") for name in failed)


def test_a_service_that_is_wrong_after_a_bad_request_is_found_out(service: Service) -> None:
    confused = threading.Event()

    def spoil(path: str, body: bytes, answer: Answer) -> Answer:
        if b"NaN" in body:
            confused.set()
        if confused.is_set() and path == "/score" and "result" in answer[1]:
            return 200, {"result": [0.0] * len(answer[1]["result"])}
        return answer

    service.spoil = spoil
    failed = _failed(service.check())
    assert "bad request: not JSON" not in failed
    assert "afterwards 0.0 instead of" in failed["bad request: NaN"]


def test_a_service_that_dies_of_a_bad_request_is_found_out(service: Service) -> None:
    dead = threading.Event()

    def spoil(path: str, body: bytes, answer: Answer) -> Answer | None:
        if b"NaN" in body:
            dead.set()
        return None if dead.is_set() else answer

    service.spoil = spoil
    failed = _failed(service.check())
    assert "no answer" in failed["bad request: NaN"]
    assert "not asked" in failed["single rows"]
    assert "health" not in failed


def test_a_service_that_closes_idle_connections_is_asked_again(service: Service) -> None:
    service.headers = {"Connection": "close"}
    assert service.check().passed


def test_a_redirection_is_not_followed(service: Service, built: Package) -> None:
    other = Service(built)
    try:
        service.headers = {"Location": other.url + "/score"}
        service.spoil = lambda path, body, answer: (307, {})
        report = service.check()
        assert not any(check["passed"] for check in report.checks)
        assert other.asked == []
    finally:
        other.stop()


def test_a_dead_service_fails_every_check_and_raises_nothing(service: Service, built: Package) -> None:
    service.stop()
    begin = time.monotonic()
    report = service_checks.check(_endpoint(service.url), built)
    assert time.monotonic() - begin < 5
    assert not report.passed
    assert not any(check["passed"] for check in report.checks)
    assert "no answer" in report.checks[0]["observed"]


def test_a_hanging_service_fails_after_one_timeout(service: Service) -> None:
    released = threading.Event()

    def hang(path: str, body: bytes, answer: Answer) -> Answer:
        released.wait(30)
        return answer

    service.spoil = hang
    begin = time.monotonic()
    report = service.check(timeout=0.2)
    assert time.monotonic() - begin < 10
    released.set()
    assert not any(check["passed"] for check in report.checks)
    assert "timed out" in report.checks[0]["observed"]


def test_a_service_that_keeps_us_waiting_is_left_at_the_deadline(service: Service) -> None:
    released = threading.Event()

    def slow(path: str, body: bytes, answer: Answer) -> Answer:
        if b"NaN" in body:
            released.wait(30)
        return answer

    service.spoil = slow
    report = service.check(deadline=1.5)
    released.set()
    failed = _failed(report)
    assert "longer than 1.5 seconds" in failed["bad request: NaN"]
    assert "longer than 1.5 seconds" in failed["single rows"]


def test_where_nothing_is_deployed_the_test_fails(built: Package) -> None:
    report = service_checks.check(None, built)
    assert not report.passed
    with pytest.raises(ServiceError, match="nothing is deployed"):
        service_checks.demand(report)


@pytest.mark.parametrize(
    "url", ["", "ftp://127.0.0.1", "http://", "http://[", "http://h:port", "file:///etc"]
)
def test_an_address_that_is_none_fails_the_test(built: Package, url: str) -> None:
    report = service_checks.check(_endpoint(url), built, requests=1)
    assert not any(check["passed"] for check in report.checks)
    assert "no address" in report.checks[0]["observed"]


def test_a_failed_test_is_told_check_by_check() -> None:
    def result(name: str, passed: bool) -> dict[str, Any]:
        return {"check": name, "passed": passed, "expected": "e", "observed": "o"}

    report = Report([result("a", True), result("b", False), result("c", False)], np.empty(0))
    with pytest.raises(ServiceError, match="2 of 3 checks") as failed:
        service_checks.demand(report)
    assert str(failed.value).splitlines()[1:] == ["- b: expected e, got o", "- c: expected e, got o"]
    with pytest.raises(ServiceError):
        service_checks.demand(Report([], np.empty(0)))


def test_a_service_of_which_nothing_but_score_can_be_reached_is_tested_all_the_same(
    service: Service, alone: Endpoint
) -> None:
    report = service.check(endpoint=alone)
    assert _failed(report) == {}
    assert {path for path, _ in service.asked} == {"/score"}
    errors = next(each for each in report.checks if each["check"] == "errors")
    assert errors["expected"] == "no requests answered by 5xx in this test"


def test_such_a_service_has_to_say_that_it_serves_the_package(service: Service, alone: Endpoint) -> None:
    assert "health" in _failed(service.check(endpoint=alone, digest="0" * 64))
    service.describes = False
    assert "health" in _failed(service.check(endpoint=alone))


def test_such_a_service_may_fail_none_of_the_requests(service: Service, alone: Endpoint) -> None:
    answers = iter([503, *[200] * 1000])
    service.spoil = lambda path, body, answer: (503, {}) if next(answers) == 503 else answer
    assert "errors" in _failed(service.check(endpoint=alone))
