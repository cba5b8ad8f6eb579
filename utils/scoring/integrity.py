"""Whether a folder holds what its manifest names, each file unchanged, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MANIFEST = "manifest.json"

# Over all of the other files, the manifest too. It is written last, so that no manifest can name it.
SIGNATURE = "model.sig"

_CACHE = re.compile(r"__pycache__(/score\.[\w-]+\.pyc)? is not in the manifest")


class IntegrityError(RuntimeError):
    """A package isn't what its manifest or its signature says; the message names each file at fault."""


@dataclass(frozen=True)
class Identity:
    """Which package this is.

    Attributes
    ----------
    name, version : str
        Of the registered model.
    digest : str
        The SHA-256 of the manifest, and so of everything that it names.
    """

    name: str
    version: str
    digest: str


def verify(folder: Path, *, cached: bool = False) -> Identity:
    """Compare a package with its manifest.

    Parameters
    ----------
    cached : bool
        Whether Python's own cache of score.py may lie there: Azure's server imports that file before it
        can say that it wants none.

    Raises
    ------
    IntegrityError
        Naming every file that is missing, changed, a link or too many; or if no manifest can be read.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
        name, version, digests = manifest["name"], manifest["version"], dict(manifest["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{folder} has no readable {MANIFEST}: build the package again.") from error
    found = faults(folder, digests)
    if cached:
        found = [fault for fault in found if not _CACHE.fullmatch(fault)]
    if found:
        raise IntegrityError(refusal(folder, found))
    return Identity(str(name), str(version), hashlib.sha256(content).hexdigest())


def refusal(folder: Path, found: list[str]) -> str:
    """Say what is wrong with a package, and what to do."""
    return f"The package {folder} is not as its manifest says ({'; '.join(found)}): build it again."


def faults(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """List what differs from a manifest's files.

    Parameters
    ----------
    digests : mapping
        The SHA-256 of each file by its path, relative and with slashes.

    Returns
    -------
    list of str
        In order, such as "score.py was changed"; empty if nothing is wrong.
    """
    found = [fault for path, digest in digests.items() if (fault := _fault(folder, path, digest))]
    folders = {parent.as_posix() for path in digests for parent in PurePosixPath(path).parents}
    known = {*digests, *folders, MANIFEST, SIGNATURE}
    found += [f"{path} is not in the manifest" for path in _entries(folder, folder) if path not in known]
    if any((folder / name).is_symlink() for name in (MANIFEST, SIGNATURE)):
        found.append(f"{MANIFEST} or {SIGNATURE} is a link")
    return sorted(found)


def _fault(folder: Path, path: str, digest: str) -> str:
    pure = PurePosixPath(path)
    unsafe = pure.is_absolute() or ".." in pure.parts or pure.as_posix() != path or path in ("", ".")
    if unsafe or "\\" in path or path in (MANIFEST, SIGNATURE):
        return f"{path!r} is no path of a file in a package"
    file = folder / path
    links = [folder.joinpath(*pure.parts[: depth + 1]) for depth in range(len(pure.parts))]
    if any(link.is_symlink() for link in links):
        return f"{path} is a link"
    if not file.is_file():
        return f"{path} is missing"
    with file.open("rb") as content:
        changed = hashlib.file_digest(content, "sha256").hexdigest() != digest
    return f"{path} was changed" if changed else ""


def _entries(folder: Path, root: Path) -> Iterator[str]:
    """Yield everything below a folder, links as such."""
    for entry in folder.iterdir():
        yield entry.relative_to(root).as_posix()
        if entry.is_dir() and not entry.is_symlink():
            yield from _entries(entry, root)
