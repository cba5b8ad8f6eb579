"""Loads a service with wrk, and refuses a measurement in which anything but right answers came."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("request.lua")


@dataclass(frozen=True)
class Request:
    """What is asked of a service, and what it has to answer.

    Attributes
    ----------
    url : str
    body : bytes, optional
        JSON for POST; None: GET.
    expected : sequence of float, optional
        The predictions; None: not looked at.
    headers : mapping
        Such as the one with the API key.
    """

    url: str
    body: bytes | None = None
    expected: Sequence[float] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def check(self, timeout: float = 30.0) -> None:
        """Ask once.

        Raises
        ------
        OSError
            If there is no answer, or an error.
        SystemExit
            If the predictions aren't the right ones.
        """
        with urllib.request.urlopen(
            urllib.request.Request(self.url, self.body, dict(self.headers)), timeout=timeout
        ) as answer:
            content = answer.read()
        if self.expected is not None and not _alike(_predictions(json.loads(content)), self.expected):
            raise SystemExit(f"{self.url} answers {content[:200]!r} instead of {self.expected[:3]} …")


@dataclass(frozen=True)
class Measured:
    """What wrk saw: requests per second, and latencies in seconds."""

    rate: float
    p50: float
    p99: float


def measure(request: Request, *, connections: int, seconds: int) -> Measured:
    """Send a request over and over, from one thread of wrk, after a second that isn't counted.

    Raises
    ------
    SystemExit
        If the answer is wrong, or wrk counted any error or refusal.
    """
    request.check()
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        env = dict(os.environ)
        if request.body is not None:
            body = Path(folder) / "body.json"
            body.write_bytes(request.body)
            env["WRK_BODY"] = str(body)
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--script", str(SCRIPT)]
        for name, value in request.headers.items():
            command += ["--header", f"{name}: {value}"]
        for duration in (1, seconds):
            done = subprocess.run(
                [*command, "--duration", f"{duration}s", request.url],
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
    line = next((line for line in done.stdout.splitlines() if line.startswith("MEASURED ")), None)
    if done.returncode or line is None:
        raise SystemExit(f"wrk failed on {request.url}:\n{done.stdout}{done.stderr}")
    found = json.loads(line.removeprefix("MEASURED "))
    if any(found["errors"].values()):
        raise SystemExit(f"{request.url} did not answer every request as it should: {found['errors']}")
    return Measured(found["requests"] / found["seconds"], found["p50"], found["p99"])


def _predictions(answer: Any) -> list[float]:
    """Take the predictions out of our answer, MLflow's, or the list of an entry script."""
    if isinstance(answer, dict):
        answer = answer.get("result") or answer.get("predictions")
    return [float(value) for value in answer]


def _alike(found: Sequence[float], expected: Sequence[float]) -> bool:
    return len(found) == len(expected) and all(
        abs(value - right) <= 1e-4 * abs(right) for value, right in zip(found, expected, strict=True)
    )
