"""Services as processes in the background: started, recognized again, and ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from utils.platforms.protocol import PlatformError

HOST = "127.0.0.1"
LOG_LINES = 15

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

# The system's clock, by which a process' start is told, may be set right in the meantime.
CLOCK_SECONDS = 60.0


class Process(BaseModel):
    """A service that was started.

    Attributes
    ----------
    pid : int
    started : float
        Seconds since 1970. With the script's path it tells this process from a later one of the same pid.
    port : int
        On loopback.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    started: float
    port: int

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://{HOST}:{self.port}"


def start(script: Path, log: Path) -> Process:
    """Start a package's serve.py on a free port of loopback; don't wait for it.

    Parameters
    ----------
    script : Path
        The serve.py.
    log : Path
        Gets all that the service prints; begun anew.

    Raises
    ------
    PlatformError
        If no process or socket can be had.
    """
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    try:
        # The service inherits the listening socket: a port that is free now is still ours then.
        with socket.create_server((HOST, 0)) as listener, log.open("wb") as output:
            port = listener.getsockname()[1]
            child = subprocess.Popen(
                [sys.executable, "-I", "-B", str(script), "--fd", str(listener.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(),),
                env=environment,
                start_new_session=True,
                cwd=script.parent,
            )
    except OSError as error:
        raise PlatformError(f"The service {script} can't be started: {error}") from error
    # When it ends before us, somebody must ask for its exit code, or it stays as a zombie.
    threading.Thread(target=child.wait, name=f"wait for {child.pid}", daemon=True).start()
    try:
        started = psutil.Process(child.pid).create_time()
    except psutil.Error:  # it has ended already, and will not be found alive
        started = 0.0
    return Process(pid=child.pid, started=started, port=port)


def find(process: Process, script: Path) -> psutil.Process | None:
    """Return the running process, or None if it has ended, also if another one has its pid by now."""
    try:
        found = psutil.Process(process.pid)
        if (
            abs(found.create_time() - process.started) < CLOCK_SECONDS
            and _runs(found, script)
            and found.status() != psutil.STATUS_ZOMBIE
        ):
            return found
    except psutil.Error:
        pass
    return None


def below(folder: Path) -> list[psutil.Process]:
    """Return every process that serves a package below a folder, whoever started it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if len(words) > 4 and words[4] == "--fd" and folder in Path(words[3]).parents:
                found.append(process)
    return found


def _runs(process: psutil.Process, script: Path) -> bool:
    return process.cmdline()[1:5] == ["-I", "-B", str(script), "--fd"]


def stop(process: psutil.Process, seconds: float = 10.0) -> None:
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


def wait_until_healthy(process: Process, script: Path, log: Path, digest: str, seconds: float) -> None:
    """Wait until a service answers that it serves the package of this digest.

    Raises
    ------
    PlatformError
        If it ends before (with the last lines of its log), serves another package, or takes too long.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = health(process, seconds=1.0)
        if answer is not None:
            if answer.get("digest") == digest:
                return
            raise PlatformError(f"The service on {process.url} serves {answer.get('digest')}, not {digest}.")
        if find(process, script) is None:
            raise PlatformError(
                f"The service ended while it started; its log ({log}) ends with:\n{_tail(log)}"
            )
        time.sleep(0.02)
    raise PlatformError(
        f"The service wasn't healthy after {seconds:g} seconds; its log ({log}) ends with:\n{_tail(log)}"
    )


def health(process: Process, seconds: float = 5.0) -> dict[str, Any] | None:
    """Return what a service says at /health, or None if it doesn't answer as it should."""
    connection = http.client.HTTPConnection(HOST, process.port, timeout=seconds)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        answer = json.loads(response.read(65536))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return answer if response.status == 200 and isinstance(answer, dict) else None


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])
    except OSError:
        return "(no log)"
