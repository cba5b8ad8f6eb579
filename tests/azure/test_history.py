"""The run history in a workspace: what holds on every platform, and what Azure would not keep by itself."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.azure.cloud import Cloud, artifacts, faults
from tests.azure.cloud.artifacts import Artifacts
from tests.azure.cloud.faults import Fault
from tests.azure.cloud.history import History
from tests.azure.cloud.identity import Identity
from tests.azure.cloud.management import Management
from tests.azure.cloud.metrics import Metrics
from tests.azure.parts import *  # noqa: F403
from tests.utils.platforms.test_conformance_history import *  # noqa: F403
from tests.utils.platforms.trainings import record
from utils.platforms.protocol import Platform, PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

CALLS = {
    "finding the experiment": ("GET", r"/experiments/demo$"),
    "making the experiment": ("POST", r"/experiments/demo$"),
    "beginning the run": ("PATCH", r"/runs/[^/]+$"),
    "starting it": ("POST", r"/runs/[^/]+/events$"),
    "naming files": ("POST", r"/artifacts/batch/metadata/"),
    "showing metrics": ("POST", r"/metric/v2.0/.*/batch$"),
    "looking at it": ("GET", r"/experimentids/[^/]+/runs/[^/]+$"),
}


def evaluation(folder: Path, content: str) -> Path:
    """Return a folder as evaluate leaves it."""
    made = folder / "evaluation"
    made.mkdir(exist_ok=True)
    (made / "evaluation.json").write_text(content)
    return made


# ------------------------------------------------------------------ exact, whatever Azure has room for


def test_nothing_is_lost_to_the_limits_of_azures_own_fields(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    parameters = {f"p{number}": "v" * 3000 for number in range(70)} | {"k" * 300: "long"}
    metrics = {f"m{number}": number / 7 for number in range(80)}
    tags = {f"t{number}": "ü" * 2500 for number in range(60)} | {"k" * 300: "long"}
    run = record(platform, model_folder, parameters=parameters, metrics=metrics, tags=tags)
    platform.history.annotate(run, metrics={"later": 1.0}, tags={"reason": "r" * 4000, "t0": "another"})

    found = platform.history.read(run)
    assert found.parameters == parameters
    assert found.metrics == {**metrics, "later": 1.0}
    assert found.tags == {**tags, "reason": "r" * 4000, "t0": "another"}
    shown = cloud.area(History).runs[run]
    assert len(shown.tags) <= 50
    assert len(shown.properties) <= 50
    assert len(cloud.area(Metrics).values(run)) == 50
    assert shown.tags["t0"] == "another"


def test_people_see_parameters_metrics_tags_and_plots_on_the_run(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder, metrics={"rmse": 54.25, "nothing": math.nan})
    folder = evaluation(tmp_path, "[]")
    (folder / "difference.png").write_bytes(b"a plot")
    platform.history.annotate(run, metrics={"held_out": 2}, tags={"outcome": "promote"}, files=folder)

    shown = cloud.area(History).runs[run]
    assert shown.experiment_id == cloud.area(History).experiments["demo"].experiment_id
    assert shown.properties == {"alpha": "0.5"}
    assert shown.tags == {"scenario": "demo", "outcome": "promote"}
    images = {
        path: f"aml://artifactId/ExperimentRun/dcid.{run}/{path}"
        for path in ("model/plots/residuals.png", "evaluation/difference.png")
    }
    assert cloud.area(Metrics).values(run) == {"rmse": 54.25, "held_out": 2.0, **images}


def test_a_metric_that_the_service_refuses_is_told(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    run = record(platform, model_folder)
    cloud.area(Metrics).runs[run]["rmse"].columns = {"rmse": "string"}
    with pytest.raises(PlatformError, match=r"The metric 'rmse' was refused: .* other columns"):
        platform.history.annotate(run, metrics={"rmse": 1.0}, tags={})
    assert platform.history.read(run).metrics == {"rmse": 54.25}


def test_the_address_of_the_git_remote_is_not_recorded(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "https://ci:a-token@git.example.com/project.git"
    for words in (["init", "--quiet"], ["remote", "add", "origin", address]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    run = record(platform, model_folder)
    assert "a-token" not in repr(cloud.area(History).runs[run])


def test_nothing_of_the_sdk_is_printed(
    platform: Platform, model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = record(platform, model_folder)
    platform.history.annotate(run, metrics={"held_out": 1.5}, tags={}, files=model_folder)
    with pytest.raises(PlatformError):
        platform.history.read("unknown")
    assert capfd.readouterr() == ("", "")


def test_more_files_than_azure_names_at_once_are_all_kept(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    cloud.area(Artifacts).page = 25
    for number in range(120):
        (model_folder / f"{number:03d}.txt").write_text(str(number))
    (model_folder / "Größe & 100%.json").write_text("{}")
    run = record(platform, model_folder)
    copied = platform.history.download(run, "model", tmp_path / "copy")
    assert sorted(path.name for path in copied.glob("*.txt")) == [f"{n:03d}.txt" for n in range(120)]
    assert (copied / "077.txt").read_text() == "77"
    assert (copied / "Größe & 100%.json").read_text() == "{}"


# ------------------------------------------------------------------ annotations


def test_what_is_annotated_again_takes_the_place_of_what_was(
    platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
    for content, value in (("first", 1.0), ("first", 1.0), ("second", 2.0)):
        folder = evaluation(tmp_path, content)
        platform.history.annotate(run, metrics={"held_out": value}, tags={"says": content}, files=folder)
    found = platform.history.read(run)
    assert (found.metrics["held_out"], found.tags["says"]) == (2.0, "second")
    copied = platform.history.download(run, "evaluation", tmp_path / "copy")
    assert (copied / "evaluation.json").read_text() == "second"


def test_an_annotation_that_breaks_off_leaves_the_training_as_it_was(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
    before = platform.history.read(run)
    refusal = faults.refused(403, "AuthorizationFailed", "not allowed")
    for attempt in range(2):
        # Its files are named first, its own record last.
        cloud.faults.add("POST", "/artifacts/batch/metadata/", [faults.delayed(int)] * attempt + [refusal])
        with pytest.raises(PlatformError, match=rf"{run} can't be annotated.*AuthorizationFailed"):
            platform.history.annotate(run, metrics={"x": 1.0}, tags={}, files=evaluation(tmp_path, "new"))
        assert platform.history.read(run) == before
    with pytest.raises(PlatformError, match="no file or folder 'evaluation'"):
        platform.history.download(run, "evaluation", tmp_path / "copy")


def test_a_record_that_was_named_and_never_written_does_not_count(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    run = record(platform, model_folder)
    before = platform.history.read(run)
    cloud.area(Artifacts).make("ExperimentRun", f"dcid.{run}", "record/000001-abc.json")
    assert platform.history.read(run) == before
    platform.history.annotate(run, metrics={"later": 1.0}, tags={})
    assert platform.history.read(run).metrics["later"] == 1.0


# ------------------------------------------------------------------ trust


def test_a_file_that_was_changed_in_the_storage_is_not_copied(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    run = record(platform, model_folder)
    path = f"ExperimentRun/dcid.{run}/model/model.skops"
    cloud.blobs.get_blob_client("azureml", path).upload_blob(b"another model", overwrite=True)
    with pytest.raises(PlatformError, match=r"model/model\.skops.* isn't what was recorded"):
        platform.history.download(run, "model", tmp_path / "copy")
    assert not (tmp_path / "copy" / "model" / "model.skops").exists()


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        '{"schema_version": 1}',
        '{"schema_version": 2}',
        json.dumps(
            {
                "schema_version": 1,
                "parameters": {},
                "metrics": {},
                "tags": {},
                "files": {"../../elsewhere": {"artifact": "a", "sha256": "b"}},
            }
        ),
    ],
)
def test_a_record_that_is_none_is_refused(
    cloud: Cloud, platform: Platform, model_folder: Path, content: str
) -> None:
    run = record(platform, model_folder)
    artifacts.write(cloud, "ExperimentRun", f"dcid.{run}", "record/000001-abc.json", content.encode())
    with pytest.raises(PlatformError, match="The record"):
        platform.history.read(run)


def test_a_run_of_somebody_else_is_no_training(cloud: Cloud, platform: Platform) -> None:
    history = cloud.area(History)
    history.begin("theirs", "other", status="Completed")
    with pytest.raises(PlatformError, match="theirs has no record of a training"):
        platform.history.read("theirs")


# ------------------------------------------------------------------ what breaks in the middle


def test_a_training_that_breaks_off_is_marked_as_failed_and_never_read(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    refusal = faults.refused(403, "AuthorizationPermissionMismatch", "may not write there")
    cloud.faults.add("POST", "/artifacts/batch/metadata/", [refusal])
    with pytest.raises(PlatformError, match=r"can't be recorded in 'demo'.*may not write there"):
        record(platform, model_folder)
    runs = cloud.area(History).runs
    (run,) = runs
    for ask in (
        lambda: platform.history.read(run),
        lambda: platform.history.annotate(run, metrics={}, tags={}),
        lambda: platform.history.download(run, "model", tmp_path),
        lambda: platform.registry.register("demo", run, tags={}, key="run-1"),
    ):
        with pytest.raises(PlatformError, match=f"{run} isn't complete"):
            ask()
    assert runs[run].status == "Failed"
    assert runs[run].error


def test_a_training_that_is_interrupted_is_marked_as_failed(
    cloud: Cloud, platform: Platform, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from utils.platforms.azureml import runs

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.Run, "show", interrupted)
    cloud.area(History).settling = 0
    with pytest.raises(KeyboardInterrupt):
        record(platform, model_folder)
    (run,) = cloud.area(History).runs
    assert cloud.area(History).look(run).status == "Failed"


def test_a_training_whose_failure_cannot_be_told_is_never_read(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    refusal = faults.refused(403, "AuthorizationFailed", "not allowed")
    cloud.faults.add("POST", "/artifacts/batch/metadata/", [refusal])
    cloud.faults.add("POST", "/events$", [faults.delayed(int), refusal, refusal])
    with pytest.raises(PlatformError, match="can't be recorded"):
        record(platform, model_folder)
    (run,) = cloud.area(History).runs
    with pytest.raises(PlatformError, match=r"isn't complete \(its state is Running\)"):
        platform.history.read(run)


@pytest.mark.parametrize("fault", faults.PASSING)
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_in_passing_is_overcome(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path, call: str, fault: str
) -> None:
    cloud.faults.add(*CALLS[call], [faults.PASSING[fault]])
    run = record(platform, model_folder)
    assert cloud.faults.happened == 1
    assert list(cloud.area(History).runs) == [run]
    found = platform.history.read(run)
    assert (found.parameters, found.metrics, found.tags) == (
        {"alpha": "0.5"},
        {"rmse": 54.25},
        {"scenario": "demo"},
    )
    copied = platform.history.download(run, "model", tmp_path / "copy")
    assert (copied / "model.skops").read_bytes() == b"a model"


@pytest.mark.parametrize(
    "fault", [faults.torn(), faults.cut(), faults.lost(), Fault(503, "ServerBusy", "busy")]
)
def test_an_upload_that_is_cut_off_is_made_again(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path, fault: Fault
) -> None:
    cloud.fronted = True
    content = bytes(range(256)) * 4096
    (model_folder / "model.skops").write_bytes(content)
    cloud.faults.add("PUT", r"/model/model\.skops", [fault])
    run = record(platform, model_folder)
    assert cloud.faults.happened == 1
    copied = platform.history.download(run, "model/model.skops", tmp_path / "copy")
    assert copied.read_bytes() == content


def test_a_download_that_is_cut_off_is_made_again(
    cloud: Cloud, platform: Platform, model_folder: Path, tmp_path: Path
) -> None:
    cloud.fronted = True
    run = record(platform, model_folder)
    cloud.faults.add("GET", r"/model/model\.skops", [faults.cut()])
    copied = platform.history.download(run, "model/model.skops", tmp_path / "copy")
    assert copied.read_bytes() == b"a model"


def test_a_token_that_expires_between_two_calls_is_renewed(
    cloud: Cloud, platform: Platform, model_folder: Path
) -> None:
    expired = faults.refused(401, "ExpiredAuthenticationToken", "The access token has expired.")
    cloud.faults.add("POST", "/artifacts/batch/metadata/", [expired])
    run = record(platform, model_folder)
    assert platform.history.read(run).metrics == {"rmse": 54.25}
    assert cloud.area(Identity).given == 2


# ------------------------------------------------------------------ on the platform's compute


def test_on_the_platforms_compute_a_training_is_a_child_of_the_steps_run(
    cloud: Cloud, step: Site, model_folder: Path
) -> None:
    from utils.platforms.azureml.history import AzureHistory

    history = AzureHistory(step)
    run = history.record(
        "demo", parameters={"alpha": 1}, metrics={"rmse": 1.0}, tags={"a": "b"}, files=model_folder
    )
    found = cloud.area(History).runs[run]
    assert (found.parent_run_id, found.root_run_id) == (step.run.id, step.run.id)
    assert found.experiment_id == cloud.area(History).experiments["demo"].experiment_id
    assert history.read(run).metrics == {"rmse": 1.0}
    assert (
        history.identity()
        == next(iter(cloud.area(Management).workspaces.values()))["properties"]["workspaceId"]
    )
    # A step has the run's token alone; Azure Resource Manager doesn't take it.
    assert not [call for call in cloud.calls if call.host == "management.azure.com"]


# ------------------------------------------------------------------ which history it is


def test_a_history_is_its_workspace(cloud: Cloud, platform: Platform, site: Site) -> None:
    from utils.platforms.azureml.history import AzureHistory
    from utils.platforms.azureml.workspace import Site

    first = platform.history.identity()
    calls = len(cloud.calls)
    assert platform.history.identity() == first
    assert len(cloud.calls) == calls, "it is asked before each step"
    cloud.area(Management).make_workspace("mlops", "mlops")
    assert AzureHistory(Site()).identity() not in (first, None), "another one of the same name"
    cloud.area(Management).workspaces.clear()
    assert AzureHistory(Site()).identity() is None


def test_a_workspace_that_cannot_be_asked_is_not_taken_for_none(cloud: Cloud, site: Site) -> None:
    from utils.platforms.azureml.history import AzureHistory

    refusal = faults.refused(403, "AuthorizationFailed", "not allowed")
    cloud.faults.add("GET", "/workspaces/mlops$", [refusal])
    with pytest.raises(PlatformError, match="AuthorizationFailed"):
        AzureHistory(site).identity()
