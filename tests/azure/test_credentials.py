"""Signing in for real: every way that an environment may offer, tokens that expire, refusals in one line."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure import names
from tests.azure.cloud import Cloud, faults, tokens
from tests.azure.cloud.identity import Identity
from tests.azure.cloud.management import Management
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError

Offer = Callable[[Cloud, Path, pytest.MonkeyPatch], None]


def _certificate(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ci")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ci-certificate").write_bytes(secret + made)
    cloud.area(Identity).certificates.append(made)
    patch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(folder / "ci-certificate"))


def _federated(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "token").write_text("the job's own token")
    cloud.area(Identity).assertions.add("the job's own token")
    patch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(folder / "token"))


def _job(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://localhost/job/token?api-version=2")
    patch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")


def _app_service(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("IDENTITY_ENDPOINT", "http://localhost/msi/token")
    patch.setenv("IDENTITY_HEADER", "proof")


def _compute_instance(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("MSI_ENDPOINT", "http://localhost/msi/token")
    patch.setenv("MSI_SECRET", "proof")


def _virtual_machine(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AZURE_USE_MSI", "1")
    patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://localhost")


def _cli(cloud: Cloud, folder: Path, patch: pytest.MonkeyPatch) -> None:
    token = {"accessToken": cloud.token(), "expiresOn": "2099-01-01 00:00:00.000000", "tokenType": "Bearer"}
    script = f"#!/bin/sh\necho \"$@\" >> {folder}/asked\ncat <<'END'\n{json.dumps(token)}\nEND\n"
    (folder / "az").write_text(script)
    (folder / "az").chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


WAYS = {
    "certificate": _certificate,
    "federated token": _federated,
    "federated token of a job": _job,
    "managed identity": _app_service,
    "managed identity of a compute instance": _compute_instance,
    "managed identity of a virtual machine": _virtual_machine,
    "Azure CLI": _cli,
}


@pytest.fixture
def made(cloud: Cloud) -> None:
    """A workspace."""
    cloud.area(Management).make_group("mlops")
    cloud.area(Management).make_workspace("mlops", "mlops")


@pytest.mark.parametrize("way", WAYS)
def test_the_workspace_opens_by_every_way_to_sign_in(
    way: str, cloud: Cloud, made: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    if "certificate" not in way and "federated" not in way:
        monkeypatch.delenv("AZURE_CLIENT_ID")
    WAYS[way](cloud, tmp_path, monkeypatch)
    site = Site()
    assert site.workspace.name == "mlops"
    assert way.split(" of ")[0] in site.way.words


def test_the_cli_is_asked_for_a_token_of_the_tenant_and_not_for_each_call(
    cloud: Cloud, made: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    _cli(cloud, tmp_path, monkeypatch)
    site = Site()
    assert site.workspace.name == "mlops"
    site.find()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 1
    assert "account get-access-token" in asked[0]
    assert tokens.TENANT in asked[0]


def test_signing_in_is_told_by_its_name_where_the_workspace_is_shown(site: Site) -> None:
    shown = site.provision().location
    assert f"as service principal {tokens.CLIENT} by secret" in shown
    assert tokens.SECRET not in shown


def test_one_token_does_for_many_calls(cloud: Cloud, site: Site) -> None:
    assert site.workspace.name == "mlops"
    for _ in range(5):
        site.find()
    assert cloud.area(Identity).given == 1


def test_a_token_is_renewed_before_it_expires(cloud: Cloud, site: Site) -> None:
    cloud.area(Identity).minutes = 4
    assert site.workspace.name == "mlops"
    cloud.area(Identity).minutes = 60
    site.find()
    site.find()
    assert cloud.area(Identity).given == 2
    assert {call.status for call in cloud.calls} == {200}


def test_a_token_that_expires_between_two_calls_is_renewed(cloud: Cloud, site: Site) -> None:
    assert site.workspace.name == "mlops"
    cloud.area(Identity).revoke()
    assert site.find() is not None
    assert [call.status for call in cloud.calls if call.host == names.MANAGEMENT][-2:] == [401, 200]


def test_each_renewal_has_a_new_federated_token_of_the_job(
    cloud: Cloud, made: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    _job(cloud, tmp_path, monkeypatch)
    site = Site()
    assert site.workspace.name == "mlops"
    cloud.area(Identity).assertions.clear()
    cloud.area(Identity).revoke()
    assert site.find() is not None
    assert [call.path for call in cloud.calls].count("/job/token") == 2


def test_a_sign_in_that_is_taken_no_more_is_one_error_after_one_renewal(cloud: Cloud, site: Site) -> None:
    assert site.workspace.name == "mlops"
    refusal = faults.refused(401, "InvalidAuthenticationToken", "The token is of another tenant.")
    cloud.faults.add("GET", "/workspaces/", [refusal] * 9)
    with pytest.raises(
        PlatformError, match=r"InvalidAuthenticationToken, HTTP 401, request .*az login"
    ) as refused:
        site.find()
    assert "\n" not in str(refused.value)
    assert cloud.faults.happened == 2


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("AZURE_CLIENT_SECRET", "not-the-secret", "AADSTS7000215"),
        ("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555", "AADSTS700016"),
    ],
)
def test_a_wrong_sign_in_is_told_with_its_code_and_no_secret(
    variable: str, value: str, code: str, made: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(PlatformError) as refused:
        _ = Site().workspace
    told = str(refused.value)
    assert told.startswith("Can't sign in to Azure as service principal")
    assert f"({code}" in told
    assert variable in told
    assert "\n" not in told
    for secret in (tokens.SECRET, "not-the-secret"):
        assert secret not in told


def test_a_sign_in_service_that_is_throttled_is_asked_again_when_it_says(cloud: Cloud, made: None) -> None:
    cloud.faults.add("POST", "/oauth2/v2.0/token", [faults.too_many(0.1), faults.server_error(503)])
    assert Site().workspace.name == "mlops"
    assert cloud.faults.left == 0


def test_where_the_sign_in_service_cannot_be_reached_the_network_is_named(cloud: Cloud, made: None) -> None:
    cloud.faults.add("GET|POST", "/oauth2/|openid-configuration", [faults.cut()] * 20)
    with pytest.raises(PlatformError, match=r"Can't sign in to Azure.*Look at the network") as refused:
        _ = Site().workspace
    assert "\n" not in str(refused.value)
