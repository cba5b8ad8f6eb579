"""API keys: who may ask. Two of them, so that one can be replaced while the other is in use."""

from __future__ import annotations

import hmac
import time
from pathlib import Path

MOST = 2
LOOK_SECONDS = 1.0


class KeysError(ValueError):
    """The file of keys isn't as it should be; the message says how."""


class Keys:
    """The keys in a file, which is read again when it has changed: a rotation needs no restart.

    A file that can't be read any more admits nobody.

    Parameters
    ----------
    path : Path
        One key a line; empty lines don't count.

    Raises
    ------
    KeysError
        If there is no such file, or it doesn't hold one or two keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = _read(path)
        self._stamp = _stamp(path)
        self._looked = time.monotonic()

    def admit(self, authorization: bytes | None) -> bool:
        """Tell whether a header ``Authorization: Bearer <key>`` holds one of the keys.

        All of the keys are compared, each in a time that tells nothing but its length.
        """
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._look()
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return False
        given, found = authorization[7:].strip(), False
        for known in self._keys:
            found |= hmac.compare_digest(given, known)
        return found

    def _look(self) -> None:
        self._looked = time.monotonic()
        stamp = _stamp(self._path)
        if stamp == self._stamp and stamp is not None:
            return
        try:
            self._keys = _read(self._path)
        except KeysError:
            self._keys = []
        self._stamp = stamp


def _read(path: Path) -> list[bytes]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise KeysError(f"The API keys can't be read from {path}: {error}.") from error
    keys = [key for line in lines if (key := line.strip())]
    if not 1 <= len(keys) <= MOST:
        raise KeysError(f"{path} holds {len(keys)} API keys: it must hold one or two, one a line.")
    return [key.encode() for key in keys]


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written or replaced; None if it can't be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
