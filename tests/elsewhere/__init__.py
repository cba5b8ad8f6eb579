"""A platform for tests, beside `local`: steps run as processes of their own, on machines of their own.

The tests put this folder below utils/platforms of a copy of the project; whoever works there has one platform
more. ELSEWHERE names the folder that stands for the service: run history and registry, what is published
and kept, and the jobs. Each node of a job has a home of its own: nothing is there that wasn't handed over.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.platforms.local import LocalPlatform
from utils.platforms.local.endpoints import LocalEndpoints
from utils.platforms.local.history import LocalHistory
from utils.platforms.local.images import LocalImages
from utils.platforms.local.registry import LocalRegistry
from utils.platforms.local.store import Store
from utils.platforms.protocol import Resource

from .compute import Compute

if TYPE_CHECKING:
    from utils.platforms.protocol import Retraining


@dataclass(frozen=True)
class Elsewhere(LocalPlatform):
    """The local platform with compute of its own."""

    retraining: Retraining  # type: ignore[assignment] # another than there is on this machine
    name: str = "elsewhere"

    def provision(self) -> list[Resource]:
        """Make what isn't there, once: what MLflow makes takes seconds, which most tests can do without."""
        made = self.workspace.parent / "provisioned"
        if made.exists():
            return [Resource("run history", "found", "elsewhere")]
        resources = super().provision()
        made.touch()
        return resources


def create() -> Elsewhere:
    """Return the platform that ELSEWHERE names."""
    service = Path(os.environ["ELSEWHERE"])
    workspace = service / "workspace"
    store = Store(workspace)
    return Elsewhere(
        workspace=workspace,
        store=store,
        history=LocalHistory(store),
        registry=LocalRegistry(store),
        images=LocalImages(workspace / "images"),
        endpoints=LocalEndpoints(workspace),
        retraining=Compute(service),
    )
