"""Nobody notices: a steady load on an address while the versions behind it change, go back, and die."""

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.load import Load
from utils import files
from utils.packaging import Package
from utils.platforms.protocol import Endpoint, Platform

RATE = 150  # requests a second, over all connections
BETWEEN = 120  # requests that are answered between two changes


@pytest.fixture
def loaded(platform: Platform, built: Package) -> Callable[..., Load]:
    """A function that begins a load of golden rows on an endpoint; every version answers them alike."""

    def begin(endpoint: Endpoint, *, keep_alive: bool) -> Load:
        golden = files.read_json(built.folder / "golden.json")
        return Load(
            f"{endpoint.url}/score",
            json.dumps({"data": golden["data"]}).encode(),
            platform.endpoints.keys("demo", "production")[0],
            keep_alive=keep_alive,
            expected=[golden["expected"]],
            rate=RATE,
        )

    return begin


def _release(platform: Platform, package: Path) -> Endpoint:
    platform.endpoints.deploy(package, "demo", "production")
    return platform.endpoints.confirm("demo", "production")


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept alive", "fresh connections"])
def test_deployments_and_a_rollback_lose_no_request(
    platform: Platform,
    package: Path,
    rewritten: Callable[..., Package],
    loaded: Callable[..., Load],
    keep_alive: bool,
) -> None:
    live = _release(platform, rewritten(package, version="1").folder)
    with loaded(live, keep_alive=keep_alive) as load:
        for number in range(2, 7):
            load.wait(BETWEEN)
            assert _release(platform, rewritten(package, version=str(number)).folder).url == live.url
        load.wait(BETWEEN)
        back = platform.endpoints.rollback("demo", "production", version="3", by="Ada", comment="a drill")
        assert (back.url, back.model_version) == (live.url, "3")
        load.wait(BETWEEN)
    counts = load.counts
    assert not counts.lost, counts
    assert counts.answered.keys() == {200}, counts
    assert not counts.wrong, counts
    assert counts.sent >= 7 * BETWEEN


def test_a_failed_deployment_is_not_noticed(
    platform: Platform, built: Package, broken: Package, loaded: Callable[..., Load]
) -> None:
    live = _release(platform, built.folder)
    with loaded(live, keep_alive=True) as load:
        load.wait(BETWEEN)
        with pytest.raises(Exception, match="deliberately broken"):
            platform.endpoints.deploy(broken.folder, "demo", "production")
        load.wait(BETWEEN)
    assert not load.counts.lost, load.counts
    assert load.counts.answered.keys() == {200}, load.counts


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept alive", "fresh connections"])
def test_a_killed_worker_costs_what_it_had_in_flight_and_no_more(
    platform: Platform, built: Package, loaded: Callable[..., Load], keep_alive: bool
) -> None:
    live = _release(platform, built.folder)
    supervisor = psutil.Process(live.details["pid"])
    with loaded(live, keep_alive=keep_alive) as load:
        load.wait(BETWEEN)
        (worker,) = supervisor.children()
        worker.kill()
        load.wait(BETWEEN)
    counts = load.counts
    # As many as there are connections may have been in the worker; who comes after waits for the next one.
    assert counts.lost.total() <= 4, counts
    assert counts.answered.keys() == {200}, counts
    assert not counts.wrong, counts
    assert supervisor.is_running()
    assert [child.pid for child in supervisor.children()] != [worker.pid]
