"""The services of one environment: which is live, which is kept, and what of them is on disk.

An environment's folder holds a copy of each package in use, so that a deleted run takes no service
with it, the services' logs, and state.json, which says what is live.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from utils import files, packaging
from utils.platforms.local import processes
from utils.platforms.local.processes import Process
from utils.platforms.protocol import Endpoint, PlatformError

STATE = "state.json"


class Service(BaseModel):
    """A package that was started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    model_version: str
    confirmed: bool
    process: Process

    @property
    def url(self) -> str:
        """The base address."""
        return self.process.url


class State(BaseModel):
    """What is live in an environment.

    Attributes
    ----------
    live : Service or None
    previous : Service or None
        The service confirmed last, kept while the live one is not confirmed.
    leaving : list of Service
        Started but not live, or replaced: to be stopped. Whoever finds some here, because the
        process that started or replaced them was killed, stops them.
    """

    model_config = ConfigDict(extra="forbid")

    live: Service | None = None
    previous: Service | None = None
    leaving: list[Service] = Field(default_factory=list)


class Place:
    """The folder of one environment of one service. Whoever changes it holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> State:
        """Return what the record says; an empty one where there is none."""
        path = self.folder / STATE
        try:
            return State.model_validate(files.read_json(path))
        except FileNotFoundError:
            return State()
        except (OSError, ValueError) as error:
            raise PlatformError(f"{path} can't be read: stop its services by python -m ci down.") from error

    def settled(self) -> State:
        """Return the state, after stopping what was to be stopped."""
        state = self.read()
        if state.leaving:
            self.settle(state)
        return state

    def settle(self, state: State) -> None:
        """Write the state, stop what leaves, and delete the packages and logs that nobody uses any more."""
        self._write(state)
        if state.leaving:
            for service in state.leaving:
                self._stop(service)
            state.leaving = []
            self._write(state)
        used = {service.digest[:12] for service in (state.live, state.previous) if service is not None}
        for entry in self.folder.iterdir():
            if entry.name != STATE and entry.name.removesuffix(".log") not in used:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def clear(self) -> None:
        """Stop every service that runs from this folder, recorded or not, and delete it."""
        for process in processes.below(self.folder):
            processes.stop(process)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def keep(self, package: Path, digest: str) -> None:
        """Copy a verified package here, unless its copy is here and sound."""
        copy = self._copy(digest)
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

    def started(
        self, state: State, digest: str, model_version: str, confirmed: bool, seconds: float
    ) -> Service:
        """Start the package's copy and wait until it is healthy; leave nothing running otherwise."""
        script, log = self._script(digest), self._log(digest)
        process = processes.start(script, log)
        service = Service(digest=digest, model_version=model_version, confirmed=confirmed, process=process)
        try:
            # Should we be killed while we wait, the next one finds it here.
            state.leaving.append(service)
            self._write(state)
            processes.wait_until_healthy(process, script, log, digest, seconds)
        except BaseException:
            self._stop(service)
            state.leaving.remove(service)
            self._write(state)
            raise
        state.leaving.remove(service)
        return service

    def restarted(self, state: State, service: Service, seconds: float) -> Service:
        """Start a service's package again, in the place of its process."""
        try:
            packaging.load(self._copy(service.digest))
        except packaging.PackageError as error:
            raise PlatformError(f"The service can't be started again: {error}") from error
        self._stop(service)
        return self.started(state, service.digest, service.model_version, service.confirmed, seconds)

    def put_back(self, state: State, kept: Service, seconds: float) -> Endpoint:
        """Make a confirmed service the live one again, and stop the others."""
        back = kept if self.healthy(kept) else self.restarted(state, kept, seconds)
        others = (state.live, state.previous)
        state.leaving += [other for other in others if other is not None and other is not kept]
        state.live, state.previous = back, None
        self.settle(state)
        return self.endpoint(state)

    def healthy(self, service: Service) -> bool:
        """Tell whether a service's own process runs and says that it serves its package."""
        if processes.find(service.process, self._script(service.digest)) is None:
            return False
        answer = processes.health(service.process)
        return answer is not None and answer.get("digest") == service.digest

    def endpoint(self, state: State) -> Endpoint:
        """Describe what is live."""
        live = state.live
        assert live is not None  # noqa: S101 - for the type checker: every caller has looked
        details: dict[str, Any] = {
            "alive": processes.find(live.process, self._script(live.digest)) is not None,
            "pid": live.process.pid,
            "started": live.process.started,
            "log": str(self._log(live.digest)),
            "previous": state.previous.digest if state.previous is not None else None,
        }
        service, environment = self.folder.parts[-2:]
        return Endpoint(
            environment, service, live.url, live.digest, live.model_version, live.confirmed, details
        )

    def _copy(self, digest: str) -> Path:
        return self.folder / digest[:12]

    def _script(self, digest: str) -> Path:
        return self._copy(digest) / "serve.py"

    def _log(self, digest: str) -> Path:
        return self.folder / f"{digest[:12]}.log"

    def _stop(self, service: Service) -> None:
        process = processes.find(service.process, self._script(service.digest))
        if process is not None:
            processes.stop(process)

    def _write(self, state: State) -> None:
        files.write_text(self.folder / STATE, state.model_dump_json(indent=2) + "\n")
