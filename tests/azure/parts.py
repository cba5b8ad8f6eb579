"""Parts of the Azure platform on a workspace in the stand-in, without those that they don't need."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from tests.azure import names
from tests.azure.cloud import Cloud, tokens
from tests.azure.cloud.history import History
from tests.azure.cloud.management import Management
from tests.azure.cloud.routing import identity
from tests.utils.conftest import model_folder, signable

if TYPE_CHECKING:
    from utils.platforms.azureml.history import AzureHistory
    from utils.platforms.azureml.registry import AzureRegistry
    from utils.platforms.azureml.workspace import Site
    from utils.platforms.protocol import Platform

__all__ = ["Serving", "model_folder", "platform", "serving", "signable", "step"]


@dataclass
class Serving:
    """What production serves, as a test has it.

    Attributes
    ----------
    versions : dict
        The confirmed model version of each service.
    """

    versions: dict[str, str] = field(default_factory=dict)
    asks: Callable[[str], str | None] | None = None

    def __call__(self, service: str) -> str | None:
        """Return the version of a service, or None."""
        return self.asks(service) if self.asks else self.versions.get(service)


@pytest.fixture
def serving() -> Serving:
    """What production serves: nothing yet."""
    return Serving()


@dataclass
class Parts:
    """As much of a platform as run history and registry are."""

    history: AzureHistory
    registry: AzureRegistry
    name: str = "azureml"


@pytest.fixture
def platform(site: Site, serving: Serving) -> Platform:
    """Run history and registry in a new workspace."""
    from utils.platforms.azureml.history import AzureHistory
    from utils.platforms.azureml.registry import AzureRegistry

    history = AzureHistory(site)
    return cast("Platform", Parts(history, AzureRegistry(site, history, serving)))


@pytest.fixture
def step(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The workspace as a step of a run sees it on the platform's compute: with the run's own token alone."""
    from utils.platforms.azureml.workspace import Site

    history, management = cloud.area(History), cloud.area(Management)
    management.make_group("mlops")
    made = management.make_workspace("mlops", "mlops")
    # The SDK keeps the first run of an id that it has seen in a process.
    run = f"step-{identity()}"
    history.begin(run, "demo", status="Running", run_type="azureml.StepRun")
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    services = f"https://{names.SERVICES}"
    for name, value in {
        "AZUREML_RUN_ID": run,
        "AZUREML_ARM_SUBSCRIPTION": tokens.SUBSCRIPTION,
        "AZUREML_ARM_RESOURCEGROUP": "mlops",
        "AZUREML_ARM_WORKSPACE_NAME": "mlops",
        "AZUREML_ARM_PROJECT_NAME": "demo",
        "AZUREML_EXPERIMENT_ID": history.experiment("demo").experiment_id,
        "AZUREML_WORKSPACE_ID": made["properties"]["workspaceId"],
        "AZUREML_SERVICE_ENDPOINT": services,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{services}/discovery",
        "AZUREML_RUN_TOKEN": cloud.token(60),
        "AZUREML_RUN_TOKEN_EXPIRY": str(int(time.time()) + 3600),
    }.items():
        monkeypatch.setenv(name, value)
    return Site()
