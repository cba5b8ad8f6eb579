"""Files are whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from utils import files
from utils.files import PrivacyError


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    assert files.write_text(path, "old") == path
    files.write_text(path, "né")
    assert path.read_bytes() == "né".encode()
    assert [each.name for each in path.parent.iterdir()] == ["b.txt"]


def test_a_write_that_fails_leaves_the_old_content_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_text(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.glob(".*.part")) == []


def test_a_file_is_for_everyone_whom_the_umask_admits(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = files.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = {"name": "é", "list": [1, 2.5, None, True]}
    path = files.write_json(tmp_path / "a.json", record)
    assert files.read_json(path) == record
    assert path.read_text().endswith("}\n")
    assert "é" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_no_word_for_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"metric": value})
    assert list(tmp_path.glob("*.json")) == []


def test_a_damaged_record_is_refused_by_name_and_an_absent_one_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"half":')
    with pytest.raises(ValueError, match=r"a\.json is not readable as JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "b.json")


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = files.write_bytes(tmp_path / "a", b"abc")
    assert files.sha256(path) == hashlib.sha256(b"abc").hexdigest()


def test_a_copy_has_the_same_bytes_and_a_life_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content" * 100_000)
    copied = files.copy(tmp_path / "a", tmp_path / "folder" / "b")
    assert files.sha256(copied) == files.sha256(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"changed")
    assert copied.read_bytes() == b"content" * 100_000


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        files.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"


def test_a_copy_is_made_where_the_kernel_cannot_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(origin: int, target: int, count: int) -> int:
        os.write(target, b"half")
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    (tmp_path / "a").write_bytes(b"content")
    assert files.copy(tmp_path / "a", tmp_path / "b").read_bytes() == b"content"


def test_a_secret_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = files.write_text(tmp_path / "folder" / "secret", "é", private=True)
        files.write_text(path, "new", private=True)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert files.read_private(path) == "new"


def test_a_secret_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "secret", "abc", private=True)
    path.chmod(0o640)
    with pytest.raises(PrivacyError, match=rf"open to others \(mode 640\).*chmod 600 {path}") as caught:
        files.read_private(path)
    assert "abc" not in str(caught.value)


def test_a_secret_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = files.write_bytes(tmp_path / "secret", b"\xff", private=True)
    with pytest.raises(PrivacyError, match="none"):
        files.read_private(path)
    with pytest.raises(FileNotFoundError):
        files.read_private(tmp_path / "absent")
