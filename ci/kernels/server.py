"""The kernel server: a process that has imported much and forks a kernel whenever asked.

`python -m ci.kernels.server` takes the number of an inherited socket, the path of one to listen on (or ""),
the folder that its kernels shall see as the one it was started in, then names of modules.
When those are imported it writes one line of JSON, see `report`, on the inherited socket, as it does on each
connection that it accepts. From then on each message there brings the end of another socket, the kernel's
channel: on that it reads one line, `{"command": [...], "cwd": "...", "env": {...}}`, and the answers are
`{"pid": n}` or `{"refused": "..."}` and, when the kernel has ended, `{"exit": code}`. When a connection
closes it kills the kernels that were asked for there; when the inherited one does, it ends.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ci.kernels.child import become_kernel, launcher
from ci.kernels.preload import import_kernel, report

_REQUEST_SECONDS = 10.0


class Server:
    """Forks kernels, and tells whoever asked for one how it ended.

    Parameters
    ----------
    owner : socket
        Where the ends of the kernels' channels arrive, until it closes.
    about : dict
        Told on each connection.
    listener : socket or None
        Where others may connect to have kernels too.
    """

    def __init__(self, owner: socket.socket, about: dict[str, Any], listener: socket.socket | None) -> None:
        self._owner = owner
        self._about = about
        self._listener = listener
        self._controls = [owner]
        # By process id: the kernel's channel, and the connection where it was asked for.
        self._kernels: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> dict[str, Any] | None:
        """Fork a kernel for each request.

        Returns
        -------
        dict or None
            In a forked kernel: the request that it shall fulfil. In the server:
            None, when the owner's connection has been closed.
        """
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            listening = [self._listener] if self._listener else []
            ready, _, _ = select.select([*self._controls, self._woken, *listening], [], [])
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            for listener in listening:
                if listener in ready:
                    self._accept(listener)
            for control in [control for control in self._controls if control in ready]:
                channel = self._channel(control)
                if channel is None:
                    self._drop(control)
                    if control is self._owner:
                        return None
                else:
                    request = self._fork(channel, control)
                    if request is not None:
                        return request

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        # Whoever connects may be gone again, or stopped: nobody else shall wait for that.
        connection.settimeout(_REQUEST_SECONDS)
        try:
            send(connection, self._about)
        except OSError:
            connection.close()
            return
        connection.settimeout(None)
        self._controls.append(connection)

    def _channel(self, control: socket.socket) -> socket.socket | None:
        """Receive the end of a kernel's channel; None if there is none to come."""
        try:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except ConnectionResetError:  # closed before the first report was read
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else None

    def _fork(self, channel: socket.socket, control: socket.socket) -> dict[str, Any] | None:
        """Fork; return the request in the kernel, None in the server."""
        others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        try:
            channel.settimeout(_REQUEST_SECONDS)
            with channel.makefile("rb") as lines:
                request: dict[str, Any] = json.loads(lines.readline())
            if others:
                send(channel, {"refused": f"it runs the thread {others[0]!r}, which a kernel would miss"})
            request["server"] = os.getpid()
            pid = -1 if others else os.fork()
        except (OSError, ValueError):
            pid = -1
        if pid < 0:
            # Closed without a process: whoever asked gets another server, or an ordinary kernel.
            channel.close()
            return None
        if pid:
            self._kernels[pid] = channel, control
            return None
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        send(channel, {"pid": os.getpid()})
        channels = [channel for channel, _ in self._kernels.values()]
        listening = [self._listener] if self._listener else []
        for descriptor in (channel, *self._controls, *listening, self._woken, self._waker, *channels):
            descriptor.close()
        return request

    def _reap(self) -> None:
        """Tell of the kernels that have ended."""
        for pid, (channel, _) in list(self._kernels.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._kernels[pid]
                # Whoever asked may not want to know any more.
                with channel, suppress(OSError):
                    send(channel, {"exit": os.waitstatus_to_exitcode(status)})

    def _drop(self, control: socket.socket) -> None:
        """Close a connection, and kill its kernels; the owner's are all that there are."""
        self._controls.remove(control)
        control.close()
        for pid, (channel, asked) in list(self._kernels.items()):
            if asked is not control and control is not self._owner:
                continue
            del self._kernels[pid]
            channel.close()
            try:
                # With the processes of its group, as jupyter_client does.
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not made its own group yet
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Write one line of JSON."""
    channel.sendall(json.dumps(message).encode() + b"\n")


def stop_with_parent(control: socket.socket, *, watch: bool) -> None:
    """Let SIGIO end this process when the socket closes, even in the midst of an import; or no longer."""
    fcntl.fcntl(control, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(control, fcntl.F_GETFL)
    fcntl.fcntl(control, fcntl.F_SETFL, flags | os.O_ASYNC if watch else flags & ~os.O_ASYNC)
    if watch and select.select([control], [], [], 0)[0]:
        raise SystemExit(0)


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at a path, in the place of one that was left there."""
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(16)
    return listener


def forget_project() -> None:
    """Forget this project's modules: a kernel must find none that its notebook hasn't imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in {"ci", "utils"}:
            del sys.modules[name]


def main() -> None:
    """Preload, serve, and in each forked process run a kernel."""
    # The folder that the server was started from comes first in sys.path; a kernel never sees it.
    del sys.path[0]
    forget_project()
    owner = socket.socket(fileno=int(sys.argv[1]))
    owner.set_inheritable(False)
    path, home, modules, before = sys.argv[2], Path(sys.argv[3]), sys.argv[4:], dict(os.environ)
    os.chdir(home)
    sys.argv = [launcher()]

    # While it imports, nothing arrives but the end.
    stop_with_parent(owner, watch=True)
    # The collector would look through all modules again and again while they are imported.
    gc.disable()
    own = import_kernel()
    about = report(modules, before)
    stop_with_parent(owner, watch=False)
    # A kernel's collector need not look at what was here before it: that would copy every page of it, and
    # take a second when the kernel ends (https://docs.python.org/3/library/gc.html#gc.freeze).
    gc.freeze()
    gc.enable()
    listener = listen(Path(path)) if path else None
    with suppress(BrokenPipeError):  # then `serve` sees the end
        send(owner, about)
    set_by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}

    request = Server(owner, about, listener).serve()
    if request is not None:
        become_kernel(request, set_by_imports, home, own)
    elif path:
        Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
