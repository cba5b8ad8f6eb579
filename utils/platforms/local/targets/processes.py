"""Services as processes of this machine, which hand one listening socket on from version to version.

A version is `serve.py` of its package, in the background. The socket of the address is opened once; the next
version gets it from the one that runs, over that one's control socket, so that connections which wait in
the kernel's queue are answered by whichever version accepts next: none is lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from utils.platforms.local.targets import Handle, Site, Version
from utils.platforms.protocol import PlatformError
from utils.scoring import control

HOST = "127.0.0.1"
LOG_LINES = 15
SUFFIX = ".sock"

# How long the supervisor of a service may take for an answer: it has nothing else to do.
CONTROL_SECONDS = 10.0

# A version that is stopped finishes what it has accepted within the first, and is ended after the second.
DRAIN_SECONDS = 10.0
STOP_SECONDS = 20.0

# All that a service inherits: where libraries, temporary files and words are; how many threads to use.
# Nothing that could be a secret.
VARIABLES = (
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PATH",
    "TMPDIR",
    "TZ",
)

# How the service is told what this environment asks of it.
SETTINGS = ("SCORING_DRAIN_SECONDS", "SCORING_KEYS_FILE", "SCORING_PUBLIC_KEY", "SCORING_REQUIRE_KEYS")

# The system's clock, by which a process' start is told, may be set right in the meantime.
CLOCK_SECONDS = 60.0


class Process(BaseModel):
    """A version that was started: what its handle holds.

    Attributes
    ----------
    digest : str
        Of its package.
    pid : int
        Of the supervisor.
    started : float
        Seconds since 1970. With the script's path it tells this process from a later one of the same pid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    pid: int
    started: float


class Processes:
    """Versions on this machine, on loopback; see `utils.platforms.local.targets.Target`.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(self, version: Version) -> Handle:
        """Start a package's serve.py, with the address's socket but not yet accepting.

        Raises
        ------
        PlatformError
            If no process or socket can be had.
        """
        script, log = version.folder / "serve.py", self._log(version.digest)
        try:
            with self._listener() as listener, log.open("wb") as output:
                child = subprocess.Popen(
                    self._command(script, version.digest, listener.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(listener.fileno(),),
                    env=self._environment(),
                    start_new_session=True,
                    cwd=version.folder,
                )
        except OSError as error:
            raise PlatformError(f"The service {script} can't be started: {error}") from error
        # When it ends before us, somebody must ask for its exit code, or it stays as a zombie.
        threading.Thread(target=child.wait, name=f"wait for {child.pid}", daemon=True).start()
        try:
            started = psutil.Process(child.pid).create_time()
        except psutil.Error:  # it has ended already, and will not be found alive
            started = 0.0
        made = Process(digest=version.digest, pid=child.pid, started=started)
        return made.model_dump()

    def wait(self, handle: Handle, seconds: float) -> None:
        """Wait until a version says that it is ready.

        Raises
        ------
        PlatformError
            If it ends before (with the last lines of its log), or takes too long.
        """
        process = Process.model_validate(handle)
        end = time.monotonic() + seconds
        while not self.ready(handle):
            if self._find(process) is None:
                raise PlatformError(f"The service ended while it started; {self._tail(process)}")
            if time.monotonic() > end:
                raise PlatformError(
                    f"The service wasn't ready after {seconds:g} seconds; {self._tail(process)}"
                )
            time.sleep(0.02)

    def route(self, shares: Sequence[tuple[Handle, int]]) -> str:
        """Let one version accept, and the others no more.

        Raises
        ------
        PlatformError
            If there is more than one: processes that share a socket can't be told who takes how much.
        """
        if len(shares) != 1:
            raise PlatformError(
                "Processes can't share requests by weight: release to all at once (traffic 100), "
                "or serve from containers."
            )
        chosen = Process.model_validate(shares[0][0])
        ours = self._control(chosen.digest)
        try:
            answer = control.ask(ours, "serve", CONTROL_SECONDS)
        except control.ControlError as error:
            raise PlatformError(f"The service doesn't take over: {error}") from error
        for other in self._controls():
            if other != ours:
                with contextlib.suppress(control.ControlError):  # it has ended, and accepts nothing any more
                    control.ask(other, "pause", CONTROL_SECONDS)
        return f"http://{HOST}:{answer['port']}"

    def stop(self, handle: Handle) -> None:
        """End a version once it has answered what it accepted.

        Raises
        ------
        PlatformError
            If it can't be ended.
        """
        found = self._find(Process.model_validate(handle))
        if found is not None:
            end(found)

    def alive(self, handle: Handle) -> bool:
        """Whether the process runs."""
        return self._find(Process.model_validate(handle)) is not None

    def ready(self, handle: Handle) -> bool:
        """Whether the process runs, and has checked its package and warmed up."""
        process = Process.model_validate(handle)
        try:
            answer = control.ask(self._control(process.digest), "status", CONTROL_SECONDS)
        except control.ControlError:
            return False
        return answer["state"] not in ("starting", "ending") and answer["digest"] == process.digest

    def details(self, handle: Handle) -> dict[str, Any]:
        """Return the process id, when it started, and where its log is."""
        process = Process.model_validate(handle)
        return {"pid": process.pid, "started": process.started, "log": str(self._log(process.digest))}

    def refresh_keys(self) -> None:
        """Do nothing: a service looks at its file of keys by itself."""

    def clear(self) -> None:
        """Stop every process that serves a package below the folder, whoever started it."""
        for process in below(self._site.folder):
            end(process)

    # -------------------------------------------------------------- starting

    def _command(self, script: Path, digest: str, descriptor: int) -> list[str]:
        words = [sys.executable, "-I", "-B", str(script), "--fd", str(descriptor), "--standby"]
        workers = str(self._site.settings.workers)
        return [*words, "--control", str(self._control(digest)), "--workers", workers]

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        given = (f"{DRAIN_SECONDS:g}", str(self._site.keys), self._site.public_keys, "1")
        return inherited | dict(zip(SETTINGS, given, strict=True))

    @contextlib.contextmanager
    def _listener(self) -> Iterator[socket.socket]:
        """Give the socket of the address: of a version that runs, or a new one."""
        with self._inherited() or self._opened() as listener:
            yield listener

    def _inherited(self) -> socket.socket | None:
        for path in self._controls():
            with contextlib.suppress(control.ControlError):
                return control.take(path, CONTROL_SECONDS)
        return None

    def _opened(self) -> socket.socket:
        try:
            return socket.create_server((HOST, self._site.port), backlog=1024)
        except OSError:
            if not self._site.port:
                raise
            # Somebody else has taken the port since: another address is better than no service.
            return socket.create_server((HOST, 0), backlog=1024)

    def _control(self, digest: str) -> Path:
        return self._site.folder / f"{digest[:12]}{SUFFIX}"

    def _controls(self) -> list[Path]:
        return sorted(self._site.folder.glob(f"*{SUFFIX}"))

    def _find(self, process: Process) -> psutil.Process | None:
        """Return the running process, or None if it has ended, also if another one has its pid by now.

        It must serve the package that is here: a copied workspace doesn't own what runs in the other one.
        """
        script = self._site.folder / process.digest[:12] / "serve.py"
        try:
            found = psutil.Process(process.pid)
            if (
                abs(found.create_time() - process.started) < CLOCK_SECONDS
                and found.cmdline()[1:5] == ["-I", "-B", str(script), "--fd"]
                and found.status() != psutil.STATUS_ZOMBIE
            ):
                return found
        except psutil.Error:
            pass
        return None

    # -------------------------------------------------------------- logs

    def _log(self, digest: str) -> Path:
        return self._site.folder / f"{digest[:12]}.log"

    def _tail(self, process: Process) -> str:
        log = self._log(process.digest)
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = ["(no log)"]
        return f"its log ({log}) ends with:\n" + "\n".join(lines)


def below(folder: Path) -> list[psutil.Process]:
    """Return every process that serves a package below a folder, whoever started it; not its workers."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if len(words) > 4 and words[4] == "--fd" and folder in Path(words[3]).parents:
                found[process.pid] = (process, process.ppid())
    return [process for process, parent in found.values() if parent not in found]


def end(process: psutil.Process, seconds: float = STOP_SECONDS) -> None:
    """End a process: politely at first, by force if it hasn't ended after some seconds.

    Raises
    ------
    PlatformError
        If it can't be ended.
    """
    try:
        process.terminate()
        try:
            process.wait(seconds)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(seconds)
    except psutil.NoSuchProcess:
        return
    except (psutil.Error, psutil.TimeoutExpired) as error:
        raise PlatformError(f"The service with pid {process.pid} can't be stopped: {error}") from error
