"""The kernel server: a process that has imported much and forks a kernel whenever asked.

`ci.kernels` runs this file as a script, never as a module: a kernel must find nothing of
this project's in `sys.modules` that its notebook hasn't imported.

It takes the number of an inherited socket, then names of modules. When those are imported
it writes one line of JSON, `{"warnings": [...], "unsafe": "..."}`. From then on each message
on the socket brings the end of another socket, the kernel's channel: there it reads one line,
`{"command": [...], "cwd": "...", "env": {...}}`, and the answers are `{"pid": n}` and, when the
kernel has ended, `{"exit": code}`. When the socket closes it kills its kernels and ends.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

# What every kernel imports, before the notebook's first cell.
KERNEL_MODULES = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.iostream", "ipykernel.displayhook")
INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
# Native threads that look after themselves when a process forks: jemalloc (inside Arrow) restarts its own.
FORK_AWARE_THREADS = frozenset({"jemalloc_bg_thd"})
_REQUEST_SECONDS = 10.0


class LateStream:
    """Stands in for a standard stream while modules are imported.

    Whoever keeps it, such as a logging handler, later writes to what the stream
    is then: the notebook's output, as after an import in the kernel itself. What
    is written during the imports is dropped.
    """

    def __init__(self, name: str, original: TextIO) -> None:
        self._name = name
        self._original = original

    def write(self, text: str) -> int:
        """Write to the stream of that name, unless that is this one."""
        stream = getattr(sys, self._name)
        return len(text) if stream is self else int(stream.write(text))

    def __getattr__(self, attribute: str) -> Any:
        stream = getattr(sys, self._name)
        return getattr(self._original if stream is self else stream, attribute)


@contextmanager
def late_streams() -> Iterator[None]:
    """Put a `LateStream` in the place of stdout and stderr."""
    original = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = LateStream("stdout", sys.stdout), LateStream("stderr", sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = original


@contextmanager
def notebook_path() -> Iterator[None]:
    """Let the current folder be imported from, at the place in sys.path where IPython puts it."""
    folders = [Path(entry).name for entry in sys.path]
    place = next((folders.index(name) for name in folders if name in {"site-packages", "dist-packages"}), 0)
    sys.path.insert(place, "")
    try:
        yield
    finally:
        sys.path.remove("")


def preload(modules: Sequence[str]) -> tuple[list[str], str]:
    """Import modules, and find out whether the process can still be forked.

    Parameters
    ----------
    modules : sequence of str
        Full names.

    Returns
    -------
    warnings : list of str
        Which modules could not be imported, and why.
    unsafe : str
        Which threads a fork would lose, and who started them; "" if none.
    """
    # ipykernel sets it before the first cell; matplotlib reads it when it is imported.
    os.environ.setdefault("MPLBACKEND", INLINE_BACKEND)
    failures = []
    starters = dict.fromkeys(threads(), "the server")
    with late_streams(), notebook_path():
        for module in (*KERNEL_MODULES, *modules):
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:
                failures.append(f"{module} could not be preloaded: {type(error).__name__}: {error}")
            starters = dict.fromkeys(threads(), module) | starters
    # It finds IPython's shell when it is imported, and there is none yet.
    sys.modules.pop("matplotlib_inline.backend_inline", None)
    lost = {starters.get(thread, "?"): name for thread, name in lost_threads().items()}
    unsafe = ", ".join(f"importing {module} started the thread {name!r}" for module, name in lost.items())
    return failures, unsafe


def threads() -> dict[int, str]:
    """Return the name of every thread but the main one, by its native id; where /proc is, native ones too."""
    main = threading.main_thread()
    found = {thread.native_id or 0: thread.name for thread in threading.enumerate() if thread is not main}
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        for task in tasks.iterdir():
            if int(task.name) != os.getpid():
                try:
                    found.setdefault(int(task.name), (task / "comm").read_text().strip())
                except OSError:  # it has just ended
                    continue
    return found


def lost_threads() -> dict[int, str]:
    """Return the threads that a forked kernel would miss.

    Forking is what tells: OpenBLAS ends its threads before a fork and starts them
    when next it needs them (pthread_atfork), so those that are left after one are not so careful.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of the very threads that are looked for here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return {thread: name for thread, name in threads().items() if name not in FORK_AWARE_THREADS}


class Server:
    """Forks kernels, and tells whoever asked for one how it ended.

    Parameters
    ----------
    control : socket
        Where the ends of the kernels' channels arrive.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._kernels: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> dict[str, Any] | None:
        """Fork a kernel for each request.

        Returns
        -------
        dict or None
            In a forked kernel: the request that it shall fulfil. In the server:
            None, when the control socket has been closed.
        """
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            if self._control in ready:
                channel = self._channel()
                if channel is None:
                    self._kill()
                    return None
                request = self._fork(channel)
                if request is not None:
                    return request

    def _channel(self) -> socket.socket | None:
        """Receive the end of a kernel's channel; None if there is none to come."""
        try:
            _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except ConnectionResetError:  # closed before the first report was read
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else None

    def _fork(self, channel: socket.socket) -> dict[str, Any] | None:
        """Fork; return the request in the kernel, None in the server."""
        try:
            channel.settimeout(_REQUEST_SECONDS)
            with channel.makefile("rb") as lines:
                request: dict[str, Any] = json.loads(lines.readline())
            request["server"] = os.getpid()
            pid = os.fork()
        except (OSError, ValueError):
            # Closed without an answer: whoever asked starts a fresh kernel instead.
            channel.close()
            return None
        if pid:
            self._kernels[pid] = channel
            return None
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        send(channel, {"pid": os.getpid()})
        for descriptor in (channel, self._control, self._woken, self._waker, *self._kernels.values()):
            descriptor.close()
        return request

    def _reap(self) -> None:
        """Tell of the kernels that have ended."""
        for pid, channel in list(self._kernels.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._kernels[pid]
                # Whoever asked may not want to know any more.
                with channel, suppress(OSError):
                    send(channel, {"exit": os.waitstatus_to_exitcode(status)})

    def _kill(self) -> None:
        """Kill every kernel, with the processes of its group as jupyter_client does."""
        for pid, channel in self._kernels.items():
            channel.close()
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not made its own group yet
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Write one line of JSON."""
    channel.sendall(json.dumps(message).encode() + b"\n")


def become_kernel(request: dict[str, Any], set_by_imports: dict[str, str], home: Path) -> None:
    """Make a forked process what `python -m ipykernel_launcher` makes of a fresh one, and run it.

    Parameters
    ----------
    request : dict
        command (of the fresh kernel), cwd, env, and server (its process id).
    set_by_imports : dict
        Environment variables that the preloaded modules set.
    home : Path
        The folder in which the server imported.
    """
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(set_by_imports | request["env"])
    time.tzset()
    command = request["command"]
    sys.argv = [launcher(), *command[command.index("ipykernel_launcher") + 1 :]]
    sys.orig_argv = command
    importlib.invalidate_caches()
    # Python itself seeds `random` after a fork; numpy doesn't.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()

    from ipykernel.kernelapp import IPKernelApp

    # The kernel ends when its parent does, and that is the server, whatever JPY_PARENT_PID says.
    app: Any = IPKernelApp.instance(parent_handle=request["server"])
    app.initialize()
    forget_shadowed(home)
    app.start()


def launcher() -> str:
    """Return the path of ipykernel_launcher.py, a kernel's sys.argv[0]."""
    spec = importlib.util.find_spec("ipykernel_launcher")
    return spec.origin or "" if spec else ""


def forget_shadowed(home: Path) -> None:
    """Forget modules that an import here would find elsewhere, or not at all.

    They are those which lie in the folder where the server imported, and those
    of whose names there is a file in the current folder, which goes before site-packages.

    Parameters
    ----------
    home : Path
        The folder in which the server imported.
    """
    tops = {name for name in sys.modules if "." not in name} - sys.stdlib_module_names
    here = {entry.name.partition(".")[0] for entry in Path().iterdir()}
    for name in tops - {"__main__"}:
        spec = getattr(sys.modules[name], "__spec__", None)
        origin = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if not (name in here or (origin and home in (origin.parent, origin.parent.parent))):
            continue
        module = sys.modules.pop(name)
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        if spec and found and found.origin == spec.origin:
            sys.modules[name] = module
            continue
        for other in [other for other in sys.modules if other.startswith(f"{name}.")]:
            del sys.modules[other]


def stop_with_parent(control: socket.socket, *, watch: bool) -> None:
    """Let SIGIO end this process when the socket closes, even in the midst of an import; or no longer."""
    fcntl.fcntl(control, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(control, fcntl.F_GETFL)
    fcntl.fcntl(control, fcntl.F_SETFL, flags | os.O_ASYNC if watch else flags & ~os.O_ASYNC)
    if watch and select.select([control], [], [], 0)[0]:
        raise SystemExit(0)


def main() -> None:
    """Preload, serve, and in each forked process run a kernel."""
    # A script's folder comes first in sys.path; a kernel never sees it.
    if sys.path and sys.path[0] == str(Path(__file__).parent):
        del sys.path[0]
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    modules, home, before = sys.argv[2:], Path.cwd(), dict(os.environ)
    sys.argv = [launcher()]

    # While it imports, nothing arrives but the end.
    stop_with_parent(control, watch=True)
    failures, unsafe = preload(modules)
    stop_with_parent(control, watch=False)
    # A kernel's collector need not look at what was here before it: that would copy every page of it, and
    # take a second when the kernel ends (https://docs.python.org/3/library/gc.html#gc.freeze).
    gc.collect()
    gc.freeze()
    with suppress(BrokenPipeError):  # then `serve` sees the end
        send(control, {"warnings": failures, "unsafe": unsafe})
    set_by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}

    request = Server(control).serve()
    if request is not None:
        become_kernel(request, set_by_imports, home)


if __name__ == "__main__":
    main()
