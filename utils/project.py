"""Where the project is, where its results go, and which state of the code made them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from utils import files

HOME_VARIABLE = "MLOPS_HOME"
# Beside a copy of the project that was made for other machines: the revision that it was copied from.
REVISION = "revision.json"


def root() -> Path:
    """Return the project's folder: the one that holds notebooks/, utils/ and parameters/."""
    return Path(__file__).resolve().parent.parent


def home() -> Path:
    """Return the folder that holds runs/ and workspace/.

    It is the project's folder, unless the environment variable MLOPS_HOME
    names another.
    """
    return Path(os.environ.get(HOME_VARIABLE) or root()).resolve()


def resolve(path: str | Path) -> Path:
    """Resolve a path of a parameter against `home`; an absolute path stays as it is."""
    return home() / path


def run_name(folder: Path) -> str:
    """Return what a run folder is called below runs/: its id, or "<run-id>/trials/3" for a sweep's trial."""
    runs = home() / "runs"
    return folder.relative_to(runs).as_posix() if folder.is_relative_to(runs) else folder.name


def lock_digest() -> str:
    """Return the SHA-256 of requirements.lock: which versions the environment was made of.

    Returns
    -------
    str
        64 hexadecimal digits, or "none" where there is no lock.
    """
    lock = root() / "requirements.lock"
    return files.sha256(lock) if lock.exists() else "none"


@dataclass(frozen=True)
class Revision:
    """The state of the code.

    Attributes
    ----------
    commit : str
        The git commit, 40 hexadecimal digits, or "unknown" outside a checkout.
    dirty : bool
        Whether tracked files differ from that commit, or new files stand beside
        them. True where it can't be known.
    """

    commit: str
    dirty: bool


def revision() -> Revision:
    """Ask git which commit this is and whether anything was changed since; a copy knows by itself."""
    recorded = root() / REVISION
    if recorded.is_file():
        record = files.read_json(recorded)
        return Revision(str(record["commit"]), dirty=record["dirty"] is not False)
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return Revision("unknown", dirty=True)
    return Revision(commit, dirty=_git("status", "--porcelain") != "")


def _git(*words: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root()), *words], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
