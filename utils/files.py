"""Files that are never seen half-written, and their digests."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> Path:
    """Write a file aside, then rename it into place.

    A reader sees the old content or the new, never a part; a full disk or a
    killed process leaves the old file as it was.

    Parameters
    ----------
    path : Path
        Where the content shall be. Its folder is made if need be.
    content : bytes
        All of the file.
    durable : bool
        Whether it has to be on the disk when this returns, also if the power fails. What is written
        again in a moment need not.

    Returns
    -------
    Path
        `path`, for chaining.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        # mkstemp makes private files; what we write is for everyone the umask admits.
        umask = os.umask(0)
        os.umask(umask)
        Path(aside).chmod(0o666 & ~umask)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return path


def write_text(path: Path, content: str, *, durable: bool = True) -> Path:
    """Write a UTF-8 text as `write_bytes` does."""
    return write_bytes(path, content.encode(), durable=durable)


def write_json(path: Path, record: Any) -> Path:
    """Write a record as indented JSON, as `write_bytes` does.

    Raises
    ------
    ValueError
        If the record holds NaN or an infinity, which JSON has no word for.
    """
    return write_text(path, json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON record.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error


def sha256(path: Path) -> str:
    """Digest a file's bytes.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
