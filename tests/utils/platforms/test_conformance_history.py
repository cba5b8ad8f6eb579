"""What holds of every platform's run history: the same tests for all of them."""

import json
import math
from pathlib import Path

import pytest

from tests.utils.platforms.trainings import record
from utils.platforms.protocol import Platform, PlatformError


def test_a_training_is_read_back_as_it_was_recorded(platform: Platform, model_folder: Path) -> None:
    run = record(platform, model_folder, parameters={"alpha": 0.5, "fit_intercept": True, "solver": None})
    found = platform.history.read(run)
    assert found.id == run
    assert found.parameters == {"alpha": "0.5", "fit_intercept": "True", "solver": "None"}
    assert found.metrics == {"rmse": 54.25}
    assert found.tags == {"scenario": "demo"}


def test_metrics_that_are_no_numbers_stay_what_they_are(platform: Platform, model_folder: Path) -> None:
    run = record(platform, model_folder, metrics={"a": math.nan, "b": math.inf, "c": -math.inf})
    found = platform.history.read(run).metrics
    assert math.isnan(found["a"])
    assert (found["b"], found["c"]) == (math.inf, -math.inf)


def test_more_parameters_than_one_call_takes_are_all_recorded(platform: Platform, model_folder: Path) -> None:
    many = {f"p{number}": number for number in range(250)}
    run = record(platform, model_folder, parameters=many)
    assert platform.history.read(run).parameters == {name: str(value) for name, value in many.items()}


def test_files_keep_their_folders_name(platform: Platform, model_folder: Path, tmp_path: Path) -> None:
    run = record(platform, model_folder)
    folder = platform.history.download(run, "model", tmp_path / "copy")
    assert folder == tmp_path / "copy" / "model"
    assert (folder / "model.skops").read_bytes() == b"a model"
    assert (folder / "plots" / "residuals.png").read_bytes() == b"a plot"
    one = platform.history.download(run, "model/schema.json", tmp_path / "one")
    assert one.read_text() == "{}"


def test_an_evaluation_is_added_to_its_training(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
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
    run = record(platform, model_folder)
    with pytest.raises(PlatformError):
        platform.history.download(run, path, tmp_path / "copy")


def test_a_folder_that_is_not_there_is_not_recorded(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"no folder .*nowhere"):
        record(platform, tmp_path / "nowhere")


def test_a_snapshot_is_kept_once_for_each_fingerprint(platform: Platform, tmp_path: Path) -> None:
    kept = []
    for fingerprint, content in (("a" * 64, b"rows"), ("a" * 64, b"rows"), ("b" * 64, b"others")):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / "snapshot.parquet").write_bytes(content)
        (folder / "snapshot.json").write_text(json.dumps({"rows": 4, "fingerprint": fingerprint}))
        kept.append(platform.history.keep_data("demo", folder, fingerprint))
    first, again, other = kept
    assert first == again
    # Where the run folder is all that keeps data, there is nothing to tell them apart by.
    assert other != first or not first
