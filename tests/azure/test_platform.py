"""The platform as a whole: what all platforms have to be, on a workspace of Azure ML."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure.cloud import Cloud
from utils import platforms, signing_keys
from utils.platforms.azureml import AzurePlatform, sdk
from utils.platforms.protocol import Platform, PlatformError


def test_the_platform_fulfils_the_protocol_and_has_been_asked_nothing(
    cloud: Cloud, azure: AzurePlatform
) -> None:
    assert isinstance(azure, Platform)
    assert azure.name == "azureml"
    assert cloud.calls == []


def test_checking_asks_azure_nothing(cloud: Cloud) -> None:
    platforms.get("azureml").check()
    assert cloud.calls == []


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("AZURE_SUBSCRIPTION_ID", r"isn't set up: set in parameters/azureml\.yml, azureml: subscription"),
        ("AZURE_CLIENT_SECRET", "are set, but neither AZURE_CLIENT_SECRET"),
    ],
)
def test_what_is_missing_is_told_before_anything_runs(
    cloud: Cloud, variable: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(variable)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match=said) as refused:
        platforms.get("azureml").check()
    assert "\n" not in str(refused.value)


def test_a_key_that_would_not_sign_is_refused_before_anything_runs(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_keys.generate().private_pem())
    with pytest.raises(PlatformError, match="MLOPS_SIGNING_KEY is set, but packages are made on"):
        platforms.get("azureml").check()
    monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_TARGET", "local")
    platforms.get("azureml").check()
    assert cloud.calls == []


def test_without_the_sdk_it_is_said_how_to_install_it(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "installed", lambda: False)
    with pytest.raises(
        PlatformError, match="needs azureml-sdk, which isn't installed here: run `make azureml`"
    ):
        platforms.get("azureml").check()


def test_provisioning_makes_everything_once_and_finds_it_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_AZUREML_REGION", "westeurope")
    first = platforms.get("azureml").provision()
    assert {resource.name: resource.state for resource in first} == dict.fromkeys(
        ["workspace", "run history", "model registry", "data store", "compute", "environment"], "created"
    )
    again = platforms.get("azureml").provision()
    assert [resource.name for resource in again] == [resource.name for resource in first]
    assert {resource.state for resource in again} == {"found"}
