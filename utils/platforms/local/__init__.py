"""The local platform: MLflow as run history and model registry, scoring services as local processes.

Nothing but Python is needed. Everything is below workspace/: delete it and the platform is new. Where
parameters/local.yml says so, services are containers, or pods of a Kubernetes cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils import project
from utils.platforms.local import settings, signing
from utils.platforms.local.endpoints import LocalEndpoints
from utils.platforms.local.history import LocalHistory
from utils.platforms.local.images import LocalImages
from utils.platforms.local.registry import LocalRegistry
from utils.platforms.local.retraining import LocalRetraining
from utils.platforms.local.store import Store
from utils.platforms.protocol import Resource

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LocalPlatform:
    """One machine, and an MLflow server where MLFLOW_TRACKING_URI names one."""

    workspace: Path
    store: Store
    history: LocalHistory
    registry: LocalRegistry
    images: LocalImages
    endpoints: LocalEndpoints
    retraining: LocalRetraining
    name: str = "local"

    def check(self) -> None:
        """Refuse settings of services, an engine or a signing key that can't be used.

        Raises
        ------
        PlatformError
            Naming what can't, and where it was set.
        """
        signing.check()
        given = settings.read()
        if given.images:
            self.images.check()

    def provision(self) -> list[Resource]:
        """Make the database and the folders that are not there yet.

        The first call takes some seconds, in which MLflow makes its tables.

        Raises
        ------
        PlatformError
            If MLflow can't be reached, or the workspace can't be written.
        """
        services = self.workspace / "services"
        compute = "found" if services.is_dir() else "created"
        services.mkdir(parents=True, exist_ok=True)
        state = self.store.prepare()
        # Relative, as all that a run folder keeps: it may be read on another machine.
        records = self.store.location if self.store.server else f"{self.workspace.name}/mlflow.db"
        return [
            Resource("run history", state, records),
            Resource("model registry", state, records),
            Resource("compute", compute, f"this machine, services below {self.workspace.name}/services"),
        ]

    def sign(self, package: Path) -> str:
        """Sign a package by the key of the environment, or else by the workspace's own.

        Raises
        ------
        PlatformError
            If there is no key that can be used, or the package holds what can't be signed.
        """
        return signing.sign(package, self.workspace)

    def verify(self, package: Path) -> str:
        """Demand a signature of the whole package by a key that is trusted here.

        Raises
        ------
        PlatformError
            Naming each file that isn't as it was signed; or if there is no signature, or no key.
        """
        return signing.verify(package, self.workspace)


def create() -> LocalPlatform:
    """Return the platform whose workspace is below `utils.project.home`. Nothing is made or reached yet."""
    workspace = project.home() / "workspace"
    store = Store(workspace)
    return LocalPlatform(
        workspace,
        store,
        LocalHistory(store),
        LocalRegistry(store),
        LocalImages(workspace / "images"),
        LocalEndpoints(workspace),
        LocalRetraining(),
    )
