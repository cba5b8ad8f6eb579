"""The whole lifecycle on the platform of Azure: the commands of the README, against the stand-in.

Each notebook of the train stage runs as a step of the published pipeline, on the workspace's compute; the
services answer from ACI and AKS.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.azure import names, projects
from tests.azure.caller import Caller
from tests.azure.cloud import Cloud
from tests.azure.cloud.management import Management
from tests.azure.cloud.pipelines import Pipelines
from utils.platforms.azureml.retraining import AzureRetraining
from utils.platforms.azureml.workspace import Site

pytestmark = pytest.mark.end_to_end

WANTED = {"MLOPS_AZUREML_REGION": names.REGION, "MLOPS_AZUREML_AKS_CREATE": "true"}
BEFORE_THE_GATE = ["setup", "train", "evaluate", "register", "package", "deploy_staging", "test_staging"]
SECONDS = 1800


@pytest.fixture
def caller(cloud: Cloud, tmp_path: Path) -> Caller:
    """A CI job in a subscription with nothing in it."""
    polls = {"MLOPS_AZUREML_POLL_SECONDS": "0.2", "MLOPS_POLL_SECONDS": "0.5"}
    return Caller(tmp_path / "home", {**cloud.environ, **polls, **WANTED})


def test_a_model_is_released_and_the_same_again_by_the_pipelines_address_is_not_better(
    cloud: Cloud, caller: Caller
) -> None:
    said = caller.ci("run", "--platform", "azureml", "--run-id", "first")
    states = caller.states("first")
    assert [name for name, state in states.items() if state == "succeeded"] == BEFORE_THE_GATE
    assert states["deploy_production"] == "waiting"
    assert "python -m ci approve first" in said
    assert cloud.area(Management).created == 1

    caller.ci("approve", "first", "--by", "Ada")
    assert caller.record("first")["verdict"] == "released"
    assert set(caller.states("first").values()) == {"succeeded"}
    assert "serves model version 1" in caller.ci("status")

    again = f"job-{_started_by_address(cloud)}"
    caller.ci("resume", again, "--platform", "azureml")
    assert caller.record(again)["verdict"] == "not_better"
    assert caller.scraps(again, "evaluate")["opponent"] == "champion version 1"
    assert {state for _, state in list(caller.states(again).items())[3:]} == {"skipped"}

    assert "Stopped diabetes in production" in caller.ci("down", "--platform", "azureml")
    assert "serves model version 1" in caller.ci("up", "--platform", "azureml")
    assert cloud.area(Management).created == 1


def _started_by_address(cloud: Cloud) -> str:
    """Start the published pipeline as anything that can send a request, and wait until its job has ended."""
    (endpoint,) = cloud.area(Pipelines).endpoints.values()
    headers = {"Authorization": f"Bearer {cloud.token()}", "Content-Type": "application/json"}
    body = json.dumps({"ExperimentName": "retrain-diabetes"}).encode()
    with urllib.request.urlopen(urllib.request.Request(endpoint.url, body, headers)) as answer:
        job: str = json.load(answer)["Id"]
    seen = projects.ended(AzureRetraining(Site()), job, seconds=SECONDS)
    assert (seen.state, set(seen.steps.values())) == ("succeeded", {"succeeded"})
    return job
