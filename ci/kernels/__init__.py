"""Kernels that start in a fraction of a second, forked from a process that has imported everything.

A fresh kernel spends seconds importing what the one before it imported. Here one process,
the kernel server, imports it once and forks whenever a notebook needs a kernel.
Nothing else about the notebook changes: papermill and nbclient manage the kernel as ever.

    with Kernels(["pandas", "sklearn.linear_model"]) as kernels:
        papermill.execute_notebook(notebook, output, **kernels.engine_options())

As in a fresh kernel are: the namespace, sys.argv, sys.path, the folder and what can be imported
from it, the environment, the state of `random` and of numpy's global generator, signals, exit
codes, standard streams, matplotlib's inline figures, thread pools, subprocesses.

A notebook could tell a forked kernel by this:

- `sys.modules` holds what was preloaded, also what the notebook doesn't import, with its effects:
  environment variables it set, warning filters (ordered otherwise among IPython's), formats it registered.
- What a package prints or warns of while it is imported does not appear in the notebook.
- Hashes of strings are the same in all kernels of one server (a fresh kernel has its own seed,
  unless PYTHONHASHSEED is set), and so is the order of sets. Addresses are alike.
- A module's own random generator, made when it was imported, is in the same state in all of them.
- A project's module that was preloaded is as it was when the server started.
- `ps` shows the server's command line.

So preload what is installed, and start a server for each run. A variable that is read once and for all,
when Python or a library starts (PYTHONPATH, OMP_NUM_THREADS, ...), must be set before the server
starts; a launch that has it otherwise gets a fresh kernel. So does one with another interpreter,
or after an import has left a thread running, which a fork would lose.

MLOPS_KERNELS=fresh turns all of it off. Without os.fork (Windows) it is off. On macOS it is off
unless MLOPS_KERNELS=forked, because Apple's own libraries may crash in a forked process
(https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

VARIABLE = "MLOPS_KERNELS"
# What such variables start with: they are read when Python starts or a library is loaded, and never again.
READ_ONCE = (
    "ARROW_",
    "BLIS_",
    "DYLD_",
    "GOTO_",
    "HOME",
    "KMP_",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "MLFLOW_CONFIGURE_LOGGING",
    "MLFLOW_LOGGING_LEVEL",
    "MPL",
    "NUMBA_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "VECLIB_",
    "XDG_",
)
_PRELOAD_SECONDS = 180.0
_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 5.0

log = logging.getLogger(__name__)


class ForkedProcess:
    """What jupyter_client asks of `subprocess.Popen`, for a process that is the server's child.

    Parameters
    ----------
    channel : socket
        Where the server tells the process's id and, later, how it ended.

    Raises
    ------
    OSError, ValueError
        If there is no such process after all.
    """

    stdin = stdout = stderr = None

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._received = b""
        self.returncode: int | None = None
        first = self._message(_ANSWER_SECONDS)
        if "pid" not in first:
            raise ValueError("the kernel server forked no kernel")
        self.pid = int(first["pid"])

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises
        ------
        subprocess.TimeoutExpired
            If it runs longer than `timeout` seconds.
        """
        if self.returncode is None:
            try:
                message = self._message(timeout)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"kernel {self.pid}", timeout or 0) from None
            except OSError:
                message = {}
            self._channel.close()
            if "exit" not in message:
                # The server has died. The kernel would follow in a second, and nobody could say how it ended.
                self._signal(signal.SIGKILL)
            self.returncode = int(message.get("exit", -signal.SIGKILL))
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            self._signal(signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def _message(self, timeout: float | None) -> dict[str, Any]:
        """Return the next message; {} if there is none to come."""
        message, self._received = _read_line(self._channel, self._received, timeout)
        return message


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

    Raises
    ------
    ValueError
        If the environment variable MLOPS_KERNELS is neither fresh nor forked.
    """

    def __init__(self, preload: Sequence[str], output: Path | None = None) -> None:
        self._preload = list(preload)
        self._output = output
        self._forks = _forks_wanted()
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._environment: dict[str, str] = {}
        self._unsafe: str | None = None

    def __enter__(self) -> Kernels:
        if self._forks:
            self._environment = dict(os.environ)
            self._control, theirs = socket.socketpair()
            script = str(Path(__file__).with_name("server.py"))
            with theirs, contextlib.ExitStack() as stack:
                output = stack.enter_context(self._output.open("ab")) if self._output else None
                self._server = subprocess.Popen(
                    [sys.executable, script, str(theirs.fileno()), *self._preload],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C in the terminal is for the runner, who interrupts the kernel.
                    start_new_session=True,
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is None or self._control is None:
            return
        self._control.close()
        try:
            self._server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its kernels watch over it, and end when it does.
            self._server.kill()
            self._server.wait()
        self._server = self._control = None

    def engine_options(self) -> dict[str, Any]:
        """Return what to pass to `papermill.execute_notebook` so that its kernel is forked.

        Returns
        -------
        dict
            Empty where kernels are fresh.
        """
        if not self._forks:
            return {}
        # Imports jupyter_client, which takes a while: the server should start before.
        from ci.kernels.provisioner import ForkingKernelManager

        return {
            "kernel_manager_class": type("ForkingKernelManager", (ForkingKernelManager,), {"kernels": self})
        }

    def fork(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> ForkedProcess | None:
        """Fork a kernel.

        Parameters
        ----------
        command : sequence of str
            What would start a fresh one.
        cwd : str
            The folder to run in.
        env : mapping
            All of its environment.

        Returns
        -------
        ForkedProcess or None
            None if it has to be a fresh kernel; the log says why.
        """
        with self._lock:
            if self._control is None:
                refusal = "there is no kernel server"
            else:
                refusal = self._difference(command, cwd, env) or self._await_preload(self._control)
                if not refusal:
                    try:
                        return _request(self._control, command, cwd, env)
                    except (OSError, ValueError) as error:
                        refusal = f"the kernel server doesn't answer ({error})"
        log.warning("A fresh kernel is started, which takes longer: %s.", refusal)
        return None

    def _difference(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> str:
        """Say why a forked kernel would not be what is asked for, or ""."""
        # An installed kernel's option for the sake of debuggers; nothing else differs.
        words = [word for word in command if word != "-Xfrozen_modules=off"]
        if words[:3] != [sys.executable, "-m", "ipykernel_launcher"]:
            return f"its command is not this Python's kernel ({' '.join(command)})"
        names = {name for name in (*self._environment, *env) if name.startswith(READ_ONCE)}
        changed = sorted(name for name in names if self._environment.get(name) != env.get(name))
        if changed:
            return f"{', '.join(changed)} changed since the kernel server started"
        return "" if Path(cwd).is_dir() else f"{cwd} is no folder"

    def _await_preload(self, control: socket.socket) -> str:
        """Wait until the server has imported everything; say why it can't be forked, or ""."""
        if self._unsafe is None:
            try:
                report, _ = _read_line(control, b"", _PRELOAD_SECONDS)
            except OSError as error:
                report = {"unsafe": f"the kernel server is not ready ({error})"}
            for warning in report.get("warnings", []):
                log.warning("%s", warning)
            self._unsafe = report.get("unsafe", "the kernel server ended while it imported")
        return self._unsafe


def _forks_wanted() -> bool:
    wish = os.environ.get(VARIABLE, "")
    if wish not in {"", "fresh", "forked"}:
        raise ValueError(f"{VARIABLE}={wish!r}: it must be fresh or forked, or not set at all.")
    return wish != "fresh" and hasattr(os, "fork") and (wish == "forked" or sys.platform != "darwin")


def _request(
    control: socket.socket, command: Sequence[str], cwd: str, env: Mapping[str, str]
) -> ForkedProcess:
    """Ask the server for a kernel, over a channel that then stays for its exit code."""
    channel, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(control, [b"k"], [theirs.fileno()])
        request = {"command": list(command), "cwd": cwd, "env": dict(env)}
        channel.sendall(json.dumps(request).encode() + b"\n")
        return ForkedProcess(channel)
    except BaseException:
        channel.close()
        raise


def _read_line(
    channel: socket.socket, received: bytes, timeout: float | None
) -> tuple[dict[str, Any], bytes]:
    """Return the next line of JSON, {} at the end, and what came after it.

    Raises
    ------
    OSError
        If it doesn't come within `timeout` seconds, or the other side has died.
    """
    until = None if timeout is None else time.monotonic() + timeout
    while b"\n" not in received:
        channel.settimeout(None if until is None else max(until - time.monotonic(), 0))
        part = channel.recv(65536)
        if not part:
            return {}, b""
        received += part
    line, _, rest = received.partition(b"\n")
    message: dict[str, Any] = json.loads(line)
    return message, rest
