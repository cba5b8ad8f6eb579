"""The SDK's own clients under faults: requests are repeated by one rule, and only where that does no harm."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.azure.cloud import Cloud, faults
from utils.platforms.azureml import faults as ours
from utils.platforms.azureml import sdk
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError


@pytest.fixture
def waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    assert site.workspace.name == "mlops"
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def _run(site: Site) -> Any:
    from azureml.core import Experiment

    return Experiment(site.workspace, "demo").start_logging(outputs=None, snapshot_directory=None)


def _post(site: Site) -> object:
    from azureml._restclient.assets_client import AssetsClient

    return AssetsClient(site.workspace.service_context).create_asset("demo", [], None)


# By which of the SDK's layers a call goes, and what it asks.
CALLS: dict[str, tuple[str, str, Callable[[Site], object]]] = {
    "a generated client": ("GET", "/experiments/demo$", lambda site: _run(site)),
    "requests through ClientBase": (
        "GET", "/computes$", lambda site: sdk.core().compute.ComputeTarget.list(site.workspace),
    ),
    "a client of management": ("GET", "/workspaces/mlops$", lambda site: site.workspace.get_details()),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "happens",
    [
        [faults.too_many(7)],
        [faults.server_error(), faults.server_error(503)],
        [faults.cut(), faults.cut()],
        [faults.lost()],
    ],
    ids=["throttled", "failing twice", "cut twice", "answer lost"],
)
def test_a_read_is_repeated_when_the_service_says_or_soon(
    cloud: Cloud, site: Site, waits: list[float], call: str, happens: list[faults.Fault]
) -> None:
    method, path, ask = CALLS[call]
    cloud.faults.add(method, path, happens)
    ask(site)
    assert cloud.faults.left == 0
    if happens[0].status == 429:
        assert waits == [7]
    assert sum(waits) < 20


@pytest.mark.parametrize("call", CALLS)
def test_repetitions_of_two_layers_do_not_multiply(
    cloud: Cloud, site: Site, waits: list[float], call: str
) -> None:
    method, path, ask = CALLS[call]
    cloud.faults.add(method, path, [faults.server_error(503)] * 100)
    with (
        pytest.raises(PlatformError, match=r"It can't be read: .*HTTP 503"),
        ours.speaking("It can't be read"),
    ):
        site.retried(lambda: ask(site))
    assert 4 <= cloud.faults.happened <= 5


def test_what_may_have_been_done_is_not_done_twice(cloud: Cloud, site: Site, waits: list[float]) -> None:
    """The SDK by itself would post again after a cut connection, and register a thing twice."""
    cloud.faults.add("POST", "/assets$", [faults.lost()] * 5)
    with pytest.raises(PlatformError, match="Look at the network"), ours.speaking("It can't be registered"):
        _post(site)
    assert cloud.faults.happened == 1


def test_what_was_refused_before_it_was_done_is_asked_again(
    cloud: Cloud, site: Site, waits: list[float]
) -> None:
    cloud.faults.add("POST", "/assets$", [faults.too_many(3)])
    _post(site)
    assert waits == [3]


def test_throttling_for_longer_than_a_minute_is_told_at_once(
    cloud: Cloud, site: Site, waits: list[float]
) -> None:
    cloud.faults.add("POST", "/assets$", [faults.too_many(3600)])
    with (
        pytest.raises(PlatformError, match=r"TooManyRequests, HTTP 429, .*in 3600 seconds"),
        ours.speaking("No"),
    ):
        _post(site)
    assert waits == []


def test_the_store_is_asked_again_after_a_second_rather_than_fifteen(site: Site) -> None:
    from azureml._vendor.azure_storage.blob._shared.policies import ExponentialRetry

    policy = ExponentialRetry()
    pauses = [policy.get_backoff_time({"count": count}) for count in range(4)]
    assert pauses[0] <= 2
    assert max(pauses) <= 10
    assert ExponentialRetry(initial_backoff=9).initial_backoff == 9


def test_the_sdk_says_nothing_and_sends_no_telemetry(
    cloud: Cloud, site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        site.provision()
        sdk.core().Datastore.get_default(site.workspace)
    assert [str(warning.message) for warning in warned] == []
    assert capfd.readouterr() == ("", "")
    import azureml.telemetry

    assert azureml.telemetry.get_diagnostics_collection_info()[0] is False
