"""What a platform offers: run history, model registry, images, endpoints.

A notebook talks to these protocols alone, so that it runs unchanged wherever
a platform implements them. All of their methods raise `PlatformError` when the
platform can't be reached or doesn't do what was asked; none of them answers
"there is none" because something failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class PlatformError(RuntimeError):
    """The platform refused or failed; the message says what, where and what to do next."""


@dataclass(frozen=True)
class Resource:
    """One thing that a platform has made or found ready.

    Attributes
    ----------
    name : str
        Such as "run history" or "compute".
    state : str
        "created" or "found".
    location : str
        Where it is, in words for a person; never with a secret in it.
    """

    name: str
    state: str
    location: str


@dataclass(frozen=True)
class TrainingRun:
    """One training, as the run history keeps it."""

    id: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes
    ----------
    name, version : str
        Which model, and which version of it ("1", "2", …).
    training_run : str
        The run-history id of the training that made it.
    tags : mapping
        Its lineage.
    """

    name: str
    version: str
    training_run: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """A scoring service in an environment.

    Attributes
    ----------
    environment : str
        "staging" or "production".
    service : str
        The scenario whose model it serves.
    url : str
        Its base address; rows are posted to `url` + "/score".
    digest : str
        The digest of the package that it runs.
    model_version : str
        The version in the registry, as the package's manifest has it.
    confirmed : bool
        Whether its test has passed, so that a later failure returns to it.
    details : mapping
        What else the platform knows: pid, log, times.
    """

    environment: str
    service: str
    url: str
    digest: str
    model_version: str
    confirmed: bool
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A container image that was built from a package.

    Attributes
    ----------
    reference : str
        By which it is pulled and started; it ends in the digest.
    digest : str
        "sha256:" and 64 hexadecimal digits.
    size : int
        What it adds to its base image, in bytes.
    layers : sequence of mapping
        Of each layer over the base: what, digest, size.
    """

    reference: str
    digest: str
    size: int
    layers: Sequence[Mapping[str, Any]] = ()


class RunHistory(Protocol):
    """Trainings: their parameters, metrics, plots and files."""

    def record(
        self,
        experiment: str,
        *,
        parameters: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Path,
    ) -> str:
        """Record a finished training with every file below the folder `files`; return its id."""
        ...

    def annotate(
        self,
        run: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Path | None = None,
    ) -> None:
        """Add metrics, tags and the files below a folder to a recorded training."""
        ...

    def read(self, run: str) -> TrainingRun:
        """Return a recorded training."""
        ...

    def download(self, run: str, path: str, destination: Path) -> Path:
        """Copy the file or folder `path` of a training below `destination`; return where it is."""
        ...

    def identity(self) -> str | None:
        """Return what tells this history from every other, or None as long as there is none.

        It stays as it is where the history is moved, and holds no secret. It is asked before each step, so
        that it has to be cheap.
        """
        ...


class ModelRegistry(Protocol):
    """Registered models, their versions, and which of them is the champion."""

    def register(self, name: str, training_run: str, *, tags: Mapping[str, str], key: str) -> ModelVersion:
        """Register a training's model as a new version.

        A second call with the same `key` (the pipeline run's id) returns the
        version that the first one made.
        """
        ...

    def version(self, name: str, version: str) -> ModelVersion:
        """Return one version."""
        ...

    def newest(self, name: str) -> ModelVersion | None:
        """Return the version registered last, or None if the model has none."""
        ...

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version in production, or None if none ever got there."""
        ...

    def champion_version(self, name: str) -> str | None:
        """Return the champion's number, or None: the same answer, without loading what `champion` takes."""
        ...

    def promote(self, name: str, version: str) -> None:
        """Make a version the champion."""
        ...

    def download(self, name: str, version: str, destination: Path) -> Path:
        """Copy the model folder (model.skops, schema.json, …) of a version to `destination`; return it."""
        ...

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, such as the digest of its image."""
        ...


class Images(Protocol):
    """Container images of packages, in a registry."""

    def build(self, package: Path, folder: Path) -> Image | None:
        """Build the image of a package and push it, once; None where services run without images.

        Parameters
        ----------
        folder : Path
            For the build context; what is there is replaced.
        """
        ...


class Endpoints(Protocol):
    """Scoring services, one for each scenario in each environment."""

    def deploy(
        self, package: Path, service: str, environment: str, *, image: str = "", traffic: int = 100
    ) -> Endpoint:
        """Start a package and switch the environment to it once it is ready.

        The service that was live until then keeps running, out of use, until
        the new one is confirmed, restored or replaced. A package that is
        live already is left as it is.

        Parameters
        ----------
        image : str
            The reference of the image that was built from it, where services run from images.
        traffic : int
            How many per cent of the requests it gets until it is confirmed; the one before gets the rest.
        """
        ...

    def keys(self, service: str, environment: str, *, rotate: int | None = None) -> tuple[str, str]:
        """Return the two API keys, each of which the service takes; replace one before: `rotate`."""
        ...

    def find(self, service: str, environment: str) -> Endpoint | None:
        """Return what is live, or None."""
        ...

    def confirm(self, service: str, environment: str) -> Endpoint:
        """Keep the live service for good, and stop the one that it replaced."""
        ...

    def restore(self, service: str, environment: str) -> Endpoint | None:
        """Put back the last confirmed service, unless the live one is confirmed itself.

        Returns what is live afterwards: None where nothing had been confirmed before.
        """
        ...

    def rollback(
        self, service: str, environment: str, *, version: str = "", by: str = "", comment: str = ""
    ) -> Endpoint:
        """Go back to the version confirmed before the live one, or to another one that is kept."""
        ...

    def stop(self, service: str, environment: str) -> None:
        """Stop whatever runs in that environment, and keep its record: `restore` starts it again."""
        ...

    def remove(self, service: str, environment: str) -> None:
        """Stop whatever is live or kept in that environment."""
        ...

    def everything(self) -> list[Endpoint]:
        """Return every live endpoint."""
        ...


@runtime_checkable
class Platform(Protocol):
    """Where the lifecycle runs."""

    name: str
    history: RunHistory
    registry: ModelRegistry
    images: Images
    endpoints: Endpoints

    def check(self) -> None:
        """Refuse settings that can't work, before anything is run. It has to be cheap."""
        ...

    def provision(self) -> list[Resource]:
        """Make what is not there yet: history, registry, compute. Safe to call again."""
        ...

    def sign(self, package: Path) -> str:
        """Sign a package, once; return the fingerprint of the key."""
        ...

    def verify(self, package: Path) -> str:
        """Demand that a package is as a key that is trusted here has signed it; return its fingerprint."""
        ...
