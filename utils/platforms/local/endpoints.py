"""Endpoints: one scoring service for each scenario in each environment, as a process in the background."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from utils import packaging
from utils.platforms.local.services import STATE, Place
from utils.platforms.protocol import Endpoint, PlatformError

START_SECONDS = 90.0
LOCK_SECONDS = 180.0


class LocalEndpoints:
    """Scoring services on loopback; see `utils.platforms.protocol.Endpoints`.

    Parameters
    ----------
    folder : Path
        Of all services.
    seconds : float
        How long a service may take to get healthy.
    """

    def __init__(self, folder: Path, seconds: float = START_SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds

    def deploy(self, package: Path, service: str, environment: str) -> Endpoint:
        """Start a package and make it live once it is healthy.

        If its start fails, everything stays as it was. A package that is live is left as it is,
        and started again where its process has ended, as after a reboot.

        Raises
        ------
        PlatformError
            If the package isn't as its manifest says, or its service doesn't get healthy.
        """
        try:
            found = packaging.load(package)
        except packaging.PackageError as error:
            raise PlatformError(str(error)) from error
        with self._locked(service, environment) as place:
            state = place.settled()
            live = state.live
            if live is not None and live.digest == found.digest:
                if not place.healthy(live):
                    place.keep(package, found.digest)
                    state.live = place.restarted(state, live, self._seconds)
                    place.settle(state)
                return place.endpoint(state)
            kept = live if live is not None and live.confirmed else state.previous
            if kept is not None and kept.digest == found.digest:
                place.keep(package, found.digest)
                return place.put_back(state, kept, self._seconds)
            place.keep(package, found.digest)
            fresh = place.started(state, found.digest, found.manifest.version, False, self._seconds)
            state.leaving += [old for old in (live, state.previous) if old is not None and old is not kept]
            state.live, state.previous = fresh, kept
            place.settle(state)
            return place.endpoint(state)

    def find(self, service: str, environment: str) -> Endpoint | None:
        """Return what is live, or None if nothing was deployed.

        Its details tell whether its process is `alive`: after a reboot it isn't.

        Raises
        ------
        PlatformError
            If the record of the environment can't be read.
        """
        place = self._place(service, environment)
        state = place.read()
        return None if state.live is None else place.endpoint(state)

    def confirm(self, service: str, environment: str) -> Endpoint:
        """Keep the live service for good, and stop the one that it replaced.

        Raises
        ------
        PlatformError
            If nothing is live, or what is doesn't answer.
        """
        with self._locked(service, environment) as place:
            state = place.settled()
            if state.live is None:
                raise PlatformError(
                    f"Nothing is deployed as {service} in {environment}: deploy a package first."
                )
            if not place.healthy(state.live):
                raise PlatformError(
                    f"The service {service} in {environment} doesn't answer: deploy it again."
                )
            state.live = state.live.model_copy(update={"confirmed": True})
            state.leaving += [state.previous] if state.previous is not None else []
            state.previous = None
            place.settle(state)
            return place.endpoint(state)

    def restore(self, service: str, environment: str) -> Endpoint | None:
        """Put back the service confirmed last, started again if its process has ended.

        Returns
        -------
        Endpoint or None
            What is live afterwards: the live one if it is confirmed itself, None if none ever was.

        Raises
        ------
        PlatformError
            If it can't be started again; then what was live still is.
        """
        with self._locked(service, environment) as place:
            state = place.settled()
            kept = state.live if state.live is not None and state.live.confirmed else state.previous
            if kept is not None:
                return place.put_back(state, kept, self._seconds)
            place.clear()
            return None

    def remove(self, service: str, environment: str) -> None:
        """Stop every service of that environment and delete its folder, even if its record is damaged.

        Raises
        ------
        PlatformError
            If a service can't be stopped.
        """
        if not self._place(service, environment).folder.exists():
            return
        with self._locked(service, environment) as place:
            place.clear()

    def everything(self) -> list[Endpoint]:
        """Return what is live in every environment.

        One whose record can't be read is there too, with an `error` in its details, so that it
        can be removed.
        """
        found = []
        for path in sorted(self._folder.glob(f"*/*/{STATE}")):
            service, environment = path.parts[-3:-1]
            place = Place(path.parent)
            try:
                state = place.read()
            except PlatformError as error:
                details = {"alive": False, "error": str(error)}
                found.append(Endpoint(environment, service, "", "", "", confirmed=False, details=details))
                continue
            if state.live is not None:
                found.append(place.endpoint(state))
        return found

    def _place(self, service: str, environment: str) -> Place:
        for name in (service, environment):
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise PlatformError(
                    f"{name!r} can't be the name of a service or environment: "
                    "use letters, digits, '_', '-' and '.'."
                )
        return Place(self._folder / service / environment)

    @contextlib.contextmanager
    def _locked(self, service: str, environment: str) -> Iterator[Place]:
        from filelock import FileLock, Timeout

        place = self._place(service, environment)
        place.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place.folder.with_name(f"{environment}.lock"), timeout=LOCK_SECONDS):
                yield place
        except Timeout:
            raise PlatformError(
                f"Another process has been deploying {service} to {environment} for {LOCK_SECONDS:g} "
                "seconds: wait for it or end it, then try again."
            ) from None
