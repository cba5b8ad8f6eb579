"""The project's files that a platform's compute needs: a clean copy, and its digest."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from utils import files, project

# What steps come from; what lies here counts also as long as git doesn't know it.
FOLDERS = ("ci", "notebooks", "parameters", "utils")
FILES = ("pyproject.toml", "requirements.lock", "azureml.lock")
# No step needs these. Other folders that git knows may hold data.
_NEEDLESS = ("docs", "tests", "runs", "workspace")
_SECRET = ("*.pem", "*.key", "*.pfx", "*.p12", "*.jks", "*.env", "secrets.*", "credentials.json")


def copy(destination: Path) -> str:
    """Copy what the steps of a run need into a new folder.

    In a checkout these are the files that git knows, as they are on disk, and new ones beside the code,
    unless git ignores them; elsewhere all below the project's own folders. Hidden files, and those that by
    their name hold secrets, stay behind, and so do runs, workspace, tests and documents.

    Returns
    -------
    str
        The SHA-256 of all names and contents. The commit, which is written beside them, doesn't count.
    """
    root, digests = project.root(), {}
    for name in _names(root):
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target)
        digests[name] = files.sha256(target)
    files.write_json(destination / project.REVISION, asdict(project.revision()))
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


def _names(root: Path) -> list[str]:
    tracked = _listed(root, "--cached")
    if any(name.startswith("ci/") for name in tracked):
        candidates: Iterable[str] = {*tracked, *_within(_listed(root, "--others", "--exclude-standard"))}
    else:  # no checkout
        below = (path for top in FOLDERS for path in (root / top).rglob("*"))
        candidates = [*(path.relative_to(root).as_posix() for path in below), *FILES]
    return sorted(name for name in candidates if _wanted(name) and _inside(root, root / name))


def _listed(root: Path, *what: str) -> Sequence[str]:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", *what], capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [name for name in answer.stdout.decode(errors="surrogateescape").split("\0") if name]


def _within(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.partition("/")[0] in FOLDERS]


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    if any(part.startswith(".") or part == "__pycache__" for part in path.parts):
        return False
    if any(fnmatch(path.name, pattern) for pattern in _SECRET):
        return False
    return name in FILES if len(path.parts) == 1 else path.parts[0] not in _NEEDLESS


def _inside(root: Path, path: Path) -> bool:
    """Whether there is such a file, and no link leads out of the project."""
    return path.is_file() and path.resolve().is_relative_to(root.resolve())
