"""What holds on every platform: the same tests for all of them."""

import json
import math
import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from utils import files, packaging
from utils.packaging import Package
from utils.platforms.protocol import Endpoint, Platform, PlatformError


def _record(platform: Platform, model_folder: Path, **others: Any) -> str:
    given: dict[str, Any] = {
        "parameters": {"alpha": 0.5},
        "metrics": {"rmse": 54.25},
        "tags": {"scenario": "demo"},
    }
    return platform.history.record("demo", **{**given, **others}, files=model_folder)


# ------------------------------------------------------------------ the platform


def test_a_platform_fulfils_the_protocol(platform: Platform) -> None:
    assert isinstance(platform, Platform)
    assert platform.name


def test_provisioning_again_finds_what_is_there(platform: Platform) -> None:
    resources = platform.provision()
    assert {resource.state for resource in resources} == {"found"}
    assert [resource.name for resource in resources] == ["run history", "model registry", "compute"]


# ------------------------------------------------------------------ run history


def test_a_training_is_read_back_as_it_was_recorded(platform: Platform, model_folder: Path) -> None:
    run = _record(platform, model_folder, parameters={"alpha": 0.5, "fit_intercept": True, "solver": None})
    found = platform.history.read(run)
    assert found.id == run
    assert found.parameters == {"alpha": "0.5", "fit_intercept": "True", "solver": "None"}
    assert found.metrics == {"rmse": 54.25}
    assert found.tags == {"scenario": "demo"}


def test_metrics_that_are_no_numbers_stay_what_they_are(platform: Platform, model_folder: Path) -> None:
    run = _record(platform, model_folder, metrics={"a": math.nan, "b": math.inf, "c": -math.inf})
    found = platform.history.read(run).metrics
    assert math.isnan(found["a"])
    assert (found["b"], found["c"]) == (math.inf, -math.inf)


def test_more_parameters_than_one_call_takes_are_all_recorded(platform: Platform, model_folder: Path) -> None:
    many = {f"p{number}": number for number in range(250)}
    run = _record(platform, model_folder, parameters=many)
    assert platform.history.read(run).parameters == {name: str(value) for name, value in many.items()}


def test_files_keep_their_folders_name(platform: Platform, model_folder: Path, tmp_path: Path) -> None:
    run = _record(platform, model_folder)
    folder = platform.history.download(run, "model", tmp_path / "copy")
    assert folder == tmp_path / "copy" / "model"
    assert (folder / "model.skops").read_bytes() == b"a model"
    assert (folder / "plots" / "residuals.png").read_bytes() == b"a plot"
    one = platform.history.download(run, "model/schema.json", tmp_path / "one")
    assert one.read_text() == "{}"


def test_an_evaluation_is_added_to_its_training(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = _record(platform, model_folder)
    evaluation = tmp_path / "run" / "evaluation"
    evaluation.mkdir()
    (evaluation / "evaluation.json").write_text("[]")
    platform.history.annotate(run, metrics={"held_out": 1.5}, tags={"outcome": "promote"}, files=evaluation)
    found = platform.history.read(run)
    assert found.metrics == {"rmse": 54.25, "held_out": 1.5}
    assert found.tags == {"scenario": "demo", "outcome": "promote"}
    assert platform.history.download(run, "evaluation/evaluation.json", tmp_path / "copy").read_text() == "[]"


def test_an_unknown_training_is_refused_by_its_id(platform: Platform, tmp_path: Path) -> None:
    unknown = "0" * 32
    for ask in (
        lambda: platform.history.read(unknown),
        lambda: platform.history.annotate(unknown, metrics={}, tags={}),
        lambda: platform.history.download(unknown, "model", tmp_path),
        lambda: platform.registry.register("demo", unknown, tags={}, key="run-1"),
    ):
        with pytest.raises(PlatformError, match=unknown):
            ask()


@pytest.mark.parametrize("path", ["nothing", "model/nothing.png", "../../../mlflow.db"])
def test_a_file_that_a_training_does_not_have_is_refused(
    platform: Platform, model_folder: Path, tmp_path: Path, path: str
) -> None:
    run = _record(platform, model_folder)
    with pytest.raises(PlatformError):
        platform.history.download(run, path, tmp_path / "copy")


def test_a_folder_that_is_not_there_is_not_recorded(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"no folder .*nowhere"):
        _record(platform, tmp_path / "nowhere")


# ------------------------------------------------------------------ registry


def test_a_model_without_versions_has_neither_newest_nor_champion(platform: Platform) -> None:
    assert platform.registry.newest("demo") is None
    assert platform.registry.champion("demo") is None


def test_a_version_carries_its_lineage(platform: Platform, model_folder: Path) -> None:
    run = _record(platform, model_folder)
    made = platform.registry.register(
        "demo", run, tags={"commit": "abc", "fingerprint": "f" * 64}, key="run-1"
    )
    assert (made.name, made.version, made.training_run) == ("demo", "1", run)
    assert made.tags == {"commit": "abc", "fingerprint": "f" * 64}
    assert platform.registry.version("demo", "1") == made


def test_registering_with_the_same_key_makes_one_version(platform: Platform, model_folder: Path) -> None:
    run = _record(platform, model_folder)
    first = platform.registry.register("demo", run, tags={}, key="run-1")
    assert platform.registry.register("demo", run, tags={}, key="run-1") == first
    assert platform.registry.register("demo", run, tags={}, key="run-2").version == "2"


def test_a_key_is_not_reused_for_another_training(platform: Platform, model_folder: Path) -> None:
    platform.registry.register("demo", _record(platform, model_folder), tags={}, key="run-1")
    with pytest.raises(PlatformError, match="'run-1' has already registered"):
        platform.registry.register("demo", _record(platform, model_folder), tags={}, key="run-1")


def test_the_newest_version_is_the_one_with_the_highest_number(
    platform: Platform, model_folder: Path
) -> None:
    run = _record(platform, model_folder)
    for number in range(11):
        platform.registry.register("demo", run, tags={}, key=f"run-{number}")
    newest = platform.registry.newest("demo")
    assert newest is not None
    assert newest.version == "11"


def test_the_champion_is_the_version_promoted_last(platform: Platform, model_folder: Path) -> None:
    run = _record(platform, model_folder)
    for key in ("run-1", "run-2"):
        platform.registry.register("demo", run, tags={}, key=key)
    assert platform.registry.champion("demo") is None
    for version in ("2", "1"):
        platform.registry.promote("demo", version)
        champion = platform.registry.champion("demo")
        assert champion is not None
        assert champion.version == version


def test_the_champions_version_is_told_alike_with_and_without_its_details(
    platform: Platform, model_folder: Path
) -> None:
    def agree() -> str | None:
        champion = platform.registry.champion("demo")
        version = platform.registry.champion_version("demo")
        assert version == (champion.version if champion else None)
        assert platform.registry.champion_version("other") is None
        return version

    assert agree() is None
    run = _record(platform, model_folder)
    for key in ("run-1", "run-2", "run-3"):
        platform.registry.register("demo", run, tags={}, key=key)
    assert agree() is None
    for version in ("2", "3", "1"):
        platform.registry.promote("demo", version)
        assert agree() == version


def test_a_history_stays_itself_whatever_is_recorded(platform: Platform, model_folder: Path) -> None:
    identity = platform.history.identity()
    assert identity
    platform.registry.register("demo", _record(platform, model_folder), tags={}, key="run-1")
    assert platform.history.identity() == identity


def test_only_a_version_that_exists_is_promoted(platform: Platform, model_folder: Path) -> None:
    platform.registry.register("demo", _record(platform, model_folder), tags={}, key="run-1")
    platform.registry.promote("demo", "1")
    for name, version in (("demo", "7"), ("other", "1")):
        with pytest.raises(PlatformError, match="can't be promoted"):
            platform.registry.promote(name, version)
    champion = platform.registry.champion("demo")
    assert champion is not None
    assert champion.version == "1"


def test_a_versions_model_replaces_what_was_at_the_destination(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    platform.registry.register("demo", _record(platform, model_folder), tags={}, key="run-1")
    destination = tmp_path / "champion"
    destination.mkdir()
    (destination / "stale.txt").write_text("of another version")
    assert platform.registry.download("demo", "1", destination) == destination
    assert (destination / "model.skops").read_bytes() == b"a model"
    assert not (destination / "stale.txt").exists()


def test_an_unknown_version_is_refused(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="'demo' version 3"):
        platform.registry.version("demo", "3")
    with pytest.raises(PlatformError, match="'demo' version 3"):
        platform.registry.download("demo", "3", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_training_without_a_model_is_not_registered(platform: Platform, model_folder: Path) -> None:
    (model_folder / "model.skops").unlink()
    with pytest.raises(PlatformError, match=r"no model/model\.skops"):
        platform.registry.register("demo", _record(platform, model_folder), tags={}, key="run-1")
    assert platform.registry.newest("demo") is None


@pytest.mark.parametrize("name", ["it's", "", "a/b", "x' or name = 'y"])
def test_a_name_that_would_change_the_search_is_refused(
    platform: Platform, model_folder: Path, name: str
) -> None:
    run = _record(platform, model_folder)
    with pytest.raises(PlatformError, match="can't be the name"):
        platform.registry.newest(name)
    with pytest.raises(PlatformError, match="can't be the name"):
        platform.registry.register("demo", run, tags={}, key=name)


def test_a_training_can_be_registered_after_its_folder_is_gone(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = _record(platform, model_folder)
    shutil.rmtree(model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    assert (platform.registry.download("demo", "1", tmp_path / "copy") / "model.skops").exists()


# ------------------------------------------------------------------ endpoints


def _answers(platform: Platform, endpoint: Endpoint | None, package: Package) -> bool:
    """Whether the endpoint reproduces the package's golden predictions, and says that it serves it."""
    assert endpoint is not None
    golden = files.read_json(package.folder / "golden.json")
    key = platform.endpoints.keys(endpoint.service, endpoint.environment)[0]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", "Connection": "close"}
    body = json.dumps({"data": golden["data"]}).encode()
    with urllib.request.urlopen(f"{endpoint.url}/health/ready", timeout=60) as response:
        digest = json.load(response)["digest"]
    request = urllib.request.Request(f"{endpoint.url}/score", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        right = json.load(response)["result"] == pytest.approx(golden["expected"])
    return bool(right and digest == package.digest)


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
    with pytest.raises(OSError, match="refused"):
        _answers(platform, made, built)


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
    with pytest.raises(OSError, match="refused"):
        _answers(platform, live, challenger)
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


def test_an_endpoint_keeps_two_keys_of_which_each_can_be_replaced(platform: Platform) -> None:
    endpoints = platform.endpoints
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
    with pytest.raises(OSError, match="refused"):
        _answers(platform, made, built)


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
