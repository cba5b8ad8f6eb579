"""The stand-in itself: what a test relies on when it says that the SDK was answered."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest

from tests.azure import names
from tests.azure.cloud import Cloud, exact, faults


def test_the_sdk_opens_a_workspace_by_azures_own_names(cloud: Cloud, workspace: Any) -> None:
    assert workspace.name == "mlops"
    assert {call.host for call in cloud.calls} == {names.LOGIN, names.MANAGEMENT}


def test_a_name_that_is_not_listed_leads_nowhere() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("example.com", 443)


def test_an_address_beyond_loopback_cannot_be_reached() -> None:
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 443), timeout=5)


def test_a_call_that_no_route_knows_is_a_violation(cloud: Cloud) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"https://{names.SERVICES}/nothing/here")
    assert refused.value.code == 501
    assert cloud.violations == [f"no route: GET {names.SERVICES}/nothing/here"]
    cloud.violations.clear()


def test_a_blob_is_written_and_read_by_a_signed_address(cloud: Cloud) -> None:
    address = cloud.signed("azureml", "a folder/a blob")
    put = urllib.request.Request(
        address, data=b"content", method="PUT", headers={"x-ms-blob-type": "BlockBlob"}
    )
    assert urllib.request.urlopen(put).status == 201
    assert urllib.request.urlopen(address).read() == b"content"


def test_faults_happen_in_turn_and_once(cloud: Cloud) -> None:
    cloud.faults.add("GET", "/subscriptions$", [faults.too_many(3), faults.cut()])
    signed_in = {"Authorization": f"Bearer {cloud.token()}"}
    address = urllib.request.Request(f"https://{names.MANAGEMENT}/subscriptions", headers=signed_in)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address)
    assert (refused.value.code, refused.value.headers["Retry-After"]) == (429, "3")
    with pytest.raises(ConnectionError):
        urllib.request.urlopen(address)
    assert urllib.request.urlopen(address).status == 200
    assert cloud.faults.happened == 2


def test_what_the_sdks_model_does_not_have_is_refused() -> None:
    from azureml._restclient.models import ExperimentDto

    with pytest.raises(exact.NotExactError, match="ExperimentDto has no color"):
        exact.parse(ExperimentDto, {"name": "demo", "color": "red"})
    assert exact.parse(ExperimentDto, {"name": "demo"}).name == "demo"
    with pytest.raises(exact.NotExactError, match="ExperimentDto has no colour"):
        exact.make(ExperimentDto, colour="red")
