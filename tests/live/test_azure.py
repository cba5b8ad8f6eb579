"""A smoke test of Azure itself, for those who have a subscription: `make test-azure`.

It makes a resource group of its own with all that the lifecycle needs, runs the lifecycle, and deletes the
resource group. It costs what an hour of a small cluster costs, and is never part of `make test`.
"""

from __future__ import annotations

import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.caller import Caller

WANTED = ("AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
REGION = "MLOPS_AZUREML_REGION"
ASKED_FOR = "MLOPS_TEST_AZURE"

# What the SDK warns of must not keep the resource group from being deleted.
pytestmark = [pytest.mark.end_to_end, pytest.mark.filterwarnings("default")]


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """A CI job with a resource group of its own, which is deleted in the end whatever happens."""
    if not os.environ.get(ASKED_FOR):
        pytest.skip("it would cost money: ask for it by `make test-azure`")
    missing = [name for name in WANTED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"no subscription is named: {', '.join(missing)} must be set (docs/azure.md)")
    name = f"mlops-smoke-{secrets.token_hex(3)}"
    where = {"AZURE_RESOURCE_GROUP": name, "AZUREML_WORKSPACE": name, "MLOPS_AZUREML_AKS_CREATE": "true"}
    region = {REGION: os.environ.get(REGION) or "westeurope"}
    made = Caller(tmp_path / "home", {**where, **region})
    print(f"resource group {name}: delete it yourself if this test is killed")
    try:
        yield made
    finally:
        _delete(name)


def test_a_model_is_released_on_azure_and_the_same_again_is_not_better(caller: Caller) -> None:
    caller.ci("run", "--platform", "azureml", "--run-id", "first")
    assert caller.record("first")["verdict"] == "waiting"
    caller.ci("approve", "first", "--by", "the smoke test")
    assert caller.record("first")["verdict"] == "released"
    caller.ci("run", "--platform", "azureml", "--run-id", "again")
    assert caller.record("again")["verdict"] == "not_better"
    caller.ci("down", "--platform", "azureml")


def _delete(group: str) -> None:
    """Delete a resource group with all that is in it, and wait until it is gone."""
    from azureml.core.authentication import ServicePrincipalAuthentication

    signed_in = ServicePrincipalAuthentication(
        os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"]
    )
    address = (
        f"https://management.azure.com/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}"
        f"/resourcegroups/{group}?api-version=2021-04-01"
    )
    method = "DELETE"
    while address:
        request = urllib.request.Request(
            address, method=method, headers=signed_in.get_authentication_header()
        )
        try:
            with urllib.request.urlopen(request) as answer:
                address = answer.headers.get("Location") if answer.status == 202 else ""
                time.sleep(float(answer.headers.get("Retry-After") or 0))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return
            raise
        method = "GET"
