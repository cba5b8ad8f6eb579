"""Run folders on the workspace's datastore, so that jobs and whoever started them find each other's.

One archive for each run, which is replaced as a whole: a reader gets the one before or the new one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from utils.platforms.azureml import blobs, faults
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

FOLDER = "mlops/runs"
DIGEST = "sha256"


class Exchange:
    """What is kept of runs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def keep(self, run: str, folder: Path) -> None:
        """Keep a run folder in the place of what was kept of the run before.

        Raises
        ------
        PlatformError
            If the folder isn't there or holds links, or it can't be uploaded.
        """
        if not folder.is_dir():
            raise PlatformError(f"Run {run} can't be kept: there is no folder {folder}.")
        with tempfile.TemporaryFile() as archive, speaking(f"Run {run} can't be kept on {self._store}"):
            _pack(folder, archive)
            blob = self._blob(run)
            digest = _digest(archive)
            # A blob is there when all of its blocks are; the client sends a block again that didn't arrive.
            blob.upload_blob(archive, overwrite=True, metadata={DIGEST: digest}, validate_content=True)

    def fetch(self, run: str, destination: Path) -> bool:
        """Get the folder that was kept of a run, as `destination`, which isn't there yet.

        Returns
        -------
        bool
            False if nothing is kept of it.

        Raises
        ------
        PlatformError
            If it can't be downloaded, isn't as it was kept, or holds what has no place in a run folder.
        """
        if destination.exists():
            raise PlatformError(
                f"Run {run} can't be fetched to {destination}: it is there already; remove it first."
            )
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as archive, speaking(f"Run {run} can't be fetched from {self._store}"):
            blob = self._blob(run)
            if not self._site.retried(lambda: _download(blob, archive)):
                return False
            aside = Path(
                tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
            )
            try:
                _unpack(archive, aside, run)
                aside.chmod(0o755 & ~_umask())
                aside.rename(destination)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        return True

    @property
    def _store(self) -> str:
        return f"the datastore {self._site.datastore.name}"

    def _blob(self, run: str) -> Any:
        """Return the SDK's client for the archive of a run."""
        if not run or run.startswith(".") or run != PurePosixPath(run).name:
            raise PlatformError(f"{run!r} can't be the name of a run.")
        store = self._site.datastore
        if store.credential_type == "None":
            raise PlatformError(
                f"The datastore {store.name} keeps neither a key nor a signature, so that nothing can be put "
                "there: give it one in the studio (Data, Datastores, Update authentication)."
            )
        return blobs.within(store, f"{FOLDER}/{quote(run, safe='')}.tar.gz")


def _pack(folder: Path, archive: IO[bytes]) -> None:
    """Write the files of a folder as an archive; whatever is being written beside them isn't part of it."""
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=3) as target:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise PlatformError(
                    f"{path} is a link, which has no place in a run folder: put the file itself there."
                )
            if not (path.is_file() or path.is_dir()) or path.suffix == ".part":
                continue
            # Not `add`: that makes links of files that are hard links to one another.
            entry = target.gettarinfo(path, name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            if path.is_dir():
                target.addfile(entry)
                continue
            with path.open("rb") as content:
                entry.type, entry.linkname = tarfile.REGTYPE, ""
                entry.size = os.fstat(content.fileno()).st_size
                target.addfile(entry, content)


def _digest(archive: IO[bytes]) -> str:
    """Return the SHA-256 of a file, whose beginning comes next then."""
    archive.seek(0)
    found = hashlib.file_digest(archive, "sha256").hexdigest()  # type: ignore[arg-type]
    archive.seek(0)
    return found


def _download(blob: Any, archive: IO[bytes]) -> bool:
    """Write what is kept of a run to a file; whether there is anything."""
    archive.seek(0)
    archive.truncate()
    try:
        found = blob.download_blob()
        found.readinto(archive)
    except Exception as error:
        if faults.missing(error, "BlobNotFound"):
            return False
        raise
    digest = (found.properties.metadata or {}).get(DIGEST)
    if digest != _digest(archive):
        raise PlatformError("what came isn't what was put there: run the same command again.")
    return True


def _unpack(archive: IO[bytes], folder: Path, run: str) -> None:
    """Write the files of an archive below a folder: nothing beside it, and no links."""
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r:gz") as source:
        members = source.getmembers()
        for member in members:
            path = PurePosixPath(member.name)
            if not (member.isreg() or member.isdir()) or path.is_absolute() or ".." in path.parts:
                raise PlatformError(
                    f"What is kept of run {run} holds {member.name!r}, which is no file of a run folder."
                )
        source.extractall(folder, members=members, filter="data")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
