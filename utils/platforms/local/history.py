"""The run history: one MLflow run for each training."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from utils.platforms.protocol import PlatformError, TrainingRun

if TYPE_CHECKING:
    from pathlib import Path

    from utils.platforms.local.store import Store

T = TypeVar("T")

BATCH = 100  # MLflow takes as many parameters or tags in one call


class LocalHistory:
    """Trainings in MLflow; see `utils.platforms.protocol.RunHistory`."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
            If there is no such folder, or MLflow refuses; what was recorded until then is marked as failed.
        """
        _check_folder(files)
        store = self._store
        with store.speaking(f"The training can't be recorded in {experiment!r}"), store.writing():
            run = store.client.create_run(store.experiment(experiment))
            identity = str(run.info.run_id)
            try:
                self._log(identity, parameters, metrics, tags)
                store.files(run.info.artifact_uri).log_artifacts(str(files), files.name)
                store.client.set_terminated(identity, "FINISHED")
            except BaseException:
                store.client.set_terminated(identity, "FAILED")
                raise
            return identity

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
            If there is no such training or folder, or MLflow refuses.
        """
        if files is not None:
            _check_folder(files)
        store = self._store
        with store.speaking(f"The training {run} can't be annotated"), store.writing():
            address = store.client.get_run(run).info.artifact_uri
            self._log(run, {}, metrics, tags)
            if files is not None:
                store.files(address).log_artifacts(str(files), files.name)

    def read(self, run: str) -> TrainingRun:
        """Return a recorded training, without MLflow's own tags.

        Raises
        ------
        PlatformError
            If there is none of that id, or MLflow can't be reached.
        """
        with self._store.speaking(f"The training {run} can't be read"):
            found = self._store.client.get_run(run)
        return TrainingRun(
            id=run,
            parameters=dict(found.data.params),
            metrics={name: _number(value) for name, value in found.data.metrics.items()},
            tags={name: value for name, value in found.data.tags.items() if not name.startswith("mlflow.")},
        )

    def download(self, run: str, path: str, destination: Path) -> Path:
        """Copy a training's file or folder to `destination` / `path`.

        Raises
        ------
        PlatformError
            If there is no such training or file, or MLflow can't be reached.
        """
        with self._store.speaking(f"{path!r} of training {run} can't be copied"):
            repository = self._store.files(self._store.client.get_run(run).info.artifact_uri)
            destination.mkdir(parents=True, exist_ok=True)
            repository.download_artifacts(path, str(destination))
            # A folder that isn't there is downloaded as an empty one.
            if not (destination / path).exists() or not _holds_files(destination / path):
                raise PlatformError(f"The training {run} has no file or folder {path!r}.")
        return destination / path

    def keep_data(self, name: str, folder: Path, fingerprint: str) -> str:  # noqa: ARG002
        """Return "": whoever has this machine's trainings has its run folders too, which keep the data."""
        return ""

    def identity(self) -> str | None:
        """Return when the local database was made, or a server's address and when its database was made.

        Raises
        ------
        PlatformError
            If the database or the server can't be read.
        """
        store = self._store
        if store.lookup is None:
            return store.location
        made = store.lookup.made()
        return f"{store.location} {made}".rstrip() if store.server else made

    def _log(
        self,
        run: str,
        parameters: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        moment = int(time.time() * 1000)
        client = self._store.client
        for measured in _batches(Metric(name, float(value), moment, 0) for name, value in metrics.items()):
            client.log_batch(run, metrics=measured)
        for given in _batches(Param(name, str(value)) for name, value in parameters.items()):
            client.log_batch(run, params=given)
        for tagged in _batches(RunTag(name, str(value)) for name, value in tags.items()):
            client.log_batch(run, tags=tagged)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise PlatformError(f"There is no folder {folder} to record: write the training's files there first.")


def _holds_files(path: Path) -> bool:
    return path.is_file() or any(below.is_file() for below in path.rglob("*"))


def _number(value: Any) -> float:
    # SQL has no infinity: MLflow keeps the largest number in its place.
    number = float(value)
    return math.copysign(math.inf, number) if abs(number) >= sys.float_info.max else number


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, BATCH)):
        yield some
