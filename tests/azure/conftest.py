"""Outside of the sandbox: files that run in one. Inside: the cloud, and a workspace in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.azure import reporting, sandbox

if TYPE_CHECKING:
    from tests.azure.cloud import Cloud
    from utils.platforms.azureml import AzurePlatform
    from utils.platforms.azureml.workspace import Site

INSIDE = sandbox.FOLDER in os.environ
HERE = Path(__file__).parent

if not INSIDE:

    def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Collect a file of this folder without importing it: only inside there is an SDK."""
        if HERE not in module_path.parents:
            return None
        return reporting.File.from_parent(parent, path=module_path)

    def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Count the tests in a sandbox, and not the sandbox itself, as long as it has no fault of its own."""
        return ("", "", "") if report.nodeid.endswith(reporting.NAME) and report.passed else None

else:
    _config: list[pytest.Config] = []

    def pytest_configure(config: pytest.Config) -> None:
        """Keep the configuration, which knows how reports are written; what the SDK does is its own."""
        _config.append(config)
        for ignored in (
            "ResourceWarning",
            "PendingDeprecationWarning",
            r"DeprecationWarning:(azureml|msrest|adal|knack)\b.*",
        ):
            config.addinivalue_line("filterwarnings", f"ignore::{ignored}")

    def pytest_runtest_logreport(report: pytest.TestReport) -> None:
        """Write down what came of a test."""
        reporting.write(_config[0], report)


@pytest.fixture(scope="session")
def running() -> Iterator[Cloud]:
    from tests.azure.cloud import Cloud
    from tests.azure.cloud.server import sandbox as folder

    started = Cloud(folder())
    yield started
    started.close()


@pytest.fixture
def cloud(running: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    """An empty cloud, in whose subscription the environment signs in; what it doesn't know fails the test."""
    from tests.azure.sandbox import LOOKUPS

    lookups = running.folder / LOOKUPS
    lookups.write_text("")
    for name, value in running.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLOPS_AZUREML_POLL_SECONDS", "0.05")
    yield running
    violations, asked = list(running.violations), sorted(set(lookups.read_text().split()))
    running.reset()
    assert not violations, "\n".join(violations)
    assert not asked, f"names were looked up that are not listed: {', '.join(asked)}"


@pytest.fixture
def workspace(cloud: Cloud) -> Any:
    """A workspace that exists, as the SDK opens it."""
    from utils.platforms.azureml import sdk

    # First, because of the telemetry that the SDK decides on while it is imported.
    sdk.load()
    from azureml.core import Workspace
    from azureml.core.authentication import ServicePrincipalAuthentication

    from tests.azure.cloud import tokens
    from tests.azure.cloud.management import Management

    cloud.area(Management).make_group("mlops")
    cloud.area(Management).make_workspace("mlops", "mlops")
    signed_in = ServicePrincipalAuthentication(tokens.TENANT, tokens.CLIENT, tokens.SECRET)
    return Workspace.get("mlops", auth=signed_in, subscription_id=tokens.SUBSCRIPTION, resource_group="mlops")


@pytest.fixture
def site(cloud: Cloud) -> Site:
    """A workspace that exists, as the platform opens it."""
    from tests.azure.cloud.management import Management
    from utils.platforms.azureml.workspace import Site

    cloud.area(Management).make_group("mlops")
    cloud.area(Management).make_workspace("mlops", "mlops")
    return Site()


@pytest.fixture
def azure(site: Site) -> AzurePlatform:
    """The platform, in a workspace that exists."""
    from utils.platforms.azureml import AzurePlatform

    return AzurePlatform(site)
