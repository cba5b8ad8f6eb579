"""Where a kernel server that a person keeps ready is found: a socket that is theirs alone."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

from utils import project


def path() -> Path:
    """Return the path of the socket for this checkout and this Python.

    It is in the person's runtime folder or else the temporary one: the path of a socket may have some hundred
    characters at most, and a project's own path may be longer.
    """
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"mlops-kernels-{os.getuid()}"
    whose = hashlib.sha256(f"{project.root()}\0{sys.prefix}".encode()).hexdigest()[:16]
    return base / whose


def prepare() -> Path:
    """Return the path of the socket, in a folder that is there and nobody else's.

    Raises
    ------
    PermissionError
        If the folder belongs to somebody else, or others may write there.
    """
    found = path()
    found.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _private(found.parent):
        raise PermissionError(f"{found.parent} must be yours alone: remove it, or make it so (chmod 700).")
    return found


def connect() -> socket.socket | None:
    """Return a connection to the server that is kept ready, or None if there is none."""
    found = path()
    # Whoever listens there is handed this process's environment.
    if not found.exists() or not _private(found.parent):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(found))
    except OSError:
        connection.close()
        return None
    return connection


def _private(folder: Path) -> bool:
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
