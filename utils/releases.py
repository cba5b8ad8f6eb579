"""From a judged challenger to the champion in production: what has to hold at each step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils import approvals, evaluation, files, training
from utils.evaluation import Champion
from utils.packaging import Package
from utils.platforms.protocol import ModelVersion, Platform

ENVIRONMENTS = ("staging", "production")
NO_CHAMPION = "none"
IMAGE = "image.json"


class ReleaseError(RuntimeError):
    """A step towards production isn't allowed; the message says why and what to do next."""


def challenger(
    platform: Platform, training_run: str, folder: Path, trusted: Sequence[str] = ()
) -> training.Trained:
    """Fetch a trained model from the run history.

    Parameters
    ----------
    training_run : str
        Its id there.
    folder : Path
        The run folder; the files are kept below evaluation/challenger.
    trusted : sequence of str
        Packages beside scikit-learn whose types it may hold.
    """
    fetched = platform.history.download(training_run, "model", folder / "evaluation" / "challenger")
    return training.load(fetched, trusted)


def champion(platform: Platform, scenario: str, folder: Path, trusted: Sequence[str] = ()) -> Champion | None:
    """Return the model in production, to be read when it is needed; None only if there never was one.

    Raises
    ------
    PlatformError
        If the registry can't say.
    """
    found = platform.registry.champion(scenario)
    if found is None:
        return None
    destination = folder / "evaluation" / "champion"
    return Champion(
        found.version,
        lambda: training.load(platform.registry.download(scenario, found.version, destination), trusted),
    )


def register(
    platform: Platform,
    scenario: str,
    folder: Path,
    training_run: str,
    outcome: str,
    lineage: Mapping[str, str],
) -> ModelVersion:
    """Add a challenger to the model registry, if the recorded evidence says promote once more.

    A second call for the same run and training returns the version that the first one made.

    Parameters
    ----------
    folder : Path
        The run folder, with evaluation/evaluation.json.
    training_run : str
        The challenger's id in the run history.
    outcome : str
        What evaluate handed on.
    lineage : mapping
        Becomes the version's tags, beside what the model was judged by.

    Raises
    ------
    EvaluationError
        Unless all evidence says promote, and for just this model file.
    PlatformError
        If the platform refuses.
    """
    with tempfile.TemporaryDirectory() as aside:
        model = platform.history.download(training_run, f"model/{training.MODEL}", Path(aside))
        evidence = evaluation.recheck(
            folder / "evaluation" / evaluation.FILE, outcome, digest=files.sha256(model)
        )
    judged = {name: f"{value:.6g}" for name, value in evidence.challenger.items() if value is not None}
    tags = {**lineage, "training": training_run, "champion": _champion(evidence.opponent), **judged}
    return platform.registry.register(scenario, training_run, tags=tags, key=f"{folder.name}-{training_run}")


def _champion(opponent: str) -> str:
    """Return the version of the champion that the evidence names as opponent, or "none" for the baseline."""
    return (
        opponent.removeprefix("champion version ")
        if opponent.startswith("champion version ")
        else NO_CHAMPION
    )


def demand(
    platform: Platform,
    scenario: str,
    folder: Path,
    package: Package,
    *,
    environment: str,
    expected: str,
    image: str = "",
) -> str:
    """Refuse to deploy a package unless all that allows it still holds.

    Parameters
    ----------
    folder : Path
        The run folder; for production it has to hold the approval.
    package : Package
        What shall be deployed. Its lineage says which champion the model was compared with.
    environment : str
        "staging" or "production".
    expected : str
        The digest that the package was built with; "" if nobody says.
    image : str
        The image that was built from it; "" where services run without images.

    Returns
    -------
    str
        The fingerprint of the key that signed the package.

    Raises
    ------
    PlatformError
        If its signature doesn't hold.
    ReleaseError
        If there is no such environment, the package is another than expected, or the champion is another by
        now than the one that the model was compared with.
    ApprovalError
        If, for production, no person has approved just this package.
    """
    if environment not in ENVIRONMENTS:
        raise ReleaseError(
            f"There is no environment {environment!r}; choose from: {', '.join(ENVIRONMENTS)}."
        )
    if expected and expected != package.digest:
        raise ReleaseError(
            f"The package in {package.folder} has the digest {package.digest}, but {expected} was built: "
            "build it again."
        )
    signer = platform.verify(package.folder)
    if environment == "staging":
        return signer
    approvals.demand(folder, package.digest, image)
    now = platform.registry.champion(scenario)
    current = now.version if now is not None else NO_CHAMPION
    manifest = package.manifest
    compared = manifest.lineage.get("champion", "unknown")
    if current not in (compared, manifest.version):
        raise ReleaseError(
            f"Version {manifest.version} was compared with champion {compared}, but the champion is "
            f"{current} by now: begin a new run, which compares it with that one."
        )
    return signer


def image(folder: Path) -> str:
    """Return the reference of the image that a run has built of its package; "" if it built none."""
    record = folder / IMAGE
    return str(files.read_json(record)["reference"]) if record.exists() else ""


def conclude(platform: Platform, scenario: str, environment: str, version: str, *, passed: bool) -> bool:
    """Draw the consequence of a service's test.

    Staging is taken down. In production a service that passed is kept and its model becomes the
    champion; one that failed gives way to the one confirmed last.

    Returns
    -------
    bool
        Whether an earlier service was put back.
    """
    if environment != "production":
        platform.endpoints.remove(scenario, environment)
        return False
    if passed:
        # In this order: if anything breaks in between, a repeated test completes it.
        platform.endpoints.confirm(scenario, environment)
        platform.registry.promote(scenario, version)
        return False
    return platform.endpoints.restore(scenario, environment) is not None
