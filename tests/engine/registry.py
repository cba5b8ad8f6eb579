"""A real registry on loopback, and a proxy before it that can cut its connections."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAM = Path("/usr/bin/docker-registry")
START_SECONDS = 30.0

_SETTINGS = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Registry:
    """A registry that can be ended and started again with all that it holds.

    Parameters
    ----------
    folder : Path
        For what it keeps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What images are pushed to, with a path."""
        return f"127.0.0.1:{self.port}/mlops"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        settings = self.folder / "settings.yml"
        settings.write_text(_SETTINGS.format(root=self.folder / "root", port=self.port))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "serve", str(settings)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"the registry doesn't start:\n{(self.folder / 'log').read_text()[-2000:]}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stored(self) -> int:
        """Return how many bytes of blobs it keeps: what was pushed, compressed."""
        blobs = (self.folder / "root").rglob("blobs/sha256/*/*/data")
        return sum(path.stat().st_size for path in blobs)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Proxy:
    """Passes connections on to a registry until some bytes went through; then it cuts them all.

    Parameters
    ----------
    port : int
        Of the registry.
    limit : int
        It cuts after so many bytes to the registry, and lets nobody in from then on.
    """

    def __init__(self, port: int, limit: int) -> None:
        self.target, self.left = port, limit
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def reopen(self) -> None:
        """Let connections in again, and never cut them."""
        self.left = 2**40
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        self._end(self._listener)
        self.cut.set()
        with self._lock:
            for connection in list(self._open):
                self._end(connection)
            self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                with self._lock:
                    self._open |= {client, server}
                for source, sink, counted in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=(source, sink, counted), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                if counted:
                    self.left -= len(content)
                    if self.left < 0:
                        self.close()
                        return
                sink.sendall(content)
        for end in (source, sink):
            self._end(end)

    @staticmethod
    def _end(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


@contextlib.contextmanager
def cutting(port: int, limit: int) -> Iterator[Proxy]:
    """Have a proxy before a registry for a while."""
    proxy = Proxy(port, limit)
    try:
        yield proxy
    finally:
        proxy.close()
