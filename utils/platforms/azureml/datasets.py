"""The data of trainings: each snapshot once in the workspace's data store, and registered as a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import files
from utils.platforms.azureml import blobs, faults, sdk
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

FOLDER = "mlops/data"
SNAPSHOT = "snapshot.parquet"
RECORD = "snapshot.json"
_IDENTICAL = re.compile(r"registered as (.+):(\d+) \(name:version\)")


class AzureData:
    """Snapshots as File data sets, one for each scenario, with a version for each fingerprint.

    Parameters
    ----------
    site : Site
        The workspace.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def keep(self, name: str, folder: Path, fingerprint: str) -> str:
        """Register a snapshot as a new version, unless the newest version has its fingerprint.

        Parameters
        ----------
        name : str
            Of the data set.
        folder : Path
            Of a run: with snapshot.parquet, and snapshot.json, which says how many rows it has.
        fingerprint : str
            Tells the data from any other.

        Returns
        -------
        str
            Where it is kept, for a person.

        Raises
        ------
        PlatformError
            If the snapshot isn't there or is another, or Azure refuses; then there is no new version.
        """
        record = _record(folder, fingerprint)
        with speaking(f"The data can't be registered as {name!r}"), sdk.quiet():
            newest = self._find(name)
            if (
                newest is None
                or newest.tags.get("fingerprint") != fingerprint
                or not self._there(newest.tags)
            ):
                newest = self._register(name, folder, fingerprint, record)
            return f"data set {name}, version {newest.version}"

    def _register(self, name: str, folder: Path, fingerprint: str, record: Mapping[str, Any]) -> Any:
        """Upload a snapshot, and register it."""
        store = self._site.datastore
        # The same data may be split otherwise: then the files differ, and lie beside each other.
        digest = blobs.sha256(folder / SNAPSHOT)
        place = f"{FOLDER}/{name}/{fingerprint[:32]}-{digest[:12]}"
        for file in (RECORD, SNAPSHOT):
            self._upload(blobs.within(store, f"{place}/{file}"), folder / file)
        tags = {
            "fingerprint": fingerprint,
            "rows": str(record["rows"]),
            "path": f"{place}/{SNAPSHOT}",
            "sha256": digest,
        }
        core = sdk.core()
        path = [(store, f"{place}/{SNAPSHOT}"), (store, f"{place}/{RECORD}")]
        made = core.Dataset.File.from_files(path=path, validate=False, is_file=True)
        words = f"{record['rows']} rows from {record.get('source', 'nobody says where')}"
        try:
            return self._site.retried(
                lambda: made.register(
                    self._site.workspace, name, description=words, tags=tags, create_new_version=True
                )
            )
        except Exception as error:
            # Just these files are a version already: of earlier, of another job, or by a lost answer.
            identical = _IDENTICAL.search(faults.read(error).message) or _IDENTICAL.search(_retrieved(error))
            if not identical or identical[1] != name:
                raise
            found = self._find(name, int(identical[2]))
            if found is None or found.tags.get("fingerprint") != fingerprint:
                raise
            return found

    def _upload(self, blob: Any, source: Path) -> None:
        try:
            blobs.write(blob, source)
        except blobs.TakenError:
            if source.name != RECORD:
                raise
            # What is said of the data may be worded anew; the data beside it are the same to the byte.

    def _there(self, tags: Mapping[str, str]) -> bool:
        """Whether a version's file is still there, as it was uploaded."""
        path = tags.get("path", "")
        return bool(path) and blobs.look(blobs.within(self._site.datastore, path)) is not None

    def _find(self, name: str, version: int | None = None) -> Any | None:
        """Return a version of a data set, the newest unless one is named; None only where there is none."""
        core = sdk.core()
        wanted = "latest" if version is None else version
        try:
            return self._site.retried(lambda: core.Dataset.get_by_name(self._site.workspace, name, wanted))
        except Exception as error:
            # By these words alone the SDK says that the service answered 404 for just that data set.
            if faults.read(error).message.startswith("Cannot find dataset registered with name"):
                return None
            raise


def _record(folder: Path, fingerprint: str) -> Mapping[str, Any]:
    """Return what snapshot.json says, if it is of these data."""
    try:
        found = files.read_json(folder / RECORD)
        rows, said = int(found["rows"]), str(found["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlatformError(f"There is no snapshot in {folder} ({error}): run setup again.") from None
    if said != fingerprint or not (folder / SNAPSHOT).is_file():
        raise PlatformError(f"The snapshot in {folder} isn't that of {fingerprint[:12]}…: run setup again.")
    return {**found, "rows": rows}


def _retrieved(error: Exception) -> str:
    """Return "registered as name:version (name:version)" of how the SDK words it."""
    named = re.search(r'name="([^"]+)", version=(\d+)', faults.read(error).message)
    return f"registered as {named[1]}:{named[2]} (name:version)" if named else ""
