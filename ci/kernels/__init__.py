"""Warm kernels: forked from a process that has imported everything, so that they start at once.

A fresh kernel spends seconds importing what the one before it imported. Here one process,
the kernel server, imports it once and forks whenever a notebook needs a kernel.
Nothing else about the notebook changes: papermill and nbclient manage the kernel as ever.

    with Kernels(["pandas", "sklearn.linear_model"]) as kernels:
        papermill.execute_notebook(notebook, output, **kernels.engine_options())

As in an ordinary kernel are: the namespace, sys.argv, sys.path, the folder and what can be imported
from it, the environment, the state of `random` and of numpy's global generator, signals, exit
codes, standard streams, matplotlib's inline figures, thread pools, subprocesses.

A notebook could tell a warm kernel by this:

- `sys.modules` holds what was preloaded, also what the notebook doesn't import, with its effects:
  environment variables it set, warning filters (ordered otherwise among IPython's), formats it registered.
- What a package prints or warns of while it is imported does not appear in the notebook.
- Hashes of strings are the same in all kernels of one server (an ordinary kernel has its own seed,
  unless PYTHONHASHSEED is set), and so is the order of sets. Addresses are alike.
- A module's own random generator, made when it was imported, is in the same state in all of them.
- `ps` shows the server's command line.

What lies in the folder where the server was started is never preloaded for a kernel: a project's own
modules are imported anew by each. A variable that is read once and for all, when Python or a library
starts (PYTHONPATH, OMP_NUM_THREADS, ...), must be set before the server starts; a launch that has it
otherwise gets an ordinary kernel. So does one with another interpreter, or after an import has left a thread
running, which a fork would lose. A server that has died, hangs, or is older than an installed package is
replaced, once; then kernels are ordinary, and the log says so.

Where a person keeps a server ready (`python -m ci kernels`), its kernels are used. On macOS, whose
libraries may crash in a forked process
(https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods),
and on Windows, kernels are ordinary.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ci.kernels import address, fitness
from ci.kernels.preload import packages
from ci.kernels.process import ForkedProcess, read_line
from utils import project

_STOP_SECONDS = 5.0
# A socket's path may have 104 characters at most, on some systems; its name takes a dozen of them.
_SOCKET_PATH = 88

log = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """A kernel server has died, hangs or is out of date; another may do better."""


def available() -> bool:
    """Whether this system can have warm kernels."""
    return hasattr(os, "fork") and sys.platform != "darwin"


class Kernels:
    """Kernels forked from one preloaded process.

    Entering starts the server and returns at once; the first launch waits until
    it has imported everything. Leaving stops the server and every kernel it
    forked; so does the end of this process, however it comes.

    Parameters
    ----------
    preload : sequence of str
        Full names of modules to import once. What can't be imported is a
        warning in the log: the notebook that needs it will say so in its turn.
    output : Path, optional
        The file to which server and kernels append what they print outside of
        any notebook, such as ipykernel's own complaints; this process's
        streams unless given.
    warm : bool
        False for ordinary kernels: no server is started.
    listen : bool
        Whether other processes of the same person may have kernels from this server; otherwise
        such a server is used where there is one.
    """

    # Seconds to wait for a server's imports, and for its answer to a request.
    preload_seconds = 180.0
    answer_seconds = 30.0

    def __init__(
        self, preload: Sequence[str], output: Path | None = None, *, warm: bool = True, listen: bool = False
    ) -> None:
        self._preload = list(preload)
        self._output = output
        self._warm = warm and available()
        self._listen = listen
        self._lock = threading.Lock()
        self._replaced = False
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._report: dict[str, Any] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Kernels:
        if self._warm:
            self._folder = tempfile.TemporaryDirectory(prefix="kernels-")
            try:
                if not self._join():
                    self._start()
            except BaseException:
                self._folder.cleanup()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop(_STOP_SECONDS)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def sockets(self) -> Path | None:
        """The folder for kernels' sockets, this person's alone; None where a path there would be too long."""
        if self._folder is None or len(self._folder.name) > _SOCKET_PATH:
            return None
        return Path(self._folder.name)

    @property
    def server(self) -> int | None:
        """The process id of the server that this object has started, if it has."""
        return self._process.pid if self._process else None

    def engine_options(self) -> dict[str, Any]:
        """Return what to pass to `papermill.execute_notebook` so that its kernel is forked.

        Returns
        -------
        dict
            Empty where kernels are ordinary.
        """
        if not self._warm:
            return {}
        # Imports jupyter_client, which takes a while: the server should start before.
        from ci.kernels.provisioner import WarmKernelManager

        return {"kernel_manager_class": type("WarmKernelManager", (WarmKernelManager,), {"kernels": self})}

    def ready(self) -> list[str]:
        """Wait until the server has imported everything; return what it warns of.

        Raises
        ------
        ServerError
            If it didn't get there, or has left a thread running that a fork would lose.
        """
        with self._lock:
            report = self._await()
            if report["unsafe"]:
                raise ServerError(report["unsafe"])
            return list(report["warnings"])

    def fork(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> ForkedProcess | None:
        """Fork a kernel.

        Parameters
        ----------
        command : sequence of str
            What would start an ordinary one.
        cwd : str
            The folder to run in.
        env : mapping
            All of its environment.

        Returns
        -------
        ForkedProcess or None
            None if it has to be an ordinary kernel; the log says why.
        """
        with self._lock:
            refusal = "there is no kernel server" if self._control is None else fitness.unfit(command, cwd)
            while not refusal and self._control is not None:
                try:
                    report = self._await()
                    refusal = report["unsafe"] or fitness.difference(report["environment"], env)
                    if not refusal:
                        return self._request(self._control, command, cwd, env)
                except ServerError as error:
                    refusal = self._replace(str(error))
        log.warning("An ordinary kernel is started, which takes longer: %s.", refusal)
        return None

    def _join(self) -> bool:
        """Connect to the server that a person keeps ready for this project, if there is one that will do."""
        if self._listen:
            return False
        found = address.connect()
        if found is None:
            return False
        try:
            report, _ = read_line(found, b"", self.answer_seconds)
        except (OSError, ValueError):
            report = {}
        reason = fitness.unusable(report, self._preload)
        if reason:
            log.warning("The kernels that are kept ready can't be used: %s; start them again.", reason)
            found.close()
            return False
        self._control, self._report = found, report
        return True

    def _start(self) -> None:
        """Start a server of our own."""
        path = str(address.prepare()) if self._listen else ""
        self._control, theirs = socket.socketpair()
        output = self._output.open("ab") if self._output else None
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "ci.kernels.server",
                    str(theirs.fileno()),
                    path,
                    Path.cwd(),
                    *self._preload,
                ],
                # Nothing that lies where the runner was started may take the place of its modules.
                cwd=project.root(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                # Ctrl-C in the terminal is for the runner, who interrupts the kernel.
                start_new_session=True,
            )
        finally:
            theirs.close()
            if output is not None:
                output.close()

    def _stop(self, patience: float) -> None:
        """End the server, if it is ours, and every kernel that was forked from it for us."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)  # for whoever waits there in another thread
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                # Its kernels watch over it, and end when it does.
                self._process.kill()
                self._process.wait()
        self._control = self._process = self._report = None

    def _replace(self, reason: str) -> str:
        """Start another server in the place of a broken one, unless that has been done; say what keeps it."""
        if self._replaced:
            return reason
        self._replaced = True
        log.warning("The kernel server is replaced, which takes some seconds: %s.", reason)
        self._stop(0)
        self._start()
        return ""

    def _await(self) -> dict[str, Any]:
        """Wait until the server has imported everything, and check that it is still up to date."""
        if self._control is None:
            raise ServerError("there is no kernel server")
        if self._report is None:
            try:
                report, _ = read_line(self._control, b"", self.preload_seconds)
            except OSError as error:
                raise ServerError(f"the kernel server is not ready ({error})") from error
            if not report:
                raise ServerError("the kernel server ended while it imported")
            self._report = report
            for warning in report["warnings"]:
                log.warning("%s", warning)
        if self._report["packages"] != packages():
            raise ServerError("an installed package has changed since the kernel server started")
        return self._report

    def _request(
        self, control: socket.socket, command: Sequence[str], cwd: str, env: Mapping[str, str]
    ) -> ForkedProcess:
        """Ask the server for a kernel, over a channel that then stays for its exit code."""
        channel, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(control, [b"k"], [theirs.fileno()])
            request = {"command": list(command), "cwd": cwd, "env": dict(env)}
            channel.sendall(json.dumps(request).encode() + b"\n")
            return ForkedProcess(channel, self.answer_seconds)
        except (OSError, ValueError) as error:
            channel.close()
            raise ServerError(f"the kernel server doesn't answer ({error})") from error
        except BaseException:
            channel.close()
            raise
