"""An endpoint has two keys, which nobody else can read and callers never lose both of at once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from utils import files, keys, project
from utils.files import PrivacyError
from utils.keys import KeysError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "endpoint" / "keys"


def test_keys_are_made_once_for_their_owner_alone(path: Path) -> None:
    first, second = keys.ensure(path)
    assert first != second
    assert min(len(first), len(second)) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text().splitlines() == [first, second]
    assert keys.ensure(path) == keys.read(path) == (first, second)


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        keys.ensure(path)
        keys.rotate(path, 1)
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o077 for each in path.parent.iterdir()] == [0, 0]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_two_processes_at_once_get_the_same_keys(path: Path) -> None:
    code = (
        "import sys, pathlib; from utils import keys; sys.stdin.readline();"
        "print(*keys.ensure(pathlib.Path(sys.argv[1])))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            cwd=project.root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found = {racer.communicate(timeout=60)[0] for racer in racers}
    assert found == {" ".join(keys.read(path)) + "\n"}


@pytest.mark.parametrize("which", [1, 2])
def test_one_key_is_replaced_and_the_other_kept(path: Path, which: int) -> None:
    before = keys.ensure(path)
    after = keys.rotate(path, which)
    assert after == keys.read(path)
    assert after[which - 1] not in before
    assert after[2 - which] == before[2 - which]
    assert path.stat().st_mode & 0o777 == 0o600


def test_rotations_at_once_are_done_one_after_the_other(path: Path) -> None:
    before = keys.ensure(path)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda which: keys.rotate(path, which), (1, 2)))
    assert not set(before) & set(keys.read(path))


def test_a_rotation_that_fails_keeps_the_keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys.ensure(path)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            keys.rotate(path, 1)
    assert keys.read(path) == before


def test_there_is_no_third_key(path: Path) -> None:
    keys.ensure(path)
    with pytest.raises(KeysError, match="no key 3"):
        keys.rotate(path, 3)


def test_without_a_file_there_are_no_keys(path: Path) -> None:
    with pytest.raises(KeysError, match="There are no keys"):
        keys.read(path)
    with pytest.raises(KeysError, match="There are no keys"):
        keys.rotate(path, 1)
    assert not path.parent.exists()


def test_keys_that_others_can_read_are_refused(path: Path) -> None:
    keys.ensure(path)
    path.chmod(0o644)
    for use in (keys.read, keys.ensure, lambda path: keys.rotate(path, 1)):
        with pytest.raises(PrivacyError, match=f"chmod 600 {path}"):
            use(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        "a" * 43,
        "a" * 43 + "\n" + "a" * 43,
        "a" * 43 + "\n" + "b" * 8,
        "a" * 43 + "\n" + "b" * 43 + " ",
        "a" * 43 + "\n\n" + "b" * 43,
        "a" * 43 + "\n" + "b" * 43 + "\n" + "c" * 43,
        "a" * 43 + "\r" + "é" * 43,
    ],
)
def test_what_is_not_two_keys_is_refused_and_not_shown(path: Path, content: str) -> None:
    files.write_text(path, content, private=True)
    with pytest.raises(KeysError, match="two different keys") as caught:
        keys.ensure(path)
    assert "aaa" not in str(caught.value)
    assert path.read_bytes() == content.encode()
