"""Signing by the workspace's own key: made once, kept in its key vault, never on a disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.azure.cloud import Cloud, datastores, faults
from tests.azure.cloud.identity import Identity
from tests.azure.cloud.secrets import Vault
from tests.azure.parts import *  # noqa: F403
from utils import signatures, signing_keys
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

CHOICE = "mlops/signing.json"


def chosen(cloud: Cloud) -> str:
    """Return the fingerprint that the workspace's choice names."""
    blob = cloud.blobs.get_blob_client(datastores.CONTAINER, CHOICE)
    return str(json.loads(blob.download_blob().readall())["fingerprint"])


def choose(cloud: Cloud, content: bytes) -> None:
    """Write the workspace's choice."""
    cloud.blobs.get_blob_client(datastores.CONTAINER, CHOICE).upload_blob(content, overwrite=True)


def another_job(site: Site) -> Site:
    """Return the workspace as another process sees it."""
    return type(site)()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *signing_keys.SECRET_VARIABLES,
        signing_keys.PUBLIC_KEY_VARIABLE,
        signing_keys.PUBLIC_KEY_FILE_VARIABLE,
    ):
        monkeypatch.delenv(name, raising=False)


def test_the_workspaces_key_is_made_once_and_holds_for_every_job(
    cloud: Cloud, site: Site, signable: Path
) -> None:
    from utils.platforms.azureml import signing

    signer = signing.sign(signable, site)
    other = another_job(site)
    assert signing.verify(signable, other) == signer
    assert signing.sign(signable, other) == signer == chosen(cloud)
    assert len(cloud.area(Vault).secrets) == 2
    (signable / "golden.json").write_text("{}")
    with pytest.raises(PlatformError, match=r"golden\.json"):
        signing.verify(signable, other)


def test_the_private_key_is_nowhere_but_in_the_vault_and_whoever_verifies_does_not_read_it(
    cloud: Cloud, site: Site, signable: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from utils.platforms.azureml import signing

    signing.sign(signable, site)
    vault = cloud.area(Vault)
    secret = next(value for value in vault.secrets.values() if "PRIVATE" in value)
    vault.given.clear()
    signing.verify(signable, another_job(site))
    assert [name.rpartition("-")[0] for name in vault.given] == ["mlops-signing-public"]
    assert "PRIVATE" not in vault.secrets[vault.given[0]]
    body = secret.splitlines()[1]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if body.encode() in path.read_bytes()]
    assert body not in repr(cloud.calls)
    container = cloud.blobs.get_container_client(datastores.CONTAINER)
    assert not [
        blob.name
        for blob in container.list_blobs()
        if body.encode() in container.download_blob(blob.name).readall()
    ]
    assert capfd.readouterr() == ("", "")


def test_two_jobs_that_make_a_key_at_once_agree_on_one(cloud: Cloud, site: Site, signable: Path) -> None:
    from utils.platforms.azureml import signing

    others: list[str] = []

    def meanwhile() -> None:
        others.append(signing._private(another_job(site)).fingerprint)

    # Both have found that there is none.
    cloud.faults.add("PUT", "/secrets:putbatch$", [faults.delayed(meanwhile)])
    mine = signing.sign(signable, site)
    assert others == [mine] == [chosen(cloud)]
    assert all(name.endswith(mine[:32]) for name in cloud.area(Vault).secrets), (
        "what wasn't chosen is deleted"
    )
    assert signing.verify(signable, another_job(site)) == mine


def test_a_job_that_broke_off_before_the_choice_leaves_the_choice_to_the_next(
    cloud: Cloud, site: Site, signable: Path
) -> None:
    from utils.platforms.azureml import signing

    cloud.area(Vault).secrets["mlops-signing-key-0000"] = "of a job that broke off"
    signer = signing.sign(signable, site)
    assert signing.verify(signable, site) == signer


def test_keys_of_the_environment_come_first(
    cloud: Cloud, site: Site, signable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from utils.platforms.azureml import signing

    own, trusted = signing_keys.generate(), signing_keys.generate()
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, own.private_pem())
    assert signing.sign(signable, site) == own.fingerprint
    assert signing.verify(signable, site) == own.fingerprint
    monkeypatch.setenv(signing_keys.PUBLIC_KEY_VARIABLE, trusted.public_pem)
    with pytest.raises(PlatformError):
        signing.verify(signable, site)
    assert cloud.calls == []


def test_without_any_key_nothing_is_verified_and_none_is_made(
    cloud: Cloud, site: Site, signable: Path
) -> None:
    from utils.platforms.azureml import signing

    signatures.sign(signable, signing_keys.generate())
    with pytest.raises(PlatformError, match=r"no key to verify by.*MLOPS_SIGNING_PUBLIC_KEY"):
        signing.verify(signable, site)
    assert cloud.area(Vault).secrets == {}


def test_a_key_that_was_exchanged_in_the_vault_is_refused(cloud: Cloud, site: Site, signable: Path) -> None:
    from utils.platforms.azureml import signing

    signing.sign(signable, site)
    vault, forged = cloud.area(Vault), signing_keys.generate()
    for name in list(vault.secrets):
        vault.secrets[name] = forged.public_pem if "public" in name else forged.private_pem()
    with pytest.raises(PlatformError, match=r"isn't the public key of that fingerprint"):
        signing.verify(signable, site)
    with pytest.raises(PlatformError, match=r"isn't the key of that fingerprint"):
        signing.sign(signable, site)


def test_a_choice_that_was_changed_in_the_data_store_leads_to_no_key_of_others(
    cloud: Cloud, site: Site, signable: Path
) -> None:
    from utils.platforms.azureml import signing

    signing.sign(signable, site)
    forged = signing_keys.generate()
    choose(cloud, json.dumps({"fingerprint": forged.fingerprint}).encode())
    for ask in (signing.sign, signing.verify):
        with pytest.raises(PlatformError, match=r"no secret mlops-signing-.*Recover it"):
            ask(signable, site)
    choose(cloud, b"no JSON")
    for ask in (signing.sign, signing.verify):
        with pytest.raises(PlatformError, match=r"doesn't name a key: it was changed"):
            ask(signable, site)


def test_a_vault_that_cannot_be_read_makes_no_new_key(cloud: Cloud, site: Site, signable: Path) -> None:
    from utils.platforms.azureml import signing

    signing.sign(signable, site)
    before = dict(cloud.area(Vault).secrets)
    refusal = faults.refused(403, "Forbidden", "The identity may not read secrets.")
    for ask in (signing.sign, signing.verify):
        cloud.faults.add("POST", "/secrets:getbatch$", [refusal])
        with pytest.raises(PlatformError, match=r"may not read secrets.*Forbidden.*403"):
            ask(signable, site)
    assert cloud.area(Vault).secrets == before


@pytest.mark.parametrize("fault", [faults.too_many(0), faults.cut(), faults.lost()])
def test_a_fault_in_passing_is_overcome(
    cloud: Cloud, site: Site, signable: Path, fault: faults.Fault
) -> None:
    from utils.platforms.azureml import signing

    cloud.faults.add("PUT", "/secrets:putbatch$", [fault])
    signer = signing.sign(signable, site)
    assert cloud.faults.happened == 1
    assert signing.verify(signable, site) == signer
    assert len(cloud.area(Vault).secrets) == 2


def test_a_token_that_expires_between_two_calls_is_renewed(cloud: Cloud, site: Site, signable: Path) -> None:
    from utils.platforms.azureml import signing

    expired = faults.refused(401, "ExpiredAuthenticationToken", "The access token has expired.")
    cloud.faults.add("PUT", "/secrets:putbatch$", [expired])
    signing.sign(signable, site)
    assert cloud.area(Identity).given == 2


def test_a_step_on_the_platforms_compute_signs_by_the_same_key(
    cloud: Cloud, step: Site, signable: Path
) -> None:
    from utils.platforms.azureml import signing

    signer = signing.sign(signable, step)
    assert signing.verify(signable, another_job(step)) == signer == chosen(cloud)
    assert not [call for call in cloud.calls if call.host == "management.azure.com"]
