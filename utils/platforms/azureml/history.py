"""The run history: one run for each training, in the experiment named after the scenario.

What is recorded counts once its last part is written: the record of an annotation, the end of a new run.
Whatever breaks before leaves nothing that is read.
"""

from __future__ import annotations

import functools
import operator
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from utils.platforms.azureml import blobs, faults, records, sdk
from utils.platforms.azureml.artifacts import Artifacts
from utils.platforms.azureml.datasets import AzureData
from utils.platforms.azureml.faults import speaking
from utils.platforms.azureml.records import Kept, Record
from utils.platforms.azureml.runs import Run
from utils.platforms.protocol import PlatformError, TrainingRun

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site


class AzureHistory:
    """Trainings in Azure ML's run history; see `utils.platforms.protocol.RunHistory`.

    Parameters
    ----------
    site : Site
        The workspace.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._data = AzureData(site)
        self._identity = ""

    def record(
        self,
        experiment: str,
        *,
        parameters: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Path,
    ) -> str:
        """Record a finished training.

        The files keep the folder's own name: those of ``runs/x/model`` become ``model/…``.

        Raises
        ------
        PlatformError
            If there is no such folder, or Azure refuses; what was recorded until then is marked as failed.
        """
        sources = _sources(files)
        record = Record(
            {name: str(value) for name, value in parameters.items()},
            {name: float(value) for name, value in metrics.items()},
            {name: str(value) for name, value in tags.items()},
        )
        with speaking(f"The training can't be recorded in {experiment!r}"), sdk.quiet():
            run = Run.begin(self._site, experiment, record)
            try:
                run.start()
                artifacts = Artifacts(self._site, run.container)
                kept = _write(artifacts, sources, "")
                run.show(record, kept, artifacts)
                _commit(artifacts, record, kept, 0)
                run.complete()
            except BaseException as error:
                run.fail(error)
                raise
        return run.id

    def annotate(
        self,
        run: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Path | None = None,
    ) -> None:
        """Add to a recorded training; the files keep their folder's own name, as in `record`.

        Raises
        ------
        PlatformError
            If there is no such training or folder, it isn't complete, or Azure refuses; then nothing was
            added.
        """
        sources = {} if files is None else _sources(files)
        added = Record(
            metrics={name: float(value) for name, value in metrics.items()},
            tags={name: str(value) for name, value in tags.items()},
        )
        with speaking(f"The training {run} can't be annotated"), sdk.quiet():
            found = Run.open(self._site, run)
            artifacts = Artifacts(self._site, found.container)
            there = _records(artifacts)
            before = _merged(there, run)
            try:
                kept = _write(artifacts, sources, "")
            except blobs.TakenError:
                # What can't be overwritten stays; the new files are found in its place.
                kept = _write(artifacts, sources, f"again/{uuid.uuid4().hex[:8]}/")
            found.show(added, kept, artifacts, before)
            _commit(artifacts, added, kept, len(there))

    def read(self, run: str) -> TrainingRun:
        """Return a recorded training.

        Raises
        ------
        PlatformError
            If there is none of that id, it isn't complete, or Azure can't be reached.
        """
        record = self.recorded(run)
        return TrainingRun(run, dict(record.parameters), dict(record.metrics), dict(record.tags))

    def recorded(self, run: str) -> Record:
        """Return all that is recorded of a complete training.

        Raises
        ------
        PlatformError
            If there is none of that id, it isn't complete, or Azure can't be reached.
        """
        with speaking(f"The training {run} can't be read"), sdk.quiet():
            artifacts = Artifacts(self._site, Run.open(self._site, run).container)
            return _merged(_records(artifacts), run)

    def download(self, run: str, path: str, destination: Path) -> Path:
        """Copy a training's file or folder to `destination` / `path`.

        Raises
        ------
        PlatformError
            If there is no such training or file, a file isn't what was recorded, or Azure can't be reached.
        """
        with speaking(f"{path!r} of training {run} can't be copied"), sdk.quiet():
            artifacts = Artifacts(self._site, Run.open(self._site, run).container)
            found = _merged(_records(artifacts), run).below(path)
            if not found:
                raise PlatformError(f"The training {run} has no file or folder {path!r}.")
            for name, kept in found.items():
                artifacts.fetch(kept.artifact, destination / name)
                if blobs.sha256(destination / name) != kept.sha256:
                    (destination / name).unlink()
                    raise PlatformError(
                        f"The file {name!r} of training {run} isn't what was recorded: it was changed in the "
                        "workspace's storage. Train again."
                    )
        return destination / path

    def identity(self) -> str | None:
        """Return the workspace's own id, or None where there is no workspace.

        Raises
        ------
        PlatformError
            If nobody can tell.
        """
        if not self._identity:
            if self._site.inside:
                self._identity = str(self._site.workspace._workspace_id or "")
            else:
                found = self._site.find()
                if found is None:
                    return None
                self._identity = str(found.workspaceid or "")
            if not self._identity:
                raise PlatformError(f"The {self._site.words} doesn't say what its id is.")
        return self._identity

    def keep_data(self, name: str, folder: Path, fingerprint: str) -> str:
        """Register a snapshot as a version of the data set of that name, unless it is the newest one.

        Raises
        ------
        PlatformError
            If the snapshot isn't there, or Azure refuses.
        """
        return self._data.keep(name, folder, fingerprint)


def _sources(folder: Path) -> dict[str, Path]:
    """Return the files below a folder, by the paths that they keep."""
    if not folder.is_dir():
        raise PlatformError(f"There is no folder {folder} to record: write the training's files there first.")
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{folder.name}/{path.relative_to(folder).as_posix()}": path for path in found}


def _write(artifacts: Artifacts, sources: Mapping[str, Path], before: str) -> dict[str, Kept]:
    """Write files as artifacts whose names begin in some way; return what to record of them."""
    kept = {path: Kept(before + path, blobs.sha256(source)) for path, source in sources.items()}
    artifacts.write({before + path: source for path, source in sources.items()})
    return kept


def _commit(artifacts: Artifacts, record: Record, kept: Mapping[str, Kept], number: int) -> None:
    """Write the record, which makes all of it count."""
    whole = Record(record.parameters, record.metrics, record.tags, kept)
    artifacts.write({records.name(number, uuid.uuid4().hex[:8]): records.write(whole)})


def _records(artifacts: Artifacts) -> dict[str, str]:
    return dict(sorted(artifacts.below(f"{records.FOLDER}/").items()))


def _merged(there: Mapping[str, str], run: str) -> Record:
    found = []
    for address in there.values():
        try:
            found.append(records.read(blobs.read(blobs.signed(address))))
        except Exception as error:
            # A name without content: whoever made it didn't come to write it, and was told so.
            if not faults.missing(error):
                raise
    if not found:
        raise PlatformError(f"The run {run} has no record of a training: it isn't one of this project's.")
    return functools.reduce(operator.or_, found)
