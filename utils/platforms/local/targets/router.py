"""The router before the versions of a service: one HAProxy container, which keeps the address.

It is told a new route by a new configuration and a signal: its master starts another worker on the same
sockets, and the one before ends when it has answered its clients.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from utils import files, service_client
from utils.images.engines import Engine
from utils.platforms.local.targets import engine as engines
from utils.platforms.local.targets import haproxy
from utils.platforms.local.targets.haproxy import Backend
from utils.platforms.protocol import PlatformError

HOST = "127.0.0.1"
FILE = "haproxy.cfg"
CHECKED = "haproxy.next.cfg"
ATTEMPTS = 5

# A new worker is there within a second; the one before may take until its hard stop to let go.
READY_SECONDS = 20.0
REACH_SECONDS = 10.0
LEAVE_SECONDS = haproxy.STOP_SECONDS + 15.0
POLL_SECONDS = 0.02

OPTIONS = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65532:65532"),
    # A name that nobody has is asked for outside too, where nobody may answer: not for long, at the start.
    *("--dns-opt", "timeout:1", "--dns-opt", "attempts:1"),
    *("--memory", "512m", "--memory-swap", "512m", "--pids-limit", "64"),
    # Docker before 23 takes a container that got any signal by its command for one that somebody has stopped:
    # it comes back only with this policy, and only if what stops it is another signal, told here.
    *("--restart", "always", "--stop-signal", "USR1"),
)


class Router:
    """The HAProxy of one environment of one service.

    Parameters
    ----------
    engine : Engine
    name : str
        Of its container.
    image : str
        With `haproxy` on its search path.
    network : str
        In which the replicas have their names.
    labels : mapping
    folder : Path
        For its configuration, which anybody in the container may read: the folder above has to be private.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        image: str,
        network: str,
        labels: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name = name
        self._engine = engine
        self._image = image
        self._network = network
        self._labels = labels
        self._folder = folder

    # -------------------------------------------------------------- routes

    def lead(self, backends: Sequence[Backend], *, replica_port: int, port: int, certificate: bytes) -> str:
        """Lead the address's requests to versions, and return the address.

        When this returns, no worker is left that knows another route.

        Parameters
        ----------
        backends : sequence of Backend
        replica_port : int
            Where each replica listens.
        port : int
            Of the address; 0 for a free one. One that the router has already stays.
        certificate : bytes
            As PEM, with its key; empty for http.

        Raises
        ------
        PlatformError
            If the port is taken, HAProxy refuses the configuration, a version isn't reached through the
            address, or a worker doesn't let go. The route is the one before then.
        """
        pem = self._keep(certificate)
        text, generation = haproxy.render(backends, port=replica_port, certificate=pem)
        before = self._written()
        if not self.running():
            self._write(FILE, text.encode())
            self._start(port)
        elif self.generation() != generation:
            self._check(text)
            self._reload(text)
        try:
            self._settle(generation, backends, pem)
        except PlatformError:
            with contextlib.suppress(PlatformError):  # what is told is what went wrong first
                self._put_back(before)
            raise
        self._forget_certificates(pem)
        return f"{'https' if pem else 'http'}://{HOST}:{self._published(haproxy.PORT)}"

    def metrics(self) -> str:
        """Return where its metrics can be read from this machine; "" if it doesn't run."""
        port = self._published(haproxy.ADMIN_PORT)
        return f"http://{HOST}:{port}/metrics" if port else ""

    def generation(self) -> str:
        """Return which configuration whoever accepts connections now has; "" if nobody does."""
        port = self._published(haproxy.ADMIN_PORT)
        status, answer = _get(http.client.HTTPConnection(HOST, port, timeout=2.0), "/generation")
        return answer.decode() if status == 200 else ""

    def _settle(self, generation: str, backends: Sequence[Backend], pem: str) -> None:
        """Wait until the new worker serves every version, and is the only one."""
        self._await(lambda: self.generation() == generation, READY_SECONDS, "takes over no new route")
        for backend in backends:
            reaches = functools.partial(self._reaches, backend, pem)
            self._await(reaches, REACH_SECONDS, f"doesn't reach the version {backend.name}")
        self._await(lambda: self._workers() == 1, LEAVE_SECONDS, "still has clients on the route before")

    def _await(self, condition: Callable[[], bool], seconds: float, fault: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise PlatformError(
                    f"The router {self.name} {fault} after {seconds:g} seconds; its log ends with:\n"
                    f"{engines.ending(self._engine, self.name)}"
                )
            time.sleep(POLL_SECONDS)

    def _reaches(self, backend: Backend, pem: str) -> bool:
        """Whether the address leads to a version that is asked for by its header."""
        port = self._published(haproxy.PORT)
        connection = http.client.HTTPConnection(HOST, port, timeout=5.0)
        if pem:
            trust = service_client.trust(self._folder / pem)
            connection = http.client.HTTPSConnection(HOST, port, timeout=5.0, context=trust)
        status, answer = _get(connection, "/health/ready", {haproxy.HEADER: backend.name})
        with contextlib.suppress(ValueError):
            return status == 200 and json.loads(answer).get("digest") == backend.digest
        return False

    # -------------------------------------------------------------- configurations

    def _check(self, text: str) -> None:
        """Have a configuration read by the HAProxy that shall get it."""
        self._write(CHECKED, haproxy.strict(text).encode())
        path = f"{haproxy.FOLDER}/{CHECKED}"
        engines.do(
            self._engine,
            "take the new route: HAProxy refuses it",
            *("exec", self.name, "haproxy", "-c", "-f", path),
        )

    def _reload(self, text: str) -> None:
        self._write(FILE, text.encode())
        engines.do(self._engine, "reload the router", "kill", "--signal", "USR2", self.name)

    def _put_back(self, before: str | None) -> None:
        """Go back to the configuration before; without one, there is no router."""
        if before is None:
            (self._folder / FILE).unlink()
            engines.remove(self._engine, [self.name], haproxy.STOP_SECONDS)
        else:
            self._reload(before)

    def _keep(self, certificate: bytes) -> str:
        """Write a certificate beside the configuration, by a name that no other has; "" if there is none."""
        if not certificate:
            return ""
        name = f"{hashlib.sha256(certificate).hexdigest()[:16]}.pem"
        self._write(name, certificate)
        return name

    def _forget_certificates(self, pem: str) -> None:
        for path in self._folder.glob("*.pem"):
            if path.name != pem:
                path.unlink()

    def _written(self) -> str | None:
        try:
            return (self._folder / FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        share(self._folder / name, content)

    # -------------------------------------------------------------- the container

    def running(self) -> bool:
        """Whether its container runs."""
        found = engines.inspect(self._engine, [self.name]).get(self.name)
        return found is not None and bool(found["State"]["Running"])

    def _workers(self) -> int:
        """Count the processes in the container beside the master."""
        columns = ("-eo", "pid,ppid") if self._engine.name == "docker" else ("pid", "ppid")
        listed = engines.do(self._engine, "list the router's workers", "top", self.name, *columns)
        return len(listed.splitlines()) - 2

    def _published(self, port: int) -> int:
        """Return the port of this machine behind which one of the container's is; 0 if there is none."""
        found = engines.inspect(self._engine, [self.name]).get(self.name)
        bindings = (found or {}).get("NetworkSettings", {}).get("Ports", {}).get(f"{port}/tcp") or []
        return int(bindings[0]["HostPort"]) if bindings else 0

    def _start(self, port: int) -> None:
        """Start the container, or make it if there is none or another port is wanted."""
        engines.available(self._engine, self._image)
        engines.attempt(self._engine, "delete the stopped router", "rm", "--force", self.name)
        for attempt in range(1, ATTEMPTS + 1):
            chosen = port or _free_port()
            try:
                self._run(chosen)
            except PlatformError as error:
                engines.attempt(self._engine, "delete the router", "rm", "--force", self.name)
                if "already in use" not in str(error) and "already allocated" not in str(error):
                    raise
                if port:
                    raise PlatformError(
                        f"The port {port} of this service's address is taken by another program: end that "
                        f"one, then deploy again.\n{error}"
                    ) from error
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _run(self, port: int) -> None:
        engines.do(
            self._engine,
            "start the router",
            *("run", "--detach", "--name", self.name, "--network", self._network, *OPTIONS),
            *(word for name, value in self._labels.items() for word in ("--label", f"{name}={value}")),
            *engines.logging(self._engine),
            *("--publish", f"{HOST}:{port}:{haproxy.PORT}", "--publish", f"{HOST}::{haproxy.ADMIN_PORT}"),
            *("--mount", f"type=bind,source={self._folder},target={haproxy.FOLDER},readonly"),
            *("--entrypoint", "haproxy", self._image),
            *("-W", "-db", "-f", f"{haproxy.FOLDER}/{FILE}"),
        )


def share(path: Path, content: bytes) -> None:
    """Write a file that containers may read, whatever their user. The folder above its own is private."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    aside = files.write_bytes(path.parent.parent / f".{path.name}", content)
    aside.chmod(0o644)
    aside.replace(path)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _get(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Ask for a path; the status is 0 if there is no answer."""
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(2**16)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
