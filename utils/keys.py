"""The API keys of an endpoint: two, so that one can be replaced while callers use the other.

They are one file of the endpoint, for its owner alone, a key a line. A scoring service reads it when
it starts (SCORING_KEYS_FILE), and accepts either key.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from utils import files

BYTES = 32


_KEY = re.compile(r"[A-Za-z0-9_-]{32,}")


class KeysError(RuntimeError):
    """An endpoint's keys can't be used; the message says why and what to do next."""


def ensure(path: Path) -> tuple[str, str]:
    """Return an endpoint's keys, and make them first if it has none.

    Two callers at once get the same keys.

    Parameters
    ----------
    path : Path
        Their file, such as ``workspace/keys/diabetes-production``.

    Raises
    ------
    KeysError, PrivacyError
        As `read` does, unless there is no file.
    """
    if path.exists():
        return read(path)
    with files.private_lock(path):
        return read(path) if path.exists() else _write(path, _make(), _make())


def read(path: Path) -> tuple[str, str]:
    """Return an endpoint's two keys.

    Raises
    ------
    KeysError
        If there is no file, or it holds something else than two different keys.
    PrivacyError
        If others may read the file.
    """
    try:
        keys = files.read_private(path).splitlines()
    except FileNotFoundError:
        raise KeysError(f"There are no keys in {path}: deploy the endpoint, which makes them.") from None
    if len(keys) != 2 or keys[0] == keys[1] or not all(_KEY.fullmatch(key) for key in keys):
        # Which lines they are isn't said: they may be secrets with a blank too many.
        raise KeysError(f"{path} doesn't hold two different keys, one a line: remove it and deploy again.")
    return keys[0], keys[1]


def rotate(path: Path, which: int) -> tuple[str, str]:
    """Replace one of an endpoint's keys, and return both.

    Let callers use the other one first. A service that runs goes on with the keys that it has read.

    Parameters
    ----------
    which : int
        1 or 2.

    Raises
    ------
    KeysError, PrivacyError
        As `read` does, or if there is no such key.
    """
    if which not in (1, 2):
        raise KeysError(f"An endpoint has the keys 1 and 2, but no key {which}.")
    read(path)  # or there would be a lock beside no keys
    with files.private_lock(path):
        first, second = read(path)
        return _write(path, _make(), second) if which == 1 else _write(path, first, _make())


def _make() -> str:
    return secrets.token_urlsafe(BYTES)


def _write(path: Path, first: str, second: str) -> tuple[str, str]:
    files.write_text(path, f"{first}\n{second}\n", private=True)
    return first, second
