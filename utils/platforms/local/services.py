"""What was deployed where: the record of one environment of one service, and the packages that it names."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from utils import files, keys, packaging
from utils.platforms.local import targets
from utils.platforms.local.settings import TargetName
from utils.platforms.local.targets import Site, Target
from utils.platforms.protocol import Endpoint, PlatformError
from utils.platforms.records import Record, Version

STATE = "state.json"


class Service(Version):
    """A version that was started.

    Attributes
    ----------
    target : str
        What it runs on.
    handle : dict
        How the target finds it again.
    """

    target: TargetName
    handle: dict[str, Any]


class State(Record[Service]):
    """What is live in an environment.

    Attributes
    ----------
    share : int
        How many per cent of the requests the live version gets; the one before gets the rest.
    leaving : list of Service
        Started but not live, or replaced: to be stopped. Whoever finds some here, because the
        process that started or replaced them was killed, stops them.
    """

    share: Annotated[int, Field(ge=1, le=100)] = 100
    leaving: list[Service] = Field(default_factory=list)


class Place:
    """The record of one environment, and its versions. Whoever changes it holds its lock.

    Parameters
    ----------
    site : Site
        Which environment of which service, and how it is served.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder

    # -------------------------------------------------------------- the record

    def read(self) -> State:
        """Return what the record says; an empty one where there is none.

        Raises
        ------
        PlatformError
            If there is one that can't be read.
        """
        path = self.folder / STATE
        try:
            return State.model_validate(files.read_json(path))
        except FileNotFoundError:
            return State()
        except (OSError, ValueError) as error:
            raise PlatformError(f"{path} can't be read: stop its services by python -m ci down.") from error

    def settled(self) -> State:
        """Return the state, after stopping what was to be stopped.

        Somebody may have been killed after leading the address to a version and before recording it: it is
        led to what the record says first.
        """
        state = self.read()
        if state.leaving:
            if state.live is not None and self.ready(state.live):
                self.route(state)
            self.settle(state)
        return state

    def settle(self, state: State) -> None:
        """Write the state, stop what leaves, and delete the packages and logs that nobody uses any more."""
        self._write(state)
        for service in state.leaving:
            self.target(service).stop(service.handle)
        state.leaving = []
        used = {service.digest[:12] for service in state.tidy()}
        self._write(state)
        for entry in self.folder.iterdir():
            if _version(entry.name) and entry.name.partition(".")[0] not in used:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def halt(self) -> None:
        """Stop every version that runs from here, recorded or not."""
        for name in {self.site.settings.target, *targets.recorded(self.folder / STATE)}:
            targets.get(name, self.site).clear()

    def clear(self) -> None:
        """Stop every version that runs from here, and delete the record."""
        self.halt()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    # -------------------------------------------------------------- packages

    def keep(self, package: Path, digest: str) -> None:
        """Copy a verified package here, unless its copy is here and sound."""
        copy = self.copy(digest)
        with contextlib.suppress(packaging.PackageError):
            if packaging.load(copy).digest == digest:
                return
        self.folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".copy.") as aside:
            fresh = Path(aside) / "package"
            try:
                shutil.copytree(package, fresh, symlinks=True)
                if packaging.load(fresh).digest != digest:
                    raise PlatformError(f"The package {package} was changed while it was copied: try again.")
            except (OSError, packaging.PackageError) as error:
                raise PlatformError(f"The package {package} can't be copied: {error}") from error
            if copy.exists():
                copy.rename(Path(aside) / "damaged")
            fresh.rename(copy)

    def copy(self, digest: str) -> Path:
        """Return where the copy of a package is."""
        return self.folder / digest[:12]

    # -------------------------------------------------------------- versions

    def target(self, service: Service | None = None) -> Target:
        """Return what a service runs on; without one, what the next version will run on."""
        return targets.get(self.site.settings.target if service is None else service.target, self.site)

    def started(self, state: State, version: targets.Version, *, confirmed: bool = False) -> Service:
        """Start a version and wait until it is ready; leave nothing running otherwise.

        It is recorded as leaving until `switch` makes it live: should we be killed, the next one finds it.
        """
        target = self.target()
        try:
            keys.ensure(self.site.keys)
        except (OSError, keys.KeysError, files.PrivacyError) as error:
            raise PlatformError(f"The service can't be started without its keys: {error}") from error
        service = Service(
            digest=version.digest,
            model_version=version.model_version,
            confirmed=confirmed,
            target=self.site.settings.target,
            handle=dict(target.start(version)),
            image=version.image,
        )
        try:
            state.leaving.append(service)
            self._write(state)
            target.wait(service.handle, self.site.settings.start_seconds)
        except BaseException:
            target.stop(service.handle)
            state.leaving.remove(service)
            self._write(state)
            raise
        return service

    def switch(self, state: State, live: Service, previous: Service | None, share: int = 100) -> Endpoint:
        """Lead the address to a version that is ready, record it, and stop all but it and the previous.

        If the address can't be led there, everything stays as it was.
        """
        before = state.model_copy()
        staying = [each.handle for each in (live, previous) if each is not None]
        others = (state.live, state.previous, *state.leaving)
        state.live, state.previous, state.share = live, previous, share
        try:
            self.route(state)
        except BaseException:
            self.settle(before)
            raise
        state.leaving = [each for each in others if each is not None and each.handle not in staying]
        self.settle(state)
        return self.endpoint(state)

    def restarted(self, state: State, service: Service) -> Service:
        """Start a service's package again, in the place of what has ended.

        What still runs of it goes on until the address is led to the new one. A process can't: its successor
        has the same control socket.
        """
        try:
            packaging.load(self.copy(service.digest))
        except packaging.PackageError as error:
            raise PlatformError(f"The service can't be started again: {error}") from error
        if service.target == "process" or not self.target(service).alive(service.handle):
            self.target(service).stop(service.handle)
        version = targets.Version(
            service.digest, service.model_version, self.copy(service.digest), service.image
        )
        return self.started(state, version, confirmed=service.confirmed)

    def running(self, state: State, service: Service) -> Service:
        """Return a service that is ready, started again if need be."""
        return service if self.ready(service) else self.restarted(state, service)

    def refresh_keys(self) -> None:
        """Let what runs here take the keys as they are now."""
        state = self.read()
        for service in {
            each.target: each for each in (state.live, state.previous) if each is not None
        }.values():
            self.target(service).refresh_keys()

    def ready(self, service: Service) -> bool:
        """Whether a service runs and is ready to serve its package."""
        return self.target(service).ready(service.handle)

    def route(self, state: State) -> None:
        """Lead the address to what is live, and to the version before as far as it has a share.

        Raises
        ------
        PlatformError
            If the two run on different targets, so that no address leads to both.
        """
        live, previous = state.live, state.previous
        assert live is not None  # noqa: S101 - for the type checker: every caller has looked
        shares = [(live.handle, state.share)]
        if previous is not None and state.share < 100:
            if previous.target != live.target:
                raise PlatformError(
                    f"The version before runs on {previous.target}, the new one on {live.target}: requests "
                    "can't be shared between them. Release to all at once (traffic 100)."
                )
            shares.append((previous.handle, 100 - state.share))
        state.url = self.target(live).route(shares)
        port = urlsplit(state.url).port
        if port is not None and port != self.site.port:
            # Beside the folder: the address shall be the same when everything was removed in between.
            files.write_text(port_file(self.folder), f"{port}\n", durable=False)

    def endpoint(self, state: State) -> Endpoint:
        """Describe what is live."""
        live = state.live
        assert live is not None  # noqa: S101 - for the type checker: every caller has looked
        target = self.target(live)
        details: dict[str, Any] = {
            "package": str(self.copy(live.digest)),
            "alive": target.alive(live.handle),
            **target.details(live.handle),
            "target": live.target,
            "share": state.share,
            "previous": state.previous.digest if state.previous is not None else None,
        }
        return Endpoint(
            self.site.environment,
            self.site.service,
            state.url,
            live.digest,
            live.model_version,
            live.confirmed,
            details,
        )

    def _write(self, state: State) -> None:
        files.write_text(self.folder / STATE, state.model_dump_json(indent=2) + "\n")


def port_file(folder: Path) -> Path:
    """Return where the port of an environment's address is kept."""
    return folder.with_name(f"{folder.name}.port")


def last_port(folder: Path) -> int:
    """Return the port that an environment's address had last, or 0."""
    try:
        port = int(port_file(folder).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 2**16 else 0


def _version(name: str) -> bool:
    """Whether a name in the folder is a version's: the copy of its package, its log, its control socket."""
    stem = name.partition(".")[0]
    return len(stem) == 12 and not set(stem) - set("0123456789abcdef")
