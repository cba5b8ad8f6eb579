"""What holds of every platform's model registry: the same tests for all of them."""

import shutil
from pathlib import Path

import pytest

from tests.utils.platforms.trainings import record
from utils.platforms.protocol import Platform, PlatformError


def test_a_model_without_versions_has_neither_newest_nor_champion(platform: Platform) -> None:
    assert platform.registry.newest("demo") is None
    assert platform.registry.champion("demo") is None


def test_a_version_carries_its_lineage(platform: Platform, model_folder: Path) -> None:
    run = record(platform, model_folder)
    made = platform.registry.register(
        "demo", run, tags={"commit": "abc", "fingerprint": "f" * 64}, key="run-1"
    )
    assert (made.name, made.version, made.training_run) == ("demo", "1", run)
    assert made.tags == {"commit": "abc", "fingerprint": "f" * 64}
    assert platform.registry.version("demo", "1") == made


def test_registering_with_the_same_key_makes_one_version(platform: Platform, model_folder: Path) -> None:
    run = record(platform, model_folder)
    first = platform.registry.register("demo", run, tags={}, key="run-1")
    assert platform.registry.register("demo", run, tags={}, key="run-1") == first
    assert platform.registry.register("demo", run, tags={}, key="run-2").version == "2"


def test_a_key_is_not_reused_for_another_training(platform: Platform, model_folder: Path) -> None:
    platform.registry.register("demo", record(platform, model_folder), tags={}, key="run-1")
    with pytest.raises(PlatformError, match="'run-1' has already registered"):
        platform.registry.register("demo", record(platform, model_folder), tags={}, key="run-1")


def test_the_newest_version_is_the_one_with_the_highest_number(
    platform: Platform, model_folder: Path
) -> None:
    run = record(platform, model_folder)
    for number in range(11):
        platform.registry.register("demo", run, tags={}, key=f"run-{number}")
    newest = platform.registry.newest("demo")
    assert newest is not None
    assert newest.version == "11"


def test_the_champion_is_the_version_promoted_last(platform: Platform, model_folder: Path) -> None:
    run = record(platform, model_folder)
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
    run = record(platform, model_folder)
    for key in ("run-1", "run-2", "run-3"):
        platform.registry.register("demo", run, tags={}, key=key)
    assert agree() is None
    for version in ("2", "3", "1"):
        platform.registry.promote("demo", version)
        assert agree() == version


def test_a_history_stays_itself_whatever_is_recorded(platform: Platform, model_folder: Path) -> None:
    identity = platform.history.identity()
    assert identity
    platform.registry.register("demo", record(platform, model_folder), tags={}, key="run-1")
    assert platform.history.identity() == identity


def test_only_a_version_that_exists_is_promoted(platform: Platform, model_folder: Path) -> None:
    platform.registry.register("demo", record(platform, model_folder), tags={}, key="run-1")
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
    platform.registry.register("demo", record(platform, model_folder), tags={}, key="run-1")
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
        platform.registry.register("demo", record(platform, model_folder), tags={}, key="run-1")
    assert platform.registry.newest("demo") is None


@pytest.mark.parametrize("name", ["it's", "", "a/b", "x' or name = 'y"])
def test_a_name_that_would_change_the_search_is_refused(
    platform: Platform, model_folder: Path, name: str
) -> None:
    run = record(platform, model_folder)
    with pytest.raises(PlatformError, match="can't be the name"):
        platform.registry.newest(name)
    with pytest.raises(PlatformError, match="can't be the name"):
        platform.registry.register("demo", run, tags={}, key=name)


def test_a_training_can_be_registered_after_its_folder_is_gone(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
    shutil.rmtree(model_folder)
    platform.registry.register("demo", run, tags={}, key="run-1")
    assert (platform.registry.download("demo", "1", tmp_path / "copy") / "model.skops").exists()
