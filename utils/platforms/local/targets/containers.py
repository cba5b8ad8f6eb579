"""Services as containers of this machine's engine, with a router before them that keeps the address.

A version is some containers of one image, in a network of the environment's own. Nothing of it can be reached
from outside but through the router. Both come back by themselves, after a fault and after a reboot.

The API keys are in a file that the containers see and nobody else: its mode lets the containers' user read
it, and the folder that it is in on this machine lets nobody get there. Neither the command lines nor what the
engine tells of a container holds them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from utils.images.engines import Engine
from utils.platforms.local.targets import Handle, Site, Version, haproxy
from utils.platforms.local.targets import engine as engines
from utils.platforms.local.targets.router import Router, share
from utils.platforms.protocol import PlatformError

PORT = 5001  # of the service in its image
USER = "65532:65532"
KEYS_FOLDER = "/run/scoring"
PIDS = 256
POLL_SECONDS = 0.1

# A service that is stopped finishes what it has accepted within the first, and is ended after the second.
DRAIN_SECONDS = 10
STOP_SECONDS = 20

# By these everything is found again without a record.
LABEL = "mlops-notebooks"

# Asked in the container itself: its address can't be reached from outside with every engine. A bare socket,
# since importing an HTTP client takes longer than all the rest.
_READY = (
    f"import socket; s = socket.create_connection(('127.0.0.1', {PORT}), 5); "
    "s.sendall(b'GET /health/ready HTTP/1.0\\r\\nhost: localhost\\r\\n\\r\\n'); "
    "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
)


class Containers:
    """Versions in containers; see `utils.platforms.local.targets.Target`.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        # Two checkouts may serve the same names on the same engine.
        place = hashlib.sha256(str(site.folder.resolve()).encode()).hexdigest()[:8]
        self._prefix = f"{_slug(site.service, 16)}-{_slug(site.environment, 12)}-{place[:6]}"
        self._labels = {
            f"{LABEL}.service": site.service,
            f"{LABEL}.environment": site.environment,
            f"{LABEL}.place": place,
        }

    # -------------------------------------------------------------- versions

    def start(self, version: Version) -> Handle:
        """Start a version's containers; don't wait for them.

        Raises
        ------
        PlatformError
            If no engine answers, the image can't be had, or a container can't be made. None is left then.
        """
        if not version.image:
            raise PlatformError(
                f"The package {version.digest[:12]} has no image, as it was packaged for another target: "
                "what serving.target says now holds for the next version that is packaged."
            )
        engines.available(self._engine, version.image)
        self._make_network()
        self.refresh_keys()
        stem = f"{self._prefix}-{version.digest[:12]}-{secrets.token_hex(2)}"
        names = [f"{stem}-{number}" for number in range(1, self._site.settings.replicas + 1)]
        try:
            for name in names:
                engines.do(self._engine, f"start {name}", *self._command(name, version))
        except BaseException:
            engines.attempt(self._engine, "delete its containers", "rm", "--force", "--volumes", *names)
            raise
        return {"digest": version.digest, "image": version.image, "containers": names}

    def wait(self, handle: Handle, seconds: float) -> None:
        """Wait until every container is ready; from then on the engine restarts them.

        Raises
        ------
        PlatformError
            With the end of its log, if one ends before or takes too long.
        """
        end = time.monotonic() + seconds
        waiting = list(handle["containers"])
        while waiting:
            told = engines.inspect(self._engine, waiting)
            for name in waiting:
                if name not in told:
                    raise PlatformError(f"The container {name} is gone: somebody deleted it. Deploy again.")
                if not told[name]["State"]["Running"] or told[name].get("RestartCount"):
                    raise PlatformError(
                        f"The container {name} {engines.cause(told[name])}; its log ends with:\n"
                        f"{engines.ending(self._engine, name)}"
                    )
            waiting = [name for name in waiting if not self._answers(name, handle["digest"])]
            if waiting and time.monotonic() > end:
                raise PlatformError(
                    f"The container {waiting[0]} wasn't ready after {seconds:g} seconds; its log ends with:\n"
                    f"{engines.ending(self._engine, waiting[0])}"
                )
            if waiting:
                time.sleep(POLL_SECONDS)
        if self._engine.name == "docker":
            names = handle["containers"]
            engines.do(self._engine, "keep it running", "update", "--restart", "unless-stopped", *names)

    def stop(self, handle: Handle) -> None:
        """Let a version's containers finish what they have, and delete them."""
        engines.remove(self._engine, handle["containers"], STOP_SECONDS)

    def alive(self, handle: Handle) -> bool:
        """Whether at least one of the version's containers runs."""
        return any(told["State"]["Running"] for told in self._told(handle).values())

    def ready(self, handle: Handle) -> bool:
        """Whether all of the version's containers run and say that they serve its package."""
        told = self._told(handle)
        return all(
            name in told and told[name]["State"]["Running"] and self._answers(name, handle["digest"])
            for name in handle["containers"]
        )

    def details(self, handle: Handle) -> dict[str, Any]:
        """Return the containers with their state, the image, and where logs and metrics are."""
        told = self._told(handle)
        return {
            "image": handle["image"],
            "containers": [
                {
                    "name": name,
                    "state": told[name]["State"]["Status"] if name in told else "gone",
                    "restarts": int(told[name].get("RestartCount") or 0) if name in told else 0,
                    "started": told[name]["State"]["StartedAt"] if name in told else "",
                }
                for name in handle["containers"]
            ],
            "router": self._router.name,
            "reachable": self._router.running(),
            "certificate": self._site.settings.certificate,
            "metrics": self._router.metrics(),
            "log": f"{self._engine.name} logs {handle['containers'][0]}",
        }

    # -------------------------------------------------------------- the address

    def route(self, shares: Sequence[tuple[Handle, int]]) -> str:
        """Lead the address's requests to these versions; see `Target.route`.

        A request with the header ``x-scoring-version`` and the first 12 digits of a version's digest goes to
        that one, also if its share is 0.

        Raises
        ------
        PlatformError
            If a version doesn't run, the address's port is taken, or the router doesn't take the new route.
            Then the route is the one before.
        """
        if not shares or sum(share for _, share in shares) != 100 or any(share < 0 for _, share in shares):
            raise PlatformError("The shares of the versions don't sum up to 100 per cent.")
        if len({handle["digest"] for handle, _ in shares}) < len(shares):
            raise PlatformError("Two of the versions are the same package: give it one share.")
        for handle, _ in shares:
            if not self.alive(handle):
                raise PlatformError(f"The version {handle['digest'][:12]} doesn't run: deploy it again.")
        self.refresh_keys()
        backends = [
            haproxy.Backend(handle["digest"], share, tuple(handle["containers"])) for handle, share in shares
        ]
        return self._router.lead(
            backends, replica_port=PORT, port=self._site.port, certificate=self._certificate()
        )

    def refresh_keys(self) -> None:
        """Give the containers the endpoint's keys as they are now; the services take them within seconds.

        Raises
        ------
        PlatformError
            If they can't be read or written.
        """
        try:
            self._private()
            share(self._folder / "keys" / "keys", self._site.keys.read_bytes())
        except OSError as error:
            raise PlatformError(f"The API keys can't be given to the containers: {error}") from error

    def clear(self) -> None:
        """Stop all containers of this service and environment, the router and the network too."""
        # The router first: versions end at once when nobody keeps a connection to them.
        engines.remove(self._engine, [self._router.name], STOP_SECONDS)
        engines.remove(self._engine, engines.labelled(self._engine, self._labels), STOP_SECONDS)
        engines.attempt(self._engine, "delete its network", "network", "rm", self._prefix)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder)

    # -------------------------------------------------------------- its parts

    @cached_property
    def _engine(self) -> Engine:
        return engines.find(self._site.settings.engine)

    @cached_property
    def _router(self) -> Router:
        return Router(
            self._engine,
            name=f"{self._prefix}-router",
            image=self._site.settings.router_image,
            network=self._prefix,
            labels=self._labels,
            folder=self._folder / "router",
        )

    @property
    def _folder(self) -> Path:
        return self._site.folder.resolve() / "containers"

    def _private(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def _certificate(self) -> bytes:
        if not self._site.settings.certificate:
            return b""
        try:
            return Path(self._site.settings.certificate).read_bytes()
        except OSError as error:
            raise PlatformError(f"The certificate (serving.certificate) can't be read: {error}") from error

    def _make_network(self) -> None:
        labels = [word for name, value in self._labels.items() for word in ("--label", f"{name}={value}")]
        # By its name in full: another's may begin with it.
        if not engines.attempt(self._engine, "find its network", "network", "inspect", self._prefix):
            engines.do(self._engine, "make its network", "network", "create", *labels, self._prefix)

    def _command(self, name: str, version: Version) -> list[str]:
        """Return the command that starts a container."""
        settings = self._site.settings
        labels = {
            **self._labels,
            f"{LABEL}.digest": version.digest,
            f"{LABEL}.model-version": version.model_version,
        }
        environment = {
            "SCORING_KEYS_FILE": f"{KEYS_FOLDER}/keys",
            "SCORING_REQUIRE_KEYS": "1",
            "SCORING_PUBLIC_KEY": self._site.public_keys,
            "SCORING_DRAIN_SECONDS": str(DRAIN_SECONDS),
        }
        # With Docker a version is restarted once it was ready: one that can't start shall say so by its end.
        restart = "no" if self._engine.name == "docker" else "unless-stopped"
        return [
            *("run", "--detach", "--name", name, "--network", self._prefix, "--restart", restart),
            *("--read-only", "--tmpfs", "/tmp:rw,noexec,nosuid,size=64m", "--user", USER),  # noqa: S108
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(PIDS)),
            *("--memory", settings.memory, "--memory-swap", settings.memory),
            *("--cpu-period", "100000", "--cpu-quota", str(round(settings.cpus * 100_000))),
            *("--stop-timeout", str(STOP_SECONDS)),
            *engines.logging(self._engine),
            *(word for label, value in labels.items() for word in ("--label", f"{label}={value}")),
            *(word for key, value in environment.items() if value for word in ("--env", f"{key}={value}")),
            *("--mount", f"type=bind,source={self._folder / 'keys'},target={KEYS_FOLDER},readonly"),
            *(version.image, "--workers", str(settings.workers)),
        ]

    def _told(self, handle: Handle) -> dict[str, dict[str, Any]]:
        return engines.inspect(self._engine, handle["containers"])

    def _answers(self, name: str, digest: str) -> bool:
        """Whether a container says that it is ready to serve the package."""
        answer = engines.answer(self._engine, "exec", name, "python3", "-I", "-S", "-c", _READY)
        head, _, body = answer.partition("\n\n")  # as text, lines end so
        with contextlib.suppress(ValueError, AttributeError):
            return " 200 " in head.partition("\n")[0] and json.loads(body).get("digest") == digest
        return False


def _slug(name: str, length: int) -> str:
    """Shorten a name to what the engines and the DNS take."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:length].strip("-") or "service"
