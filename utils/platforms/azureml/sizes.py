"""How big web services are, and what else the SDK is told of a new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import sdk

if TYPE_CHECKING:
    from utils.platforms.azureml.options import Aks, Settings


def configuration(kind: str, given: Settings, tags: Mapping[str, str], keys: tuple[str, str] | None) -> Any:
    """Return the SDK's configuration of a new service."""
    primary, secondary = keys or (None, None)
    common: dict[str, Any] = {
        "tags": dict(tags),
        "auth_enabled": True,
        "primary_key": primary,
        "secondary_key": secondary,
    }
    core = sdk.core()
    if kind == "ACI":
        return core.webservice.AciWebservice.deploy_configuration(
            cpu_cores=given.aci.cpu, memory_gb=given.aci.memory_gb, **common
        )
    return core.webservice.AksWebservice.deploy_configuration(**of_replicas(given.aks), **common)


def of_replicas(given: Aks) -> dict[str, Any]:
    """Return what a service on the cluster gets, and how many replicas it has."""
    sizes = {"cpu_cores": given.cpu, "memory_gb": given.memory_gb}
    if given.max_replicas <= given.replicas:
        return {**sizes, "autoscale_enabled": False, "num_replicas": given.replicas}
    return {
        **sizes,
        "autoscale_enabled": True,
        "autoscale_min_replicas": given.replicas,
        "autoscale_max_replicas": given.max_replicas,
    }
