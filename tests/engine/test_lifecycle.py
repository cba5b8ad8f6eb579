"""The whole lifecycle by the README's commands, where services are containers: to production, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.registry import Registry
from utils import files, project
from utils.images.engines import Engine

pytestmark = [pytest.mark.engine, pytest.mark.end_to_end]

LIMIT = 300.0


class Workplace:
    """A home whose services run from images, and the commands that a person gives there."""

    def __init__(self, home: Path, settings: dict[str, str]) -> None:
        self.home = home
        self._environment = {
            **os.environ,
            project.HOME_VARIABLE: str(home),
            **{f"MLOPS_SERVING_{name.upper()}": value for name, value in settings.items()},
        }

    def call(self, *words: str) -> str:
        """Give a command, which has to end well; return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "ci", *words],
            cwd=project.root(),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, run_id: str) -> dict[str, Any]:
        """Return the scraps of a run's steps."""
        record = files.read_json(self.home / "runs" / run_id / "run.json")
        return {step["name"]: step["scraps"] for step in record["steps"]}

    def ask(self, run_id: str) -> tuple[Any, Any]:
        """Ask production for a run's golden rows; return what it answers, and what it should."""
        golden = files.read_json(self.home / "runs" / run_id / "package" / "golden.json")
        key = self.call("keys").split()[0]
        url = self.run(run_id)["deploy_production"]["endpoint"]
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        body = json.dumps({"data": golden["data"]}).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/score", body, headers), timeout=30
        ) as response:
            return json.load(response)["result"], golden["expected"]


@pytest.fixture
def workplace(
    home: Path, engine: Engine, base_image: str, router_image: str, registry: Registry
) -> Iterator[Workplace]:
    """A home that serves from containers, and is left with none."""
    made = Workplace(
        home,
        {
            "target": "containers",
            "engine": engine.name,
            "base_image": base_image,
            "router_image": router_image,
            "registry": registry.address,
            "replicas": "2",
        },
    )
    yield made
    made.call("down")


def test_production_answers_from_containers_after_a_share_at_first_and_after_going_back(
    workplace: Workplace, engine: Engine, registry: Registry, router_image: str
) -> None:
    assert "Waiting for a person's approval" in workplace.call("run", "--run-id", "first")
    package = workplace.run("first")["package"]
    assert package["image"].startswith(f"{registry.address}/diabetes@sha256:")
    assert package["format"] == "onnx"
    assert package["image_size"] < 140e6
    workplace.call("approve", "--by", "Ada")
    approval = files.read_json(workplace.home / "runs" / "first" / "approval.json")
    assert (approval["digest"], approval["image"]) == (package["digest"], package["image"])
    result, expected = workplace.ask("first")
    assert result == pytest.approx(expected)

    workplace.call("run", "--run-id", "second", "-p", "alpha", "0.5", "-p", "observe_seconds", "2")
    workplace.call("approve", "--by", "Ada", "--traffic", "20")
    checks = {check["check"]: check for check in workplace.run("second")["test_production"]["checks"]}
    assert "watched for 2 s" in checks["errors"]["expected"]
    result, expected = workplace.ask("second")
    assert result == pytest.approx(expected)
    assert (
        workplace.run("second")["deploy_production"]["endpoint"]
        == (workplace.run("first")["deploy_production"]["endpoint"])
    )

    assert "serves model version 1" in workplace.call("rollback", "--by", "Ada")
    result, expected = workplace.ask("first")
    assert result == pytest.approx(expected)
    # A container that a person has ended stays down until somebody says otherwise.
    one = engine.run("ps", "--quiet", "--filter", f"ancestor={package['image']}").stdout.split()[0]
    label = "mlops-notebooks.place"
    place = engine.run("inspect", "--format", f'{{{{index .Config.Labels "{label}"}}}}', one).stdout.strip()
    assert engine.run("kill", one).returncode == 0
    assert "1 of 2 containers don't run: python -m ci up" in workplace.call("status")
    assert "serves model version 1" in workplace.call("up")
    assert "what was in production runs" in workplace.call("up")
    result, expected = workplace.ask("first")
    assert result == pytest.approx(expected)

    # Of this service alone: other tests may use the same engine now.
    mine = ("--filter", f"label={label}={place}")
    listed = engine.run("ps", *mine, "--format", "{{.Image}}").stdout.split()
    assert {image.partition("@")[0] for image in listed} == {
        package["image"].partition("@")[0],
        router_image,
    }
