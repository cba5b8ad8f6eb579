"""What a platform offers: run history, model registry, images, endpoints, compute for retraining.

A notebook talks to these protocols alone, so that it runs unchanged wherever
a platform implements them. All of their methods raise `PlatformError` when the
platform can't be reached or doesn't do what was asked; none of them answers
"there is none" because something failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


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
    routes : sequence of str
        What can be asked of it beside "/score", which is always there.
    """

    environment: str
    service: str
    url: str
    digest: str
    model_version: str
    confirmed: bool
    details: Mapping[str, Any] = field(default_factory=dict)
    routes: Sequence[str] = ("/health/ready", "/metrics")


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
        What it adds to its base image, in bytes; all of it where nobody tells the two apart.
    layers : sequence of mapping
        Of each of these layers: what, digest, size.
    """

    reference: str
    digest: str
    size: int
    layers: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Stint:
    """What a platform's compute is asked to run: consecutive steps, each in a process of its own.

    Each process has the project's files as its working directory, and runs `python -m ci step`, whose
    help says what it takes, gives and answers. The first one brings along what its step builds on, as far
    as that isn't done.

    Attributes
    ----------
    steps : sequence of str
        Such as train, evaluate, register, package: always all that the pipeline has run elsewhere, in
        their order. A step that a run doesn't need ends at once.
    parameters : sequence of str
        Names of the notebooks' parameters that whoever starts a job may set, each by a text. An empty
        text is none: then the parameter files decide.
    digest : str
        SHA-256 of all that is below `source`, of the steps and of the parameters. As long as it stays the
        same, what is published stays as it is.
    scenario : str
        What is learned.
    source : Path
        A folder with the project's files that are needed, for as long as the call lasts. Nothing else is
        in it: no runs, no history of git, no secrets.
    """

    steps: Sequence[str]
    parameters: Sequence[str]
    digest: str
    scenario: str
    source: Path


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    state : str
        queued, running, succeeded, failed or cancelled; the last three are final.
    steps : mapping
        The same for each step that something is known of. One that had nothing to do has succeeded.
    reason : str
        Why it failed or was cancelled, or what it waits for, in a line.
    url : str
        Where a person can look at it, or "".
    """

    state: JobState
    steps: Mapping[str, JobState] = field(default_factory=dict)
    reason: str = ""
    url: str = ""


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

    def keep_data(self, name: str, folder: Path, fingerprint: str) -> str:
        """Keep the snapshot of a run where others find it, as a version of the data set `name`.

        Parameters
        ----------
        folder : Path
            With snapshot.parquet, and snapshot.json, which describes it.
        fingerprint : str
            Of the data. There is a new version only where it isn't that of the newest one.

        Returns
        -------
        str
            Where it is kept, for a person; "" where the run folder is all that keeps it.
        """
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


class Retraining(Protocol):
    """The retraining pipeline on the platform's own compute, and the run folders that go there and back."""

    @property
    def remote(self) -> bool:
        """Whether steps run on the platform's compute.

        Where they don't, whoever goes through a run executes all of its steps, and the methods refuse.
        """
        ...

    def publish(self, stint: Stint) -> Resource:
        """Make a scenario's retraining pipeline, with all that it needs, unless that of this digest is there.

        Its location is the address by which jobs are started; it stays the same whatever is published later.
        """
        ...

    def submit(self, stint: Stint, run: str, parameters: Mapping[str, str], *, key: str) -> str:
        """Start a job of what is published, and return the job's id.

        Parameters
        ----------
        run : str
            The run that it is part of, whose folder has been kept.
        parameters : mapping
            Values for some of the stint's parameters.
        key : str
            A second call with the same key returns the job that the first one started, whatever became of
            it. A run that is taken up again after its job has failed comes with another one.
        """
        ...

    def progress(self, job: str) -> Progress:
        """Say how far a job is."""
        ...

    def cancel(self, job: str) -> None:
        """End a job; one that has ended stays as it is. Until `progress` says so, it may still run."""
        ...

    def keep(self, run: str, folder: Path) -> None:
        """Keep a run folder as it is now, in the place of what was kept of that run before, all at once.

        Jobs and callers get it by `fetch`.
        """
        ...

    def fetch(self, run: str, destination: Path) -> bool:
        """Get a run folder that was kept: `destination`, which isn't there yet, has its files then.

        Returns
        -------
        bool
            False if nothing is kept of a run of that name; then nothing is made.
        """
        ...


@runtime_checkable
class Platform(Protocol):
    """Where the lifecycle runs."""

    name: str
    history: RunHistory
    registry: ModelRegistry
    images: Images
    endpoints: Endpoints
    retraining: Retraining

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
