"""Run folders on the datastore: replaced as a whole, got back as they were, and nothing else than that."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure.cloud import Cloud
from tests.azure.cloud.datastores import CONTAINER
from tests.azure.relay import Relay, before_the_store
from utils.platforms.azureml.exchange import DIGEST, FOLDER, Exchange
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError


@pytest.fixture
def exchange(workspace: Any) -> Exchange:
    return Exchange(Site())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder."""
    found = tmp_path / "runs" / "r1"
    (found / "model" / "empty").mkdir(parents=True)
    (found / "run.json").write_text('{"id": "r1"}')
    (found / "model" / "model.skops").write_bytes(os.urandom(300_000))
    os.link(found / "model" / "model.skops", found / "model" / "same.skops")
    (found / "model" / "run.sh").write_text("#!/bin/sh")
    (found / "model" / "run.sh").chmod(0o755)
    (found / ".run.json.x.part").write_text("being written")
    return found


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    from azureml._vendor.azure_storage.blob._shared.policies import ExponentialRetry

    # As often as ever, but at once.
    monkeypatch.setattr(ExponentialRetry, "get_backoff_time", lambda *_: 0.01)
    with before_the_store(monkeypatch) as found:
        yield found


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def put(cloud: Cloud, run: str, content: bytes, digest: str | None = None) -> None:
    """Let there be an archive that wasn't made here."""
    cloud.blobs.get_blob_client(CONTAINER, f"{FOLDER}/{run}.tar.gz").upload_blob(
        content, overwrite=True, metadata={DIGEST: digest or hashlib.sha256(content).hexdigest()}
    )


def archive(*members: tarfile.TarInfo) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as target:
        for member in members:
            target.addfile(member, io.BytesIO(b"x" * member.size))
    return content.getvalue()


def member(name: str, **values: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for attribute, value in values.items():
        setattr(made, attribute, value)
    return made


def test_a_run_folder_comes_back_as_it_was_kept(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    exchange.keep("r1", folder)
    assert exchange.fetch("r1", tmp_path / "elsewhere" / "r1")
    expected = contents(folder)
    del expected[".run.json.x.part"]
    assert contents(tmp_path / "elsewhere" / "r1") == expected
    assert os.access(tmp_path / "elsewhere" / "r1" / "model" / "run.sh", os.X_OK)
    assert (tmp_path / "elsewhere" / "r1" / "model" / "same.skops").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["2026-01-31 größe 1", "100%41", "a?b#c"])
def test_a_run_can_have_any_name_that_a_folder_can(
    exchange: Exchange, folder: Path, tmp_path: Path, name: str
) -> None:
    exchange.keep(name, folder)
    assert exchange.fetch(name, tmp_path / "got")
    assert not exchange.fetch(name + "1", tmp_path / "not got")


def test_what_is_kept_later_takes_the_place_of_what_was_before(
    exchange: Exchange, folder: Path, tmp_path: Path
) -> None:
    exchange.keep("r1", folder)
    (folder / "model" / "run.sh").unlink()
    (folder / "run.json").write_text("{}")
    exchange.keep("r1", folder)
    assert exchange.fetch("r1", tmp_path / "got")
    assert (tmp_path / "got" / "run.json").read_text() == "{}"
    assert not (tmp_path / "got" / "model" / "run.sh").exists()


def test_of_a_run_that_nobody_has_kept_nothing_is_made(exchange: Exchange, tmp_path: Path) -> None:
    assert not exchange.fetch("unknown", tmp_path / "got")
    assert list(tmp_path.glob("*got*")) == []


def test_a_container_that_is_missing_is_no_answer_for_a_run(
    cloud: Cloud, exchange: Exchange, tmp_path: Path
) -> None:
    from tests.azure.cloud.datastores import DEFAULT, Datastores

    cloud.area(Datastores).lead(DEFAULT, "nowhere")
    with pytest.raises(PlatformError, match=r"Run r1 can't be fetched .*ContainerNotFound"):
        exchange.fetch("r1", tmp_path / "got")


def test_a_cut_connection_is_made_up_for(
    exchange: Exchange, folder: Path, tmp_path: Path, relay: Relay
) -> None:
    relay.cut = [150_000, 150_000]
    exchange.keep("r1", folder)
    assert relay.cut == []
    assert exchange.fetch("r1", tmp_path / "got")
    assert (tmp_path / "got" / "run.json").exists()


def test_a_store_that_can_not_be_reached_leaves_what_was_kept_before(
    exchange: Exchange, folder: Path, tmp_path: Path, relay: Relay
) -> None:
    exchange.keep("r1", folder)
    (folder / "run.json").write_text("{}")
    relay.cut = [150_000] * 100
    with pytest.raises(PlatformError, match="Run r1 can't be kept on the datastore workspaceblobstore"):
        exchange.keep("r1", folder)
    relay.cut = []
    assert exchange.fetch("r1", tmp_path / "got")
    assert (tmp_path / "got" / "run.json").read_text() == '{"id": "r1"}'


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside", size=1),
        member("/etc/outside", size=1),
        member("model/../../outside", size=1),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard", type=tarfile.LNKTYPE, linkname="run.json"),
        member("device", type=tarfile.CHRTYPE),
    ],
    ids=lambda each: each.name,
)
def test_an_archive_with_more_than_a_run_folders_files_is_refused(
    cloud: Cloud, exchange: Exchange, tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    put(cloud, "r1", archive(member("run.json", size=2), bad))
    with pytest.raises(PlatformError, match="which is no file of a run folder"):
        exchange.fetch("r1", tmp_path / "below" / "got")
    assert list((tmp_path / "below").iterdir()) == []
    assert not list(tmp_path.rglob("outside"))


def test_an_archive_that_is_not_as_it_was_kept_is_refused(
    cloud: Cloud, exchange: Exchange, tmp_path: Path
) -> None:
    put(cloud, "r1", archive(member("run.json", size=2)), "0" * 64)
    with pytest.raises(PlatformError, match="isn't what was put there"):
        exchange.fetch("r1", tmp_path / "below" / "got")
    put(cloud, "r1", b"no archive at all")
    with pytest.raises(PlatformError, match="Run r1 can't be fetched"):
        exchange.fetch("r1", tmp_path / "below" / "got")
    assert list((tmp_path / "below").iterdir()) == []


def test_a_link_in_a_run_folder_is_refused(cloud: Cloud, exchange: Exchange, folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(PlatformError, match="passwd is a link"):
        exchange.keep("r1", folder)
    assert not cloud.blobs.get_blob_client(CONTAINER, f"{FOLDER}/r1.tar.gz").exists()


@pytest.mark.parametrize("name", ["../r1", "", "a/b", ".hidden"])
def test_a_name_that_can_not_be_a_runs_is_refused(exchange: Exchange, folder: Path, name: str) -> None:
    with pytest.raises(PlatformError, match="can't be the name of a run"):
        exchange.keep(name, folder)


def test_a_place_that_is_taken_is_left_as_it_is(exchange: Exchange, folder: Path) -> None:
    exchange.keep("r1", folder)
    with pytest.raises(PlatformError, match="it is there already"):
        exchange.fetch("r1", folder)
    assert (folder / "run.json").exists()
