"""What a deployed service is tested for: right answers, fit refusals, a steady life, and how fast it is."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils import files
from utils.packaging import Package
from utils.platforms.protocol import Endpoint
from utils.scoring import entry
from utils.service_client import Client

WARM_UP = 10
WATCH = 1.0  # seconds between two looks
TOO_MANY_ROWS = 10_000

# A value that fits no column of the type.
WRONG = {"number": "text", "integer": "text", "boolean": "text", "string": 1}


class ServiceError(RuntimeError):
    """A service failed its test; the message lists what it failed."""


@dataclass(frozen=True)
class Report:
    """What a service was found to be.

    Attributes
    ----------
    checks : list of dict
        Of each check: check (what for), passed, expected, observed.
    latencies : ndarray, shape (requests answered,)
        Of single rows, one after the other over one connection, in milliseconds.
    """

    checks: list[dict[str, Any]]
    latencies: NDArray[np.float64]

    @property
    def passed(self) -> bool:
        """Whether all checks have passed."""
        return bool(self.checks) and all(check["passed"] for check in self.checks)

    @property
    def latency(self) -> dict[str, float | int | None]:
        """p50, p90, p99 and max in milliseconds, None if nothing was measured; and how many requests."""
        found = self.latencies
        values = np.percentile(found, [50, 90, 99, 100]).tolist() if len(found) else [None] * 4
        return {**dict(zip(("p50", "p90", "p99", "max"), values, strict=True)), "requests": len(found)}


def check(
    endpoint: Endpoint | None,
    package: Package,
    *,
    digest: str = "",
    key: str = "",
    tolerance: float = 1e-6,
    requests: int = 200,
    latency_limit_ms: float = 0.0,
    error_limit: float = 0.0,
    observe_seconds: float = 0.0,
    timeout: float = 10.0,
    deadline: float = 300.0,
) -> Report:
    """Test a service by its package's golden rows, by bad requests, and by the time it takes.

    A service that is wrong, slow, dead or absent gives failed checks, never an exception. Nothing but
    the endpoint's own address is asked: a redirection is a failure.

    Parameters
    ----------
    endpoint : Endpoint or None
        Where it is; None, as `find` says when there is none, fails the test.
    package : Package
        What it should serve.
    digest : str
        Of the package that was deployed; "" for the package's own.
    key : str
        An API key of the service; "" if it asks for none.
    tolerance : float
        A predicted number may differ from the expected one e by tolerance · (1 + abs(e)); a class may not.
    requests : int
        How many single rows are sent to measure latency, after a warm-up.
    latency_limit_ms : float
        The 99th percentile must not exceed it; 0 for no limit.
    error_limit : float
        The share of answers by 5xx since the service was started, whoever asked, must not exceed it. Where
        a service's own count can't be reached, only the requests of this test are counted.
    observe_seconds : float
        How long that share is watched if the service gets only a part of the requests.
    timeout : float
        Seconds for each wait on the network.
    deadline : float
        Seconds for everything: a service that drips its answers doesn't hold us up for ever.
    """
    if endpoint is None:
        return Report([_result("endpoint", False, "a live service", "nothing is deployed")], np.empty(0))
    partly = endpoint.details.get("share", 100) < 100
    watched = observe_seconds if partly else 0.0
    wanted = digest or package.digest
    with Client.to(
        endpoint.url,
        timeout,
        deadline + watched,
        key,
        version=wanted[:12],
        certificate=endpoint.details.get("certificate", ""),
    ) as client:
        test = _Test(client, package, wanted, tolerance, endpoint.routes)
        checks = [test.health(), test.golden_rows(), *test.bad_requests()]
        if key:
            checks += test.keys(key)
        latencies, answered = test.latencies(requests)
        checks += [*answered, test.errors(error_limit, watched)]
    report = Report(checks, latencies)
    if latency_limit_ms > 0:
        p99 = report.latency["p99"]
        checks.append(
            _result(
                "latency",
                p99 is not None and p99 <= latency_limit_ms,
                f"99th percentile of at most {latency_limit_ms:g} ms",
                "nothing was measured" if p99 is None else f"{p99:.3g} ms",
            )
        )
    return report


def demand(report: Report) -> None:
    """Refuse a service that has failed its test.

    Raises
    ------
    ServiceError
        Listing each check that failed, with what was expected and observed.
    """
    failed = [check for check in report.checks if not check["passed"]]
    if not report.passed:
        lines = [f"- {each['check']}: expected {each['expected']}, got {each['observed']}" for each in failed]
        raise ServiceError(
            f"The service failed {len(failed)} of {len(report.checks)} checks:\n" + "\n".join(lines)
        )


def _result(name: str, passed: bool, expected: str, observed: str) -> dict[str, Any]:
    return {"check": name, "passed": bool(passed), "expected": expected, "observed": observed}


# ------------------------------------------------------------------ the checks


class _Test:
    """The checks of one service, in the order in which they make sense."""

    def __init__(
        self, client: Client, package: Package, digest: str, tolerance: float, routes: Sequence[str]
    ) -> None:
        self._client = client
        self._digest = digest
        self._tolerance = tolerance
        self._routes = routes
        golden = files.read_json(package.folder / "golden.json")
        schema = files.read_json(package.folder / "schema.json")
        self._rows: list[list[Any]] = golden["data"]
        self._expected: list[Any] = golden["expected"]
        self._types: list[str] = [column["type"] for column in schema["inputs"]]
        self._classes = schema["output"]["kind"] == "classification"

    def health(self) -> dict[str, Any]:
        if "/health/ready" in self._routes:
            status, answer = self._client.ask("GET", "/health/ready")
        else:
            status, answer = self._client.ask("POST", "/score", entry.DESCRIBE.encode())
        if status is None:
            self._client.give_up()
        found = answer.get("digest") if isinstance(answer, dict) else None
        return _result(
            "health",
            status == 200 and found == self._digest,
            f"200, package {self._digest[:12]}",
            f"{status}, package {str(found)[:12]}" if status else str(answer),
        )

    def golden_rows(self) -> dict[str, Any]:
        observed = self._compare(self._rows, self._expected)
        return _result(
            "golden rows",
            not observed,
            f"the {len(self._rows)} predictions of the package"
            + ("" if self._classes else f", within {self._tolerance:g} · (1 + |prediction|)"),
            observed or "the same predictions",
        )

    def bad_requests(self) -> Iterator[dict[str, Any]]:
        row = self._rows[0]
        others = row[1:]
        broken: dict[str, tuple[int, bytes]] = {
            "not JSON": (400, b"bmi=1&age=2"),
            "NaN": (400, json.dumps({"data": [[math.nan, *others]]}).encode()),
            "no body": (400, b""),
            "missing columns": (422, _body([row[:-1]])),
            "wrong types": (422, _body([[WRONG[self._types[0]], *others]])),
            "no rows": (422, _body([])),
            f"{TOO_MANY_ROWS:,} rows": (413, _body([row] * TOO_MANY_ROWS)),
        }
        for name, (expected, body) in broken.items():
            status, answer = self._client.ask("POST", "/score", body)
            reason = answer.get("error") if isinstance(answer, dict) else None
            after = self._compare(self._rows[:1], self._expected[:1])
            observed = f"{status}, {reason!r}" if status else str(answer)
            yield _result(
                f"bad request: {name}",
                status == expected and isinstance(reason, str) and reason != "" and not after,
                f"{expected} with the reason, and right answers afterwards",
                observed + (f"; afterwards {after}" if after else ""),
            )

    def keys(self, key: str) -> Iterator[dict[str, Any]]:
        wrong = key[:-1] + ("x" if key[-1] != "x" else "y")
        for name, other in (("no API key", ""), ("wrong API key", wrong)):
            status, answer = self._client.ask("POST", "/score", _body(self._rows[:1]), key=other)
            yield _result(name, status == 401, "401", f"{status}" if status else str(answer))

    def errors(self, limit: float, seconds: float) -> dict[str, Any]:
        """Look how much the service has failed at since it was started, again and again for some seconds."""
        end = time.monotonic() + seconds
        while True:
            result = self._errors(limit, seconds)
            if not result["passed"] or time.monotonic() >= end:
                return result
            time.sleep(min(WATCH, seconds))

    def _errors(self, limit: float, seconds: float) -> dict[str, Any]:
        counted, said = self._answered()
        failed, every = sum(n for code, n in counted.items() if code >= 500), sum(counted.values())
        expected = f"at most {limit:.3%} of" if limit else "no"
        asked = "since the start" if "/metrics" in self._routes else "in this test"
        return _result(
            "errors",
            bool(counted) and failed <= limit * every,
            f"{expected} requests answered by 5xx {asked}"
            + (f", watched for {seconds:g} s" if seconds else ""),
            f"{failed:g} of {every:g}" if counted else said,
        )

    def _answered(self) -> tuple[dict[int, float], str]:
        """Return how many requests were answered by each status; or else what was said instead."""
        if "/metrics" not in self._routes:
            return dict(self._client.answered), "nothing was answered"
        status, answer = self._client.ask("GET", "/metrics")
        counted = _counted(answer) if status == 200 and isinstance(answer, str) else {}
        return counted, f"{status}, {_short(answer)}"

    def latencies(self, requests: int) -> tuple[NDArray[np.float64], list[dict[str, Any]]]:
        """Measure single rows; return the milliseconds and a check of the answers."""
        if requests < 1:
            return np.empty(0), []
        bodies = [_body([row]) for row in self._rows]
        found: list[float] = []
        for number in range(-WARM_UP, requests):
            at = number % len(bodies)
            begin = time.perf_counter()
            status, answer = self._client.ask("POST", "/score", bodies[at])
            spent = time.perf_counter() - begin
            wrong = self._difference(status, answer, self._expected[at : at + 1])
            if wrong:
                name, expected = "single rows", f"{requests} right answers"
                return np.array(found), [_result(name, False, expected, f"{wrong}, after {len(found)}")]
            if number >= 0:
                found.append(spent * 1000)
        answers = f"{requests} right answers"
        return np.array(found), [_result("single rows", True, answers, answers)]

    def _compare(self, rows: Sequence[list[Any]], expected: Sequence[Any]) -> str:
        """Ask for rows; return what is wrong with the answer, or ""."""
        status, answer = self._client.ask("POST", "/score", _body(rows))
        wrong = self._difference(status, answer, expected)
        if status is None:
            self._client.give_up()
        return wrong

    def _difference(self, status: int | None, answer: Any, expected: Sequence[Any]) -> str:
        if status is None:
            return str(answer)
        result = answer.get("result") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(result, list):
            return f"{status}, {_short(answer)}"
        if len(result) != len(expected):
            return f"{len(result)} predictions for {len(expected)} rows"
        for number, (one, other) in enumerate(zip(result, expected, strict=True)):
            if not self._same(one, other):
                return f"{_short(one)} instead of {_short(other)} in row {number}"
        return ""

    def _same(self, one: Any, other: Any) -> bool:
        if self._classes or not isinstance(other, int | float):
            return type(one) is type(other) and bool(one == other)
        if isinstance(one, bool) or not isinstance(one, int | float):
            return False
        try:
            # NaN and infinities compare false, as they should.
            return abs(float(one) - other) <= self._tolerance * (1 + abs(other))
        except OverflowError:
            return False


def _body(rows: Sequence[list[Any]]) -> bytes:
    return json.dumps({"data": list(rows)}).encode()


def _counted(text: str) -> dict[int, float]:
    """Read how many requests were answered by each status, from a page of metrics."""
    found = re.findall(r'^scoring_requests_total\{status="(\d+)"\} (\S+)$', text, re.MULTILINE)
    return {int(status): float(number) for status, number in found}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
