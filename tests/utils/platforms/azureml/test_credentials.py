"""How the platform signs in: by what the environment offers, and never by asking."""

import os
import stat
from pathlib import Path

import pytest

from utils.platforms.azureml import credentials
from utils.platforms.protocol import PlatformError

PRINCIPAL = {"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "tenant"}
JOB = {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://localhost", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}
RUN = {
    "AZUREML_RUN_ID": "run",
    "AZUREML_ARM_SUBSCRIPTION": "subscription",
    "AZUREML_ARM_RESOURCEGROUP": "group",
    "AZUREML_ARM_WORKSPACE_NAME": "workspace",
}


@pytest.fixture(autouse=True)
def nothing_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that offers nothing: no variable, no Azure CLI."""
    for name in os.environ:
        if name.startswith(("AZURE", "IDENTITY_", "MSI_", "ACTIONS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def cli(tmp_path: Path) -> None:
    """An Azure CLI."""
    command = tmp_path / "az"
    command.write_text("#!/bin/sh\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)


def _offer(monkeypatch: pytest.MonkeyPatch, *offers: dict[str, str]) -> None:
    for offer in offers:
        for name, value in offer.items():
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("offers", "kind"),
    [
        ([RUN, PRINCIPAL, {"AZURE_CLIENT_SECRET": "s"}], "run"),
        ([PRINCIPAL, {"AZURE_CLIENT_SECRET": "s", "AZURE_USE_MSI": "1"}], "secret"),
        ([PRINCIPAL, {"AZURE_CLIENT_CERTIFICATE_PATH": __file__, "IDENTITY_ENDPOINT": "x"}], "certificate"),
        ([PRINCIPAL, {"AZURE_FEDERATED_TOKEN_FILE": __file__, "IDENTITY_ENDPOINT": "x"}], "federated"),
        ([PRINCIPAL, JOB, {"IDENTITY_ENDPOINT": "x"}], "job"),
        ([{"IDENTITY_ENDPOINT": "http://localhost/msi/token"}], "managed"),
        ([{"MSI_ENDPOINT": "http://localhost/msi/token"}], "managed"),
        ([{"AZURE_USE_MSI": "true", "AZURE_CLIENT_ID": "mine"}], "managed"),
        ([], "cli"),
        ([{"AZURE_TENANT_ID": "tenant"}], "cli"),
    ],
)
def test_the_first_that_is_offered_is_taken(
    offers: list[dict[str, str]], kind: str, cli: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(monkeypatch, *offers)
    assert credentials.choose().kind == kind


def test_what_is_said_of_it_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, PRINCIPAL, {"AZURE_CLIENT_SECRET": "hush"})
    assert credentials.choose().words == "service principal app by secret"


@pytest.mark.parametrize(
    ("offer", "refusal"),
    [
        (
            {"AZURE_CLIENT_SECRET": "s"},
            "AZURE_CLIENT_SECRET is set, but not AZURE_CLIENT_ID and AZURE_TENANT_ID",
        ),
        ({"AZURE_CLIENT_SECRET": "s", "AZURE_CLIENT_ID": "app"}, "but not AZURE_TENANT_ID"),
        (
            PRINCIPAL,
            "neither AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH nor AZURE_FEDERATED_TOKEN_FILE",
        ),
        ({**PRINCIPAL, "AZURE_FEDERATED_TOKEN_FILE": "/nowhere"}, "/nowhere, which isn't a file"),
        ({}, "Nothing to sign in to Azure with: set AZURE_TENANT_ID"),
    ],
)
def test_half_of_something_and_nothing_are_refused_with_what_to_set(
    offer: dict[str, str], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(monkeypatch, offer)
    with pytest.raises(PlatformError, match=refusal) as refused:
        credentials.choose()
    assert "\n" not in str(refused.value)
