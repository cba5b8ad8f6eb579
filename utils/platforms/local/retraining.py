"""Retraining on the local platform: there is no other compute than the machine that the run is led from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from utils.platforms.protocol import PlatformError, Progress, Resource, Stint


class LocalRetraining:
    """See `utils.platforms.protocol.Retraining`: nothing is remote, and the rest is refused."""

    remote = False

    def publish(self, stint: Stint) -> Resource:
        """Refuse.

        Raises
        ------
        PlatformError
            Always, as the other methods do.
        """
        _refuse(f"The retraining pipeline of {stint.scenario} can't be published")

    def submit(self, stint: Stint, run: str, parameters: Mapping[str, str], *, key: str) -> str:  # noqa: ARG002
        """Refuse."""
        _refuse(f"Run {run} can't be handed over")

    def progress(self, job: str) -> Progress:
        """Refuse."""
        _refuse(f"There is no job {job}")

    def cancel(self, job: str) -> None:
        """Refuse."""
        _refuse(f"There is no job {job}")

    def keep(self, run: str, folder: Path) -> None:  # noqa: ARG002 - as the protocol has it
        """Refuse."""
        _refuse(f"Run {run} can't be kept for other machines")

    def fetch(self, run: str, destination: Path) -> bool:  # noqa: ARG002 - as the protocol has it
        """Refuse."""
        _refuse(f"Run {run} can't be fetched from another machine")


def _refuse(what: str) -> NoReturn:
    raise PlatformError(
        f"{what}: the platform local has no compute of its own, and runs all steps here; "
        "use 'python -m ci run', or another --platform."
    )
