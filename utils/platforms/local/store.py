"""The connection to MLflow that run history and model registry share."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from utils.platforms.local.lookup import Database, Server
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from filelock import FileLock

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
LOCK_SECONDS = 120


class Store:
    """MLflow's client, made when it is first needed: importing MLflow takes seconds.

    Parameters
    ----------
    workspace : Path
        Holds the database (mlflow.db), the artifacts and the lock. Where the environment variable
        MLFLOW_TRACKING_URI is set, that server holds all of them but the lock.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.server = os.environ.get(TRACKING_VARIABLE) or None
        self._client: Any = None
        # "user:password@", as far as the server's address has one.
        user, mark, _ = urlsplit(self.server or "").netloc.rpartition("@")
        self._secret = user + mark

    @functools.cached_property
    def _lock(self) -> FileLock:
        """Reentrant within this object; other processes and other threads wait."""
        from filelock import FileLock

        return FileLock(self.workspace / "mlflow.lock", timeout=LOCK_SECONDS)

    @property
    def database(self) -> Path:
        """Where the SQLite database is, if no server is named."""
        return self.workspace / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Where the files of trainings are, if no server is named."""
        return self.workspace / "artifacts"

    @property
    def location(self) -> str:
        """Where the records are, for a person: a path, or a server's address without its password."""
        if self.server is None:
            return str(self.database)
        parts = urlsplit(self.server)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    @property
    def lookup(self) -> Database | Server | None:
        """What answers without MLflow, or None for a database that only MLflow can read."""
        if self.server is None:
            return Database(self.database)
        return Server(self.server) if self.server.startswith(("http://", "https://")) else None

    @property
    def client(self) -> Any:
        """The MlflowClient.

        Raises
        ------
        PlatformError
            If MLflow can't be reached, or its database is of another MLflow's making.
        """
        if self._client is None:
            with self.speaking("MLflow can't be reached"), self.writing():
                self._client = self._connect()
        return self._client

    def prepare(self) -> str:
        """Connect, and make the database where there is none; return "created" or "found"."""
        state = "found" if self.server or self.database.exists() else "created"
        with self.speaking("MLflow doesn't answer"):
            self.client.search_experiments(max_results=1)
        return state

    def _connect(self) -> Any:
        # They are read when MLflow is imported; they also hold for the kernels started from here.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        with warnings.catch_warnings():
            # MLflow's table definitions use an option that SQLAlchemy 2.1 deprecates.
            warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
            from mlflow.tracking import MlflowClient

            if os.environ["MLFLOW_LOGGING_LEVEL"] == "WARNING":
                # It may have been imported before, at its own level.
                logging.getLogger("mlflow").setLevel(logging.WARNING)
            if self.server is not None:
                return MlflowClient(tracking_uri=self.server)
            self.workspace.mkdir(parents=True, exist_ok=True)
            # With a write-ahead log, readers and a writer don't hinder each other. It stays set.
            with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as database:
                database.execute("PRAGMA journal_mode=WAL")
            address = f"sqlite:///{self.database}"
            return MlflowClient(tracking_uri=address, registry_uri=address)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the workspace's lock, so that our processes write one after the other.

        Raises
        ------
        PlatformError
            If another process holds it for two minutes.
        """
        from filelock import Timeout

        self.workspace.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise PlatformError(
                f"Another process has been writing to {self.location} for {LOCK_SECONDS} seconds: "
                "wait for it or end it, then try again."
            ) from None
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def speaking(self, sentence: str) -> Iterator[None]:
        """Turn whatever MLflow raises into a PlatformError that begins with a sentence."""
        try:
            yield
        except PlatformError:
            raise
        except Exception as error:  # MLflow lets the errors of its many backends through
            reason = str(error).strip().splitlines()
            said = f"{sentence} ({self.location}): {reason[0] if reason else type(error).__name__}"
            if self._secret:
                # The cause would be shown with its own text, password and all.
                raise PlatformError(said.replace(self._secret, "")) from None
            raise PlatformError(said) from error

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, making it if need be. Call it while `writing`."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            folder = None if self.server else str(self.artifacts / quote(name, safe=" "))
            return str(self.client.create_experiment(name, artifact_location=folder))
        if found.lifecycle_stage != "active":
            raise PlatformError(
                f"The experiment {name!r} was deleted in {self.location}: restore it, or remove it for good."
            )
        return str(found.experiment_id)

    def files(self, address: str) -> Any:
        """Return the artifact repository at an address that MLflow has recorded.

        MLflow records absolute paths. In our own workspace only the part below artifacts/ is
        taken from them, so that a workspace which was moved or copied is read and written where it is now.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if self.server is None and "://" not in address:
            _, mark, inside = address.rpartition("/workspace/artifacts/")
            address = str(self.artifacts / inside) if mark else address
        return get_artifact_repository(address)
