"""The model registry in a workspace: what holds on every platform, and what is Azure's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.azure.cloud import Cloud, faults
from tests.azure.cloud.assets import Assets
from tests.azure.cloud.identity import Identity
from tests.azure.cloud.models import Models
from tests.azure.parts import *  # noqa: F403
from tests.azure.parts import Serving
from tests.utils.platforms.test_conformance_registry import *  # noqa: F403
from tests.utils.platforms.trainings import record
from utils.platforms.protocol import ModelVersion, Platform, PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

CALLS = {
    "finding versions": ("GET", r"/modelmanagement/.*/models$"),
    "finding the training": ("GET", r"/history/.*/runs/[^/]+$"),
    "finding its files": ("GET", r"/artifacts/prefix/contentinfo/"),
    "naming the model's files": ("POST", r"/modelmanagement/.*/assets$"),
    "making the version": ("POST", r"/modelmanagement/.*/models$"),
}


def registered(platform: Platform, model_folder: Path, versions: int) -> list[ModelVersion]:
    """Register several versions of "demo"."""
    run = record(platform, model_folder)
    return [
        platform.registry.register("demo", run, tags={}, key=f"run-{number}")
        for number in range(1, versions + 1)
    ]


# ------------------------------------------------------------------ one version for each key


def test_a_version_is_the_trainings_own_files(cloud: Cloud, platform: Platform, model_folder: Path) -> None:
    run = record(platform, model_folder)
    platform.registry.register("demo", run, tags={"commit": "abc"}, key="run-1")
    found = cloud.area(Models).found["demo:1"]
    assert (found.run_id, found.experiment_name, found.kv_tags) == (run, "demo", {"commit": "abc"})
    assert found.properties["registration_key"] == "run-1"
    (asset,) = cloud.area(Assets).found.values()
    assert [each.prefix for each in asset.artifacts] == [f"ExperimentRun/dcid.{run}/model"]


def test_two_jobs_that_register_at_once_get_the_same_version(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    run = record(platform, model_folder)
    others: list[ModelVersion] = []

    def meanwhile() -> None:
        others.append(platform.registry.register("demo", run, tags={}, key="run-1"))

    cloud.faults.add("POST", r"/modelmanagement/.*/models$", [faults.delayed(meanwhile)])
    mine = platform.registry.register("demo", run, tags={}, key="run-1")
    assert [mine] == others
    assert list(cloud.area(Models).found) == [f"demo:{mine.version}"]
    assert platform.registry.register("demo", run, tags={}, key="run-1") == mine


@pytest.mark.parametrize("fault", faults.PASSING)
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_in_passing_is_overcome_and_makes_no_second_version(
    cloud: Cloud, platform: Platform, model_folder: Path, call: str, fault: str
) -> None:
    run = record(platform, model_folder)
    cloud.faults.add(*CALLS[call], [faults.PASSING[fault]])
    made = platform.registry.register("demo", run, tags={"commit": "abc"}, key="run-1")
    assert cloud.faults.happened == 1
    assert (made.version, made.training_run, made.tags) == ("1", run, {"commit": "abc"})
    assert list(cloud.area(Models).found) == ["demo:1"]
    assert platform.registry.register("demo", run, tags={}, key="run-2").version == "2"


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_is_told_in_one_line_and_leaves_nothing(
    cloud: Cloud, platform: Platform, model_folder: Path, call: str
) -> None:
    run = record(platform, model_folder)
    refusal = faults.refused(403, "AuthorizationFailed", "The client may not do that.")
    cloud.faults.add(*CALLS[call], [refusal])
    with pytest.raises(PlatformError, match=r"can't be.*may not do that.*AuthorizationFailed.*403") as told:
        platform.registry.register("demo", run, tags={}, key="run-1")
    assert "\n" not in str(told.value)
    assert cloud.area(Models).found == {}
    assert platform.registry.newest("demo") is None
    assert platform.registry.register("demo", run, tags={}, key="run-1").version == "1"


def test_a_token_that_expires_between_two_calls_is_renewed(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    run = record(platform, model_folder)
    expired = faults.refused(401, "ExpiredAuthenticationToken", "The access token has expired.")
    cloud.faults.add("POST", r"/modelmanagement/.*/models$", [expired])
    assert platform.registry.register("demo", run, tags={}, key="run-1").version == "1"
    assert cloud.area(Identity).given == 2


# ------------------------------------------------------------------ none is overlooked


def test_all_pages_of_versions_are_read(cloud: Cloud, platform: Platform, model_folder: Path) -> None:
    cloud.area(Models).page = 3
    registered(platform, model_folder, 8)
    platform.registry.promote("demo", "1")
    for number in (2, 3):
        platform.registry.promote("demo", str(number))
    platform.registry.promote("demo", "1")
    newest, champion = platform.registry.newest("demo"), platform.registry.champion("demo")
    assert newest is not None
    assert champion is not None
    assert (newest.version, champion.version) == ("8", "1")


def test_a_list_that_goes_on_in_an_unknown_way_is_no_answer(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    registered(platform, model_folder, 3)
    platform.registry.promote("demo", "1")
    cloud.area(Models).page, cloud.area(Models).onward = 1, "cursor"
    for ask in (platform.registry.champion, platform.registry.newest, platform.registry.champion_version):
        with pytest.raises(PlatformError, match="goes on, and nobody says how"):
            ask("demo")


def test_a_filter_that_finds_nothing_is_not_believed(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "2")
    cloud.area(Models).deaf = True
    assert platform.registry.champion_version("demo") == "2"
    assert platform.registry.champion_version("another") is None


@pytest.mark.parametrize("ask", ["champion", "newest", "champion_version"])
def test_a_registry_that_cannot_be_asked_never_says_none(cloud: Cloud, platform: Platform, ask: str) -> None:
    for refusal in (
        faults.refused(403, "AuthorizationFailed", "not allowed"),
        faults.refused(404, "WorkspaceNotFound", "There is no such workspace."),
    ):
        cloud.faults.add("GET", r"/modelmanagement/.*/models$", [refusal])
        with pytest.raises(PlatformError, match=refusal.code):
            getattr(platform.registry, ask)("demo")


# ------------------------------------------------------------------ the champion


def test_promoting_is_one_request(cloud: Cloud, platform: Platform, model_folder: Path) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "1")
    # Whatever happens after it.
    refusal = faults.refused(403, "AuthorizationFailed", "not allowed")
    cloud.faults.add("PATCH", "/models/demo:1$", [refusal])
    with pytest.raises(PlatformError, match="'demo' version 1 is still marked"):
        platform.registry.promote("demo", "2")
    assert platform.registry.champion_version("demo") == "2"
    platform.registry.promote("demo", "2")
    marks = {name: "in_production" in each.kv_tags for name, each in cloud.area(Models).found.items()}
    assert marks == {"demo:1": False, "demo:2": True}


@pytest.mark.parametrize("fault", faults.PASSING)
def test_a_promotion_comes_through_a_fault_in_passing(
    cloud: Cloud, platform: Platform, model_folder: Path, fault: str
) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "1")
    cloud.faults.add("PATCH", "/models/demo:2$", [faults.PASSING[fault]])
    platform.registry.promote("demo", "2")
    assert platform.registry.champion_version("demo") == "2"


def test_a_promotion_that_is_refused_leaves_the_champion(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "1")
    refusal = faults.refused(403, "AuthorizationFailed", "not allowed")
    cloud.faults.add("PATCH", "/models/demo:2$", [refusal])
    with pytest.raises(PlatformError, match=r"version 2 can't be promoted.*AuthorizationFailed"):
        platform.registry.promote("demo", "2")
    assert platform.registry.champion_version("demo") == "1"


def test_a_machine_whose_clock_is_ahead_does_not_hold_on_to_its_champion(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "1")
    cloud.area(Models).found["demo:1"].kv_tags["champion_since"] = "2999-01-01T00:00:00.000000Z"
    platform.registry.promote("demo", "2")
    assert platform.registry.champion_version("demo") == "2"


def test_a_mark_that_was_changed_by_hand_is_no_answer(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "1")
    cloud.area(Models).found["demo:2"].kv_tags["champion_since"] = "yesterday"
    for ask in (platform.registry.champion, platform.registry.champion_version):
        with pytest.raises(PlatformError, match=r"version 2 was changed by hand.*Remove that tag"):
            ask("demo")


def test_tags_are_added_and_the_champions_mark_stays(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    run = record(platform, model_folder)
    platform.registry.register("demo", run, tags={"commit": "abc"}, key="run-1")
    platform.registry.promote("demo", "1")
    platform.registry.tag("demo", "1", {"image": "x@sha256:1", "commit": "def"})
    assert platform.registry.version("demo", "1").tags == {"image": "x@sha256:1", "commit": "def"}
    assert platform.registry.champion_version("demo") == "1"
    for name in ("champion_since", "in_production"):
        with pytest.raises(PlatformError, match=f"{name!r} is the registry's own"):
            platform.registry.tag("demo", "1", {name: "x"})
    with pytest.raises(PlatformError, match="'demo' version 7 can't be tagged"):
        platform.registry.tag("demo", "7", {"image": "x"})


# ------------------------------------------------------------------ what production serves


@pytest.mark.parametrize("champion", ["", "1", "2"])
@pytest.mark.parametrize("served", ["", "1", "2"])
def test_the_champion_is_told_only_if_production_serves_it(
    platform: Platform, serving: Serving, model_folder: Path, champion: str, served: str
) -> None:
    registered(platform, model_folder, 2)
    if champion:
        platform.registry.promote("demo", champion)
    if served:
        serving.versions["demo"] = served
    # Nothing is served by a service that was stopped, or where there is none yet.
    if served in ("", champion):
        found = platform.registry.champion("demo")
        assert (found.version if found else "") == champion
        assert platform.registry.champion_version("demo") == (champion or None)
        return
    for ask in (platform.registry.champion, platform.registry.champion_version):
        with pytest.raises(PlatformError, match=rf"serves 'demo' version {served}.*python -m ci resume"):
            ask("demo")
    # What ends the contradiction isn't hindered by it.
    platform.registry.promote("demo", served)
    assert platform.registry.champion_version("demo") == served


def test_where_nobody_can_say_what_production_serves_there_is_no_answer(
    platform: Platform, serving: Serving, model_folder: Path
) -> None:
    def fails(service: str) -> str:
        raise PlatformError(f"The services of {service} can't be read.")

    registered(platform, model_folder, 1)
    platform.registry.promote("demo", "1")
    serving.asks = fails
    with pytest.raises(PlatformError, match="services of demo can't be read"):
        platform.registry.champion("demo")


# ------------------------------------------------------------------ the files of a version


def test_files_that_were_added_to_a_registered_model_are_not_copied(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    (model_folder / "model.skops").write_bytes(b"another model")
    platform.history.annotate(run, metrics={}, tags={}, files=model_folder)
    with pytest.raises(PlatformError, match="aren't those that were registered"):
        platform.registry.download("demo", "1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_neighbour_of_the_models_folder_is_none_of_its_files(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
    neighbour = tmp_path / "models"
    neighbour.mkdir()
    (neighbour / "other.txt").write_text("no part of it")
    platform.history.annotate(run, metrics={}, tags={}, files=neighbour)
    platform.registry.register("demo", run, tags={}, key="run-1")
    copied = platform.registry.download("demo", "1", tmp_path / "copy")
    assert sorted(path.name for path in copied.rglob("*") if path.is_file()) == [
        "model.skops",
        "residuals.png",
        "schema.json",
    ]


def test_a_model_of_somebody_else_is_not_copied(cloud: Cloud, platform: Platform, tmp_path: Path) -> None:
    from azureml._restclient.models import Model

    theirs = Model(name="demo", url="aml://asset/theirs", mime_type="application/json", version=1)
    cloud.area(Models).found["demo:1"] = theirs
    theirs.id, theirs.kv_tags, theirs.properties = "demo:1", {}, {}
    with pytest.raises(PlatformError, match="wasn't registered by this project"):
        platform.registry.download("demo", "1", tmp_path / "copy")


@pytest.mark.parametrize("version", ["0", "x", "1/../2", "", "01"])
def test_a_version_that_is_no_number_is_refused(platform: Platform, version: str) -> None:
    ask: list[Callable[[], Any]] = [
        lambda: platform.registry.version("demo", version),
        lambda: platform.registry.promote("demo", version),
    ]
    for each in ask:
        with pytest.raises(PlatformError, match=re.escape(f"no 'demo' version {version}:")):
            each()


def test_nothing_of_the_sdk_is_printed(
    platform: Platform, model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    registered(platform, model_folder, 2)
    platform.registry.promote("demo", "1")
    platform.registry.promote("demo", "2")
    platform.registry.tag("demo", "1", {"image": "x"})
    platform.registry.download("demo", "1", tmp_path / "copy")
    with pytest.raises(PlatformError):
        platform.registry.version("demo", "7")
    assert capfd.readouterr() == ("", "")


def test_a_step_on_the_platforms_compute_registers_what_it_trained(
    cloud: Cloud, step: Site, serving: Serving, model_folder: Path, tmp_path: Path
) -> None:
    from utils.platforms.azureml.history import AzureHistory
    from utils.platforms.azureml.registry import AzureRegistry

    history = AzureHistory(step)
    registry = AzureRegistry(step, history, serving)
    run = history.record("demo", parameters={}, metrics={}, tags={}, files=model_folder)
    assert registry.register("demo", run, tags={}, key="run-1").version == "1"
    assert registry.champion("demo") is None
    copied = registry.download("demo", "1", tmp_path / "copy")
    assert (copied / "model.skops").read_bytes() == b"a model"
    assert cloud.area(Models).found["demo:1"].run_id == run
    # A step has the run's token alone; Azure Resource Manager doesn't take it.
    assert not [call for call in cloud.calls if call.host == "management.azure.com"]
