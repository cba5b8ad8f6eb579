"""Files that are never seen half-written, and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import FileLock

LOCK_SECONDS = 30


class PrivacyError(RuntimeError):
    """A secret lies where others can read it; the message says what to do next."""


def write_bytes(path: Path, content: bytes, *, durable: bool = True, private: bool = False) -> Path:
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
    private : bool
        Whether it is for its owner alone, and its folder too if that has to be made.

    Returns
    -------
    Path
        `path`, for chaining.
    """
    path.parent.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        # mkstemp makes private files; what else we write is for everyone the umask admits.
        if not private:
            umask = os.umask(0)
            os.umask(umask)
            Path(aside).chmod(0o666 & ~umask)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return path


def copy(source: Path, destination: Path) -> Path:
    """Copy a file's bytes and mode to a new file, whose folder is made if need be.

    Where the file system can, both share the blocks on disk until one of them is changed. It is no
    hard link: a change in one is none in the other.

    Returns
    -------
    Path
        `destination`, for chaining.

    Raises
    ------
    FileExistsError
        If there is such a file already.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as origin, destination.open("xb") as target:
        if not _share(origin.fileno(), target.fileno()):
            shutil.copyfileobj(origin, target)
    shutil.copymode(source, destination)
    return destination


def _share(origin: int, target: int) -> bool:
    """Let the kernel copy from file to file; whether it could."""
    if not hasattr(os, "copy_file_range"):
        return False
    with contextlib.suppress(OSError):  # other file systems, other kernels
        size, done = os.fstat(origin).st_size, 0
        while part := os.copy_file_range(origin, target, 1 << 30):
            done += part
        if done >= size:
            return True
    os.lseek(origin, 0, os.SEEK_SET)
    os.lseek(target, 0, os.SEEK_SET)
    return False


def write_text(path: Path, content: str, *, durable: bool = True, private: bool = False) -> Path:
    """Write a UTF-8 text as `write_bytes` does."""
    return write_bytes(path, content.encode(), durable=durable, private=private)


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


def read_private(path: Path) -> str:
    """Read a secret from a file that nobody else may read.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PrivacyError
        If the file is open to others, or is no text.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if os.name == "posix" and mode & 0o077:
            raise PrivacyError(
                f"{path} holds a secret but is open to others (mode {mode & 0o777:o}): replace the secret if "
                f"others use this machine, then chmod 600 {path}"
            )
        try:
            return file.read().decode()
        except UnicodeDecodeError:
            raise PrivacyError(f"{path} should hold a secret as text, but is none: write it again.") from None


def private_lock(path: Path) -> FileLock:
    """Return the lock beside a secret, whose folder is made if need be: for its owner alone.

    Who waits for it longer than half a minute gets a TimeoutError.
    """
    from filelock import FileLock

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS, mode=0o600)


def sha256(path: Path) -> str:
    """Digest a file's bytes.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
