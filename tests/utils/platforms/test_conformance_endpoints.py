"""What holds for the endpoints of every platform: the same tests for all of them."""

import json
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from utils import files, packaging
from utils.packaging import Package
from utils.platforms.protocol import Endpoint, Platform, PlatformError
from utils.scoring import entry


def _answers(platform: Platform, endpoint: Endpoint | None, package: Package) -> bool:
    """Whether the endpoint reproduces the package's golden predictions, and says that it serves it."""
    assert endpoint is not None
    golden = files.read_json(package.folder / "golden.json")
    key = platform.endpoints.keys(endpoint.service, endpoint.environment)[0]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", "Connection": "close"}
    body = json.dumps({"data": golden["data"]}).encode()
    ready = "/health/ready" in endpoint.routes
    route, asked = ("/health/ready", None) if ready else ("/score", entry.DESCRIBE.encode())
    said = urllib.request.Request(f"{endpoint.url}{route}", asked, headers)
    with urllib.request.urlopen(said, timeout=60) as response:
        digest = json.load(response)["digest"]
    request = urllib.request.Request(f"{endpoint.url}/score", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        right = json.load(response)["result"] == pytest.approx(golden["expected"])
    return bool(right and digest == package.digest)


def _is_gone(platform: Platform, endpoint: Endpoint, package: Package) -> bool:
    """Whether nothing answers any more: no key is known, or no service takes it."""
    with pytest.raises((OSError, PlatformError)):
        _answers(platform, endpoint, package)
    return True


def test_nothing_is_found_where_nothing_was_deployed(platform: Platform) -> None:
    endpoints = platform.endpoints
    assert endpoints.find("demo", "staging") is None
    assert endpoints.restore("demo", "staging") is None
    assert endpoints.everything() == []
    endpoints.remove("demo", "staging")
    with pytest.raises(PlatformError, match="Nothing is deployed as demo in staging"):
        endpoints.confirm("demo", "staging")


def test_a_deployed_package_answers_until_it_is_removed(platform: Platform, built: Package) -> None:
    endpoints = platform.endpoints
    made = endpoints.deploy(built.folder, "demo", "staging")
    assert (made.service, made.environment, made.digest, made.model_version) == (
        "demo",
        "staging",
        built.digest,
        "3",
    )
    assert not made.confirmed
    assert _answers(platform, made, built)
    assert endpoints.find("demo", "staging") == made
    # Deployed again, it is left as it is.
    assert endpoints.deploy(built.folder, "demo", "staging") == made
    confirmed = endpoints.confirm("demo", "staging")
    assert confirmed.confirmed
    assert confirmed.url == made.url
    assert endpoints.confirm("demo", "staging") == confirmed
    endpoints.remove("demo", "staging")
    assert endpoints.find("demo", "staging") is None
    assert _is_gone(platform, made, built)


def test_a_confirmed_successor_replaces_the_service_before_at_the_same_address(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    first = endpoints.confirm("demo", "production")
    second = endpoints.deploy(challenger.folder, "demo", "production")
    assert (second.digest, second.url) == (challenger.digest, first.url)
    assert endpoints.find("demo", "production") == second
    assert _answers(platform, second, challenger)
    endpoints.confirm("demo", "production")
    assert _answers(platform, second, challenger)
    kept = endpoints.restore("demo", "production")
    assert kept is not None
    assert kept.digest == challenger.digest, "a confirmed service is what a later restore returns to"


def test_a_successor_that_failed_its_test_gives_way_to_the_service_before(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(built.folder, "demo", "production")
    first = endpoints.confirm("demo", "production")
    endpoints.deploy(challenger.folder, "demo", "production")
    back = endpoints.restore("demo", "production")
    assert back is not None
    assert (back.url, back.digest, back.confirmed) == (first.url, built.digest, True)
    assert _answers(platform, back, built)
    assert endpoints.restore("demo", "production") == back


def test_what_was_confirmed_before_can_be_gone_back_to(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    for package in (built, challenger):
        endpoints.deploy(package.folder, "demo", "production")
        endpoints.confirm("demo", "production")
    back = endpoints.rollback("demo", "production", by="Ada", comment="too slow")
    assert (back.digest, back.confirmed) == (built.digest, True)
    assert _answers(platform, back, built)
    with pytest.raises(PlatformError, match="can't go back to an earlier one: kept are none"):
        endpoints.rollback("demo", "production", by="Ada")
    assert endpoints.find("demo", "production") == back
    # Who names it gets back to the one that was gone back from.
    again = endpoints.rollback("demo", "production", version="4", by="Ada")
    assert _answers(platform, again, challenger)
    with pytest.raises(PlatformError, match="Version 4 is live already"):
        endpoints.rollback("demo", "production", version="4", by="Ada")


def test_what_was_stopped_is_started_again_as_it_was(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    for package in (built, challenger):
        endpoints.deploy(package.folder, "demo", "production")
        live = endpoints.confirm("demo", "production")
    endpoints.stop("demo", "production")
    found = endpoints.find("demo", "production")
    assert found is not None
    assert not found.details["alive"]
    assert _is_gone(platform, live, challenger)
    endpoints.stop("demo", "production")
    back = endpoints.restore("demo", "production")
    assert back is not None
    assert (back.url, back.confirmed) == (live.url, True)
    assert _answers(platform, back, challenger)
    assert _answers(platform, endpoints.rollback("demo", "production", by="Ada"), built)


def test_a_version_that_was_never_confirmed_is_not_gone_back_to(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    endpoints.deploy(challenger.folder, "demo", "production")
    endpoints.deploy(built.folder, "demo", "production")
    live = endpoints.confirm("demo", "production")
    with pytest.raises(PlatformError, match="can't go back to version 4"):
        endpoints.rollback("demo", "production", version="4", by="Ada")
    assert endpoints.find("demo", "production") == live


def test_an_endpoint_keeps_two_keys_of_which_each_can_be_replaced(platform: Platform, built: Package) -> None:
    endpoints = platform.endpoints
    for environment in ("staging", "production"):
        endpoints.deploy(built.folder, "demo", environment)
    first, second = endpoints.keys("demo", "production")
    assert first != second
    assert endpoints.keys("demo", "production") == (first, second)
    assert set(endpoints.keys("demo", "staging")).isdisjoint((first, second))
    changed = endpoints.keys("demo", "production", rotate=2)
    assert changed[0] == first
    assert changed[1] not in (first, second)
    assert endpoints.keys("demo", "production") == changed


def test_a_signature_holds_for_the_whole_package(platform: Platform, package: Path) -> None:
    signer = platform.sign(package)
    assert platform.verify(package) == signer
    (package / "scoring" / "rows.py").write_text("print('forged')")
    with pytest.raises(PlatformError, match=r"scoring/rows\.py"):
        platform.verify(package)


def test_a_first_service_that_failed_its_test_is_taken_down(platform: Platform, built: Package) -> None:
    made = platform.endpoints.deploy(built.folder, "demo", "production")
    assert platform.endpoints.restore("demo", "production") is None
    assert platform.endpoints.find("demo", "production") is None
    assert _is_gone(platform, made, built)


def test_environments_and_services_do_not_touch_each_other(
    platform: Platform, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    staging = endpoints.deploy(built.folder, "demo", "staging")
    production = endpoints.deploy(challenger.folder, "demo", "production")
    assert {(each.service, each.environment, each.url) for each in endpoints.everything()} == {
        ("demo", "staging", staging.url),
        ("demo", "production", production.url),
    }
    endpoints.remove("demo", "staging")
    assert endpoints.everything() == [production]
    assert _answers(platform, production, challenger)


def test_a_package_that_was_changed_is_not_deployed(
    platform: Platform, built: Package, package: Path
) -> None:
    live = platform.endpoints.deploy(built.folder, "demo", "staging")
    (package / "golden.json").write_text("{}")
    with pytest.raises(PlatformError, match=r"golden\.json was changed"):
        platform.endpoints.deploy(package, "demo", "staging")
    assert platform.endpoints.find("demo", "staging") == live


def test_a_package_that_nobody_signed_is_not_deployed(platform: Platform, package: Path) -> None:
    (package / packaging.SIGNATURE).unlink()
    with pytest.raises(PlatformError, match=r"model\.sig"):
        platform.endpoints.deploy(package, "demo", "staging")
    assert platform.endpoints.find("demo", "staging") is None


def test_a_package_that_does_not_start_leaves_the_service_before_in_place(
    platform: Platform, built: Package, broken: Package
) -> None:
    live = platform.endpoints.deploy(built.folder, "demo", "staging")
    with pytest.raises(PlatformError, match="deliberately broken"):
        platform.endpoints.deploy(broken.folder, "demo", "staging")
    assert platform.endpoints.find("demo", "staging") == live
    assert _answers(platform, live, built)


def test_a_service_outlives_the_run_that_deployed_it(platform: Platform, challenger: Package) -> None:
    made = platform.endpoints.deploy(challenger.folder, "demo", "staging")
    moved = challenger.folder.rename(challenger.folder.with_name("moved"))
    assert _answers(platform, made, replace(challenger, folder=moved))


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(platform: Platform, built: Package, name: str) -> None:
    with pytest.raises(PlatformError, match="can't be the name"):
        platform.endpoints.deploy(built.folder, name, "staging")
    with pytest.raises(PlatformError, match="can't be the name"):
        platform.endpoints.find("demo", name)
