"""Endpoints: one scoring service for each scenario in each environment, on the target that is set."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from utils import files, keys, packaging
from utils.packaging import Package
from utils.platforms.local import settings, signing, targets
from utils.platforms.local.services import STATE, Place, last_port
from utils.platforms.local.settings import Settings
from utils.platforms.local.targets import Site, Version
from utils.platforms.protocol import Endpoint, PlatformError

LOCK_SECONDS = 180.0


class LocalEndpoints:
    """Scoring services of this machine or of what it can reach; see `utils.platforms.protocol.Endpoints`.

    Parameters
    ----------
    workspace : Path
        Services are below its folder services/, and the endpoints' API keys below the private one, keys/.
    settings : Settings, optional
        How to serve; read when they are needed if not given.
    """

    def __init__(self, workspace: Path, settings: Settings | None = None) -> None:
        self._workspace = workspace
        self._folder = workspace / "services"
        self._given = settings

    def deploy(
        self, package: Path, service: str, environment: str, *, image: str = "", traffic: int = 100
    ) -> Endpoint:
        """Start a package and make it live once it is ready.

        If its start fails, everything stays as it was. A package that is live is left as it is,
        and started again where it has ended, as after a reboot.

        Raises
        ------
        PlatformError
            If the package isn't as its manifest and signature say, or its service doesn't get ready.
        """
        if not 1 <= traffic <= 100:
            raise PlatformError(f"The share of the requests is {traffic} per cent: give 1 to 100.")
        found = self._verified(package)
        with self._locked(service, environment, starting=True) as place:
            state = place.settled()
            live, previous, kept = state.live, state.previous, state.kept
            version = Version(found.digest, found.manifest.version, place.copy(found.digest), image)
            place.keep(package, found.digest)
            if live is not None and live.digest == found.digest:
                share = 100 if live.confirmed or previous is None else traffic
                return place.switch(state, place.running(state, live), previous, share)
            if kept is not None and kept.digest == found.digest:
                return place.switch(state, place.running(state, kept), None)
            fresh = place.started(state, version)
            state.note("deployed", fresh)
            return place.switch(state, fresh, kept, traffic if kept is not None else 100)

    def find(self, service: str, environment: str) -> Endpoint | None:
        """Return what is live, or None if nothing was deployed.

        Its details tell whether it is `alive`: after a reboot it may not be.

        Raises
        ------
        PlatformError
            If the record of the environment can't be read.
        """
        place = self._place(service, environment)
        state = place.read()
        return None if state.live is None else place.endpoint(state)

    def keys(self, service: str, environment: str, *, rotate: int | None = None) -> tuple[str, str]:
        """Return the two API keys of an endpoint, made when they are asked for first.

        Parameters
        ----------
        rotate : 1 or 2, optional
            Which of them is replaced before; the service takes the new one within some seconds.

        Raises
        ------
        PlatformError
            If they can't be kept privately.
        """
        place = self._place(service, environment)
        try:
            found = keys.ensure(place.site.keys)
            if rotate is not None:
                found = keys.rotate(place.site.keys, rotate)
        except (OSError, keys.KeysError, files.PrivacyError) as error:
            raise PlatformError(f"The keys of {service} in {environment} can't be read: {error}") from error
        if rotate is not None:
            place.refresh_keys()
        return found

    def confirm(self, service: str, environment: str) -> Endpoint:
        """Keep the live service for good, give it all requests, and stop the one that it replaced.

        Raises
        ------
        PlatformError
            If nothing is live, or what is doesn't answer.
        """
        with self._locked(service, environment) as place:
            state = place.settled()
            live = state.live
            if live is None:
                raise PlatformError(
                    f"Nothing is deployed as {service} in {environment}: deploy a package first."
                )
            if not place.ready(live):
                raise PlatformError(
                    f"The service {service} in {environment} doesn't answer: deploy it again."
                )
            if state.previous is not None:
                state.earlier.insert(0, state.previous)
            if not live.confirmed:
                state.note("confirmed", live)
            return place.switch(state, live.model_copy(update={"confirmed": True}), None)

    def restore(self, service: str, environment: str) -> Endpoint | None:
        """Put back the service confirmed last, started again if it has ended.

        Returns
        -------
        Endpoint or None
            What is live afterwards: the live one if it is confirmed itself, None if none ever was.

        Raises
        ------
        PlatformError
            If it can't be started again; then what was live still is.
        """
        with self._locked(service, environment, starting=True) as place:
            state = place.settled()
            kept = state.kept
            if kept is None:
                place.clear()
                return None
            if kept is not state.live:
                state.note("restored", kept)
            return place.switch(state, place.running(state, kept), None)

    def rollback(
        self, service: str, environment: str, *, version: str = "", by: str = "", comment: str = ""
    ) -> Endpoint:
        """Go back to a version that was confirmed earlier, checked and warm before it takes over.

        Raises
        ------
        PlatformError
            If there is none, or it doesn't get ready; then what is live stays so.
        """
        with self._locked(service, environment, starting=True) as place:
            state = place.settled()
            chosen = state.choose(version, f"{service} in {environment}")
            self._verified(place.copy(chosen.digest))
            back = place.running(state, chosen)
            state.withdraw(chosen)
            state.note("rolled back", back, by=by, comment=comment)
            return place.switch(state, back, None)

    def stop(self, service: str, environment: str) -> None:
        """Stop every service of that environment, and keep its record: `restore` starts it again.

        Raises
        ------
        PlatformError
            If the record can't be read, or a service can't be stopped.
        """
        if self.find(service, environment) is None:
            return
        with self._locked(service, environment) as place:
            state = place.read()
            place.halt()
            state.leaving = []
            state.note("stopped", state.live)
            place.settle(state)

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
            try:
                live = self.find(service, environment)
            except PlatformError as error:
                details = {"alive": False, "error": str(error)}
                live = Endpoint(environment, service, "", "", "", confirmed=False, details=details)
            if live is not None:
                found.append(live)
        return found

    def _verified(self, package: Path) -> Package:
        """Return a package whose files and signature hold."""
        try:
            found = packaging.load(package)
        except packaging.PackageError as error:
            raise PlatformError(str(error)) from error
        signing.verify(package, self._workspace)
        return found

    def _place(self, service: str, environment: str, *, starting: bool = False) -> Place:
        for name in (service, environment):
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise PlatformError(
                    f"{name!r} can't be the name of a service or environment: "
                    "use letters, digits, '_', '-' and '.'."
                )
        folder = self._folder / service / environment
        # Reading the settings takes longer than looking for a process, which needs none of them.
        needed = starting or targets.recorded(folder / STATE) - {"process"}
        return Place(
            Site(
                service=service,
                environment=environment,
                folder=folder,
                keys=self._workspace / "keys" / f"{service}.{environment}.keys",
                public_keys=signing.public_keys(self._workspace) if starting else "",
                settings=self._given or (settings.read() if needed else Settings()),
                port=last_port(folder),
            )
        )

    @contextlib.contextmanager
    def _locked(self, service: str, environment: str, *, starting: bool = False) -> Iterator[Place]:
        from filelock import FileLock, Timeout

        place = self._place(service, environment, starting=starting)
        place.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place.folder.with_name(f"{environment}.lock"), timeout=LOCK_SECONDS):
                yield place
        except Timeout:
            raise PlatformError(
                f"Another process has been deploying {service} to {environment} for {LOCK_SECONDS:g} "
                "seconds: wait for it or end it, then try again."
            ) from None
