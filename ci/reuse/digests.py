"""Digests of files, each made once in a process as long as the file stays as it is."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from utils import files

# Device, inode, size, time of the last change: a file that was written anew has another inode or time.
Stamp = tuple[int, int, int, int]


def stamp(path: Path) -> Stamp:
    """Return what changes when a file is written."""
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def of(path: Path) -> str:
    """Return a file's SHA-256.

    Raises
    ------
    OSError
        If it can't be read.
    """
    found = stamp(path)
    known = _known()
    if found not in known:
        known[found] = files.sha256(path)
    return known[found]


def of_value(value: Any) -> str:
    """Return the SHA-256 of a value of a record; dates and the like count by how they are written."""
    return hashlib.sha256(json.dumps(value, default=repr).encode()).hexdigest()


@functools.cache
def _known() -> dict[Stamp, str]:
    return {}
