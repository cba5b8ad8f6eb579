"""A web service, as Azure tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Running:
    """A web service, as Azure has it.

    Attributes
    ----------
    name : str
    kind : str
        "ACI" or "AKS".
    state : str
        "Transitioning", "Healthy", "Unhealthy", "Failed" or "Unschedulable".
    models : sequence of str
        The ids of the registered models that it is made of, as it was told last.
    tags : mapping
    url : str
        Its scoring address; "" as long as it has none.
    operation : str
        The id of the last operation on it, "" if Azure doesn't tell.
    image_digest : str
        Of the image that Azure has made for it.
    error : mapping
        What Azure says that is wrong with it.
    replicas : mapping
        How many there are to be, are new, and are available.
    """

    name: str
    kind: str
    state: str
    models: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    operation: str = ""
    image_digest: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)
    replicas: Mapping[str, Any] = field(default_factory=dict)

    def runs(self, model: str) -> bool:
        """Whether it is made of a registered model; whether it is healthy as well says `state`."""
        return model in self.models

    @property
    def healthy(self) -> bool:
        """Whether it serves what it was told last."""
        return self.state == "Healthy"


def read(found: Mapping[str, Any]) -> Running:
    """Read what the service for web services answers."""
    told = found.get("environmentImageRequest") or {}
    models = [each["id"] for each in found.get("models") or []]
    status = found.get("deploymentStatus") or {}
    return Running(
        name=found["name"],
        kind=found["computeType"],
        state=found.get("state") or "Transitioning",
        models=models or told.get("modelIds") or (),
        tags=found.get("kvTags") or {},
        url=found.get("scoringUri") or "",
        operation=found.get("operationId") or "",
        image_digest=found.get("imageDigest") or "",
        error=found.get("error") or {},
        replicas={
            name: status[name]
            for name in ("desiredReplicas", "updatedReplicas", "availableReplicas")
            if name in status
        },
    )
