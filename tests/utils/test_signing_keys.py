"""Keys come from where they were put, are for their owner alone, and are never shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from utils import files, project, signing_keys
from utils.files import PrivacyError
from utils.scoring.signatures import SignatureError
from utils.signing_keys import SigningKey


@pytest.fixture(autouse=True)
def _no_key_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *signing_keys.SECRET_VARIABLES,
        signing_keys.PUBLIC_KEY_VARIABLE,
        signing_keys.PUBLIC_KEY_FILE_VARIABLE,
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def key_file(tmp_path: Path, signing_key: SigningKey) -> Path:
    return files.write_text(tmp_path / "key.pem", signing_key.private_pem(), private=True)


# ------------------------------------------------------------------ the key to sign by


def test_the_workspace_has_a_key_of_its_own_for_its_owner_alone(workspace: Path) -> None:
    made = signing_keys.private_key(workspace)
    path = workspace / signing_keys.DEVELOPMENT_KEY
    assert made.source == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert signing_keys.private_key(workspace).fingerprint == made.fingerprint


def test_two_processes_at_once_get_the_same_key(workspace: Path) -> None:
    code = (
        "import sys, pathlib; from utils import signing_keys; sys.stdin.readline();"
        "print(signing_keys.private_key(pathlib.Path(sys.argv[1])).fingerprint)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(workspace)],
            cwd=project.root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_the_environment_goes_before_the_workspace(
    workspace: Path, signing_key: SigningKey, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem())
    assert signing_keys.private_key(workspace).fingerprint == signing_key.fingerprint
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, "")  # as CI systems give a secret that isn't there
    monkeypatch.setenv(signing_keys.KEY_FILE_VARIABLE, str(key_file))
    found = signing_keys.private_key(workspace)
    assert (found.fingerprint, found.source) == (signing_key.fingerprint, str(key_file))
    assert not workspace.exists()


def test_a_relative_path_counts_from_home_wherever_a_notebook_runs(
    home: Path, signing_key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_text(home / "signing.pem", signing_key.private_pem(), private=True)
    monkeypatch.setenv(signing_keys.KEY_FILE_VARIABLE, "signing.pem")
    monkeypatch.chdir(tmp_path)
    assert signing_keys.private_key().fingerprint == signing_key.fingerprint


def test_two_keys_in_the_environment_are_one_too_many(
    signing_key: SigningKey, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem())
    monkeypatch.setenv(signing_keys.KEY_FILE_VARIABLE, str(key_file))
    with pytest.raises(SignatureError, match="both set"):
        signing_keys.private_key()


def test_without_a_workspace_the_environment_has_to_give_the_key() -> None:
    with pytest.raises(SignatureError, match="set MLOPS_SIGNING_KEY or MLOPS_SIGNING_KEY_FILE"):
        signing_keys.private_key()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o601])
def test_a_key_that_is_open_to_others_is_refused(
    key_file: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file.chmod(mode)
    monkeypatch.setenv(signing_keys.KEY_FILE_VARIABLE, str(key_file))
    with pytest.raises(PrivacyError, match=f"chmod 600 {key_file}"):
        signing_keys.private_key()


def test_the_workspaces_key_is_refused_once_others_can_read_it(workspace: Path) -> None:
    signing_keys.private_key(workspace)
    (workspace / signing_keys.DEVELOPMENT_KEY).chmod(0o644)
    with pytest.raises(PrivacyError, match="open to others"):
        signing_keys.private_key(workspace)
    with pytest.raises(PrivacyError, match="open to others"):
        signing_keys.public_pem(workspace)


def test_an_encrypted_key_needs_its_password(
    signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem("corréct"))
    with pytest.raises(SignatureError, match="set MLOPS_SIGNING_KEY_PASSWORD"):
        signing_keys.private_key()
    monkeypatch.setenv(signing_keys.PASSWORD_VARIABLE, "wrong")
    with pytest.raises(SignatureError, match="MLOPS_SIGNING_KEY_PASSWORD is another key's") as caught:
        signing_keys.private_key()
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv(signing_keys.PASSWORD_VARIABLE, "corréct")
    assert signing_keys.private_key().fingerprint == signing_key.fingerprint


def test_a_password_that_is_not_needed_does_no_harm(
    signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem())
    monkeypatch.setenv(signing_keys.PASSWORD_VARIABLE, "unused")
    assert signing_keys.private_key().fingerprint == signing_key.fingerprint


def test_the_old_form_of_an_encrypted_key_is_read_too(
    signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = signing_key.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"password"),
    )
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, pem.decode())
    monkeypatch.setenv(signing_keys.PASSWORD_VARIABLE, "password")
    assert signing_keys.private_key().fingerprint == signing_key.fingerprint


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_what_is_no_key_on_p_256_is_refused_and_not_shown(
    signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfit = [
        "secret words",
        signing_key.public_pem,
        signing_key.private_pem()[:-60],
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
    ]
    for pem in unfit:
        monkeypatch.setenv(signing_keys.KEY_VARIABLE, pem)
        with pytest.raises(SignatureError, match="The key in MLOPS_SIGNING_KEY ") as caught:
            signing_keys.private_key()
        assert not any(line in str(caught.value) for line in pem.splitlines())
        assert caught.value.__cause__ is None


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing_keys.KEY_FILE_VARIABLE, str(tmp_path / "none.pem"))
    with pytest.raises(SignatureError, match=r"MLOPS_SIGNING_KEY_FILE names .*none\.pem"):
        signing_keys.private_key()
    files.write_bytes(tmp_path / "none.pem", b"\xff\xfe", private=True)
    with pytest.raises(PrivacyError, match="as text"):
        signing_keys.private_key()


def test_a_key_is_not_shown_when_it_is_printed(signing_key: SigningKey) -> None:
    shown = f"{signing_key!r} {signing_key}"
    assert "private" not in shown
    assert "object at" not in shown


# ------------------------------------------------------------------ the keys to verify by


def test_the_public_key_is_that_of_the_key_to_sign_by(workspace: Path) -> None:
    made = signing_keys.private_key(workspace)
    assert signing_keys.public_pem(workspace) == made.public_pem
    assert signing_keys.fingerprints(made.public_pem) == [made.fingerprint]


def test_to_verify_makes_no_key(workspace: Path) -> None:
    with pytest.raises(SignatureError, match="no key to verify by: set MLOPS_SIGNING_PUBLIC_KEY"):
        signing_keys.public_pem(workspace)
    with pytest.raises(SignatureError, match="no key to verify by"):
        signing_keys.public_pem()
    assert not workspace.exists()


def test_public_keys_are_given_without_a_private_one(
    signing_key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = signing_keys.generate()
    path = files.write_text(tmp_path / "keys.pub", f"{signing_key.public_pem}\n{old.public_pem}")
    monkeypatch.setenv(signing_keys.PUBLIC_KEY_FILE_VARIABLE, str(path))
    found = signing_keys.public_pem()
    assert signing_keys.fingerprints(found) == [signing_key.fingerprint, old.fingerprint]


def test_given_public_keys_go_before_the_key_to_sign_by(
    workspace: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing_keys.private_key(workspace)
    monkeypatch.setenv(signing_keys.PUBLIC_KEY_VARIABLE, signing_key.public_pem)
    assert signing_keys.public_pem(workspace) == signing_key.public_pem


def test_what_is_no_public_key_is_refused_by_the_name_of_its_variable(
    signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("secret words", signing_key.private_pem()):
        monkeypatch.setenv(signing_keys.PUBLIC_KEY_VARIABLE, text)
        with pytest.raises(SignatureError, match="MLOPS_SIGNING_PUBLIC_KEY: ") as caught:
            signing_keys.public_pem()
        assert not any(line in str(caught.value) for line in text.splitlines()[1:])


# ------------------------------------------------------------------ new pairs


def test_a_new_pair_signs_and_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "signing.pem"
    made = signing_keys.make_pair(path, "password")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "ENCRYPTED" in path.read_text()
    monkeypatch.setenv(signing_keys.KEY_FILE_VARIABLE, str(path))
    monkeypatch.setenv(signing_keys.PASSWORD_VARIABLE, "password")
    assert signing_keys.private_key().fingerprint == made.fingerprint
    public = path.with_name("signing.pem.pub")
    assert sorted(path.parent.iterdir()) == [path, public]
    assert signing_keys.fingerprints(public.read_text()) == [made.fingerprint]


@pytest.mark.parametrize("there", ["key.pem", "key.pem.pub"])
def test_a_pair_overwrites_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("old")
    with pytest.raises(SignatureError, match="is there already"):
        signing_keys.make_pair(tmp_path / "key.pem")
    assert (tmp_path / there).read_text() == "old"
    assert not (tmp_path / "key.pem").exists() or there == "key.pem"
