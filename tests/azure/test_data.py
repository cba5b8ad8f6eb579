"""The snapshot as a data set of the workspace: uploaded and registered once for each fingerprint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from tests.azure.cloud import Cloud, datastores, faults
from tests.azure.cloud.datasets import Datasets
from tests.azure.cloud.datastores import Datastores
from tests.azure.cloud.identity import Identity
from tests.azure.parts import *  # noqa: F403
from utils import data as datasets
from utils.data import Snapshot
from utils.platforms.protocol import PlatformError
from utils.splits import SplitPlan

if TYPE_CHECKING:
    from utils.platforms.azureml.history import AzureHistory
    from utils.platforms.azureml.workspace import Site

CALLS = {
    "finding the newest version": ("GET", r"/datasets/query/name=demo$"),
    "finding the data store": ("GET", r"/datastore/.*/default$"),
    "registering": ("POST", r"/dataset/.*/datasets$"),
}


@pytest.fixture
def history(site: Site) -> AzureHistory:
    from utils.platforms.azureml.history import AzureHistory

    return AzureHistory(site)


def snapshot(folder: Path, factor: int = 1, seed: int = 42) -> Snapshot:
    """Take a snapshot of some rows as setup does, in a run folder."""
    frame = pd.DataFrame({"bmi": range(50), "target": [factor * value for value in range(50)]})
    return datasets.take_snapshot(
        frame, source="rows.csv", target="target", plan=SplitPlan(seed=seed), run_folder=folder
    )


def versions(cloud: Cloud) -> list[dict[str, str]]:
    """Return the tags of each version of the data set."""
    return [each.tags for each in cloud.area(Datasets).found.get("demo", [])]


def blobs(cloud: Cloud) -> dict[str, Any]:
    """Return what is in the data store, with what changes when it is written."""
    container = cloud.blobs.get_container_client(datastores.CONTAINER)
    return {blob.name: blob.etag for blob in container.list_blobs()}


def test_a_snapshot_becomes_a_version_that_anybody_finds_by_the_scenarios_name(
    cloud: Cloud, workspace: Any, history: AzureHistory, tmp_path: Path
) -> None:
    from azureml.core import Dataset

    taken = snapshot(tmp_path)
    assert history.keep_data("demo", tmp_path / "data", taken.fingerprint) == "data set demo, version 1"
    found = Dataset.get_by_name(workspace, "demo")
    assert (found.version, found.tags["fingerprint"], found.tags["rows"]) == (1, taken.fingerprint, "50")
    assert found.description == "50 rows from rows.csv"
    path = found.tags["path"]
    assert taken.fingerprint[:32] in path
    # Its definition leads to the files that were uploaded.
    assert f"/datastores/workspaceblobstore/paths/{path}" in found._definition
    kept = cloud.blobs.get_blob_client(datastores.CONTAINER, path).download_blob().readall()
    assert kept == (tmp_path / "data" / "snapshot.parquet").read_bytes()
    assert {Path(name).name for name in blobs(cloud)} == {"snapshot.parquet", "snapshot.json"}


def test_the_same_data_are_neither_uploaded_nor_registered_again(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    taken = snapshot(tmp_path)
    history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    before = blobs(cloud)
    # Also where they are split otherwise.
    again = snapshot(tmp_path / "again", seed=7)
    assert again.fingerprint == taken.fingerprint
    assert (
        history.keep_data("demo", tmp_path / "again" / "data", taken.fingerprint)
        == "data set demo, version 1"
    )
    assert blobs(cloud) == before
    assert len(versions(cloud)) == 1


def test_other_data_are_the_next_version_and_those_before_come_back_as_their_own(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    for folder, factor, version in (("a", 1, 1), ("b", 2, 2), ("c", 1, 1)):
        taken = snapshot(tmp_path / folder, factor)
        kept = history.keep_data("demo", tmp_path / folder / "data", taken.fingerprint)
        assert kept == f"data set demo, version {version}"
    assert len(versions(cloud)) == 2
    assert len(blobs(cloud)) == 4


def test_data_that_came_back_split_otherwise_are_a_version_of_their_own(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    for folder, factor, seed in (("a", 1, 42), ("b", 2, 42), ("c", 1, 7)):
        taken = snapshot(tmp_path / folder, factor, seed)
        history.keep_data("demo", tmp_path / folder / "data", taken.fingerprint)
    tags = versions(cloud)
    assert len(tags) == 3
    assert tags[0]["fingerprint"] == tags[2]["fingerprint"]
    assert tags[0]["path"] != tags[2]["path"]


def test_a_snapshot_whose_files_are_gone_is_uploaded_again(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    taken = snapshot(tmp_path)
    history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    before = set(blobs(cloud))
    container = cloud.blobs.get_container_client(datastores.CONTAINER)
    for name in before:
        container.delete_blob(name)
    assert history.keep_data("demo", tmp_path / "data", taken.fingerprint) == "data set demo, version 1"
    assert set(blobs(cloud)) == before


def test_an_upload_that_leads_nowhere_registers_nothing(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    cloud.area(Datastores).lead(datastores.DEFAULT, "missing")
    taken = snapshot(tmp_path)
    with pytest.raises(PlatformError, match=r"can't be registered as 'demo'.*ContainerNotFound.*404"):
        history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    assert versions(cloud) == []


def test_an_upload_of_which_nothing_is_left_registers_nothing(
    cloud: Cloud, history: AzureHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azureml._vendor.azure_storage.blob import BlobClient

    # As the SDK's own upload behaves where the container isn't there.
    monkeypatch.setattr(BlobClient, "upload_blob", lambda *_, **__: {})
    taken = snapshot(tmp_path)
    with pytest.raises(PlatformError, match="was written, but isn't there"):
        history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    assert versions(cloud) == []


def test_another_content_in_the_place_of_the_snapshot_is_not_registered(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    taken = snapshot(tmp_path)
    history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    path = versions(cloud)[0]["path"]
    cloud.reset()
    cloud.blobs.get_blob_client(datastores.CONTAINER, path).upload_blob(b"other data")
    with pytest.raises(PlatformError, match="another content"):
        history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    assert versions(cloud) == []


@pytest.mark.parametrize("fault", faults.PASSING)
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_in_passing_is_overcome_and_makes_one_version(
    cloud: Cloud, history: AzureHistory, tmp_path: Path, call: str, fault: str
) -> None:
    taken = snapshot(tmp_path)
    cloud.faults.add(*CALLS[call], [faults.PASSING[fault]])
    assert history.keep_data("demo", tmp_path / "data", taken.fingerprint) == "data set demo, version 1"
    assert cloud.faults.happened == 1
    assert len(versions(cloud)) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_is_told_and_registers_nothing(
    cloud: Cloud, history: AzureHistory, tmp_path: Path, call: str
) -> None:
    taken = snapshot(tmp_path)
    cloud.faults.add(*CALLS[call], [faults.refused(403, "AuthorizationFailed", "You may not do that.")])
    with pytest.raises(PlatformError, match=r"may not do that"):
        history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    assert versions(cloud) == []


def test_a_token_that_expires_between_two_calls_is_renewed(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    taken = snapshot(tmp_path)
    expired = faults.refused(401, "ExpiredAuthenticationToken", "The access token has expired.")
    cloud.faults.add("POST", r"/dataset/.*/datasets$", [expired])
    history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    assert len(versions(cloud)) == 1
    assert cloud.area(Identity).given == 2


def test_a_snapshot_that_is_not_the_one_meant_is_refused(
    cloud: Cloud, history: AzureHistory, tmp_path: Path
) -> None:
    snapshot(tmp_path)
    with pytest.raises(PlatformError, match=r"isn't that of 0{12}…: run setup again"):
        history.keep_data("demo", tmp_path / "data", "0" * 64)
    with pytest.raises(PlatformError, match=r"no snapshot in .*nowhere.*run setup again"):
        history.keep_data("demo", tmp_path / "nowhere", "0" * 64)
    assert cloud.calls == []


def test_the_sdks_modules_for_data_sets_send_no_telemetry(history: AzureHistory, tmp_path: Path) -> None:
    taken = snapshot(tmp_path)
    history.keep_data("demo", tmp_path / "data", taken.fingerprint)
    for name in ("azureml.data._loggerfactory", "azureml.dataprep.api._loggerfactory"):
        assert sys.modules[name].telemetry_enabled is False


def test_nothing_of_the_sdk_is_printed(
    history: AzureHistory, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for factor in (1, 2, 1):
        taken = snapshot(tmp_path / str(factor), factor)
        history.keep_data("demo", tmp_path / str(factor) / "data", taken.fingerprint)
    assert capfd.readouterr() == ("", "")


def test_a_step_on_the_platforms_compute_keeps_its_data(cloud: Cloud, step: Site, tmp_path: Path) -> None:
    from utils.platforms.azureml.history import AzureHistory

    taken = snapshot(tmp_path)
    kept = AzureHistory(step).keep_data("demo", tmp_path / "data", taken.fingerprint)
    assert kept == "data set demo, version 1"
    assert not [call for call in cloud.calls if call.host == "management.azure.com"]
