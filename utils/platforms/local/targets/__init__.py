"""Targets: where the versions of a service run, and how requests are led to one of them.

`LocalEndpoints` decides which version is live; a target starts versions, leads requests and stops versions.
What it has to know of a version later is a handle, which is kept in the environment's record.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from utils.platforms.local.settings import Settings

Handle = Mapping[str, Any]

# The module and class of each: only the one that is asked for is imported.
_TARGETS = {
    "process": ("processes", "Processes"),
    "containers": ("containers", "Containers"),
    "kubernetes": ("kubernetes", "Kubernetes"),
}
NAMES = tuple(_TARGETS)


@dataclass(frozen=True)
class Version:
    """A package that shall be started.

    Attributes
    ----------
    digest, model_version : str
    folder : Path
        A verified copy of the package, which stays as long as the version may be started again.
    image : str
        The image that was built from it, by its digest; "" where the target needs none.
    """

    digest: str
    model_version: str
    folder: Path
    image: str = ""


@dataclass(frozen=True)
class Site:
    """One environment of one service, as a target sees it.

    Attributes
    ----------
    service, environment : str
    folder : Path
        The environment's own, for what the target has to keep: sockets, logs, configurations.
    keys : Path
        The private file with the endpoint's two API keys, one a line.
    public_keys : str
        PEM text of the keys by which packages are verified.
    settings : Settings
    port : int
        The port of the address, once it has one; 0 before. The target should keep to it.
    """

    service: str
    environment: str
    folder: Path
    keys: Path
    public_keys: str
    settings: Settings
    port: int = 0


class Target(Protocol):
    """Starts, routes to and stops the versions of one service in one environment.

    Every method raises `PlatformError` when it can't do what was asked. A handle holds only what JSON
    can, and no secret.
    """

    def start(self, version: Version) -> Handle:
        """Start a version beside those that run; don't wait for it. The address doesn't lead to it yet."""
        ...

    def wait(self, handle: Handle, seconds: float) -> None:
        """Wait until a version is ready: verified, warm, right on its golden rows.

        Raises
        ------
        PlatformError
            With the end of its log, if it ends before or takes too long.
        """
        ...

    def route(self, shares: Sequence[tuple[Handle, int]]) -> str:
        """Lead the address's requests to these versions, each its share in per cent; return the address.

        Whoever got requests until now gets no new ones, finishes those that it has, and keeps running.
        No request is lost. The shares sum up to 100; a target that can't split refuses more than one.
        """
        ...

    def stop(self, handle: Handle) -> None:
        """Let a version finish what it has, and end it. One that has ended already is no error."""
        ...

    def alive(self, handle: Handle) -> bool:
        """Whether the version still runs."""
        ...

    def ready(self, handle: Handle) -> bool:
        """Whether the version runs, and says that it is ready to serve its own package."""
        ...

    def details(self, handle: Handle) -> dict[str, Any]:
        """Return what a person may want to know: pid, container, log, image."""
        ...

    def refresh_keys(self) -> None:
        """Let the versions that run take the endpoint's keys as they are now."""
        ...

    def clear(self) -> None:
        """Stop all that this service runs in this environment, whether or not anybody has its handle."""
        ...


def get(name: str, site: Site) -> Target:
    """Return a target of that name for one environment of one service."""
    module, kind = _TARGETS[name]
    target: Target = getattr(importlib.import_module(f"{__name__}.{module}"), kind)(site)
    return target


def recorded(state: Path) -> set[str]:
    """Return the targets that an environment's record names, also where it is damaged."""
    try:
        content = state.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {name for name in NAMES if f'"target": "{name}"' in content}
