"""A package is signed once, and verified before it is let anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from utils import project, signatures, signing_keys
from utils.scoring import signatures as service
from utils.signatures import SIGNATURE, SignatureError
from utils.signing_keys import SigningKey


def test_a_package_is_signed_and_nothing_else_changed(signable: Path, signing_key: SigningKey) -> None:
    before = {path: path.read_bytes() for path in signable.rglob("*") if path.is_file()}
    beside = sorted(signable.parent.iterdir())
    assert signatures.sign(signable, signing_key) == signable / SIGNATURE
    after = {path: path.read_bytes() for path in signable.rglob("*") if path.is_file()}
    del after[signable / SIGNATURE]
    assert after == before
    assert sorted(signable.parent.iterdir()) == beside
    assert signatures.verify(signable, signing_key.public_pem) == signing_key.fingerprint


def test_the_command_of_the_format_verifies_it_too(
    signable: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    signatures.sign(signable, signing_key)
    (tmp_path / "key.pub").write_text(signing_key.public_pem)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signable)]
    options = ["--signature", str(signable / SIGNATURE), "--public_key", str(tmp_path / "key.pub")]
    strict = "--no-ignore-git-paths"
    answer = subprocess.run([*command, *options, strict], check=True, capture_output=True, text=True)
    assert "Verification succeeded" in answer.stdout
    (signable / ".gitignore").write_text("x")
    answer = subprocess.run([*command, *options, strict], check=False, capture_output=True, text=True)
    assert answer.returncode != 0
    assert ".gitignore" in answer.stdout + answer.stderr


def test_the_key_is_written_nowhere(
    signable: Path, signing_key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        written.extend(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    signatures.sign(signable, signing_key)
    assert written
    assert not any(b"PRIVATE" in content for content in written)


def test_signing_again_keeps_the_bytes(signable: Path, signing_key: SigningKey) -> None:
    first = signatures.sign(signable, signing_key).read_bytes()
    assert signatures.sign(signable, signing_key).read_bytes() == first
    (signable / "score.py").write_text("changed")
    assert signatures.sign(signable, signing_key).read_bytes() != first
    assert signatures.verify(signable, signing_key.public_pem) == signing_key.fingerprint


def test_another_key_or_a_damaged_signature_is_replaced(signable: Path, signing_key: SigningKey) -> None:
    signatures.sign(signable, signing_keys.generate())
    signatures.sign(signable, signing_key)
    assert signatures.verify(signable, signing_key.public_pem) == signing_key.fingerprint
    (signable / SIGNATURE).write_text("{")
    signatures.sign(signable, signing_key)
    assert signatures.verify(signable, signing_key.public_pem) == signing_key.fingerprint


def test_a_package_with_a_link_is_not_signed(signable: Path, signing_key: SigningKey) -> None:
    (signable / "link").symlink_to("score.py")
    beside = sorted(signable.parent.iterdir())
    with pytest.raises(SignatureError, match=r"can't be signed: .*link"):
        signatures.sign(signable, signing_key)
    assert not (signable / SIGNATURE).exists()
    assert sorted(signable.parent.iterdir()) == beside


def test_what_is_changed_while_it_is_signed_stays_unsigned(
    signable: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def change(self: Path, target: Path) -> Path:
        (signable / "score.py").write_text("changed meanwhile")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", change)
    with pytest.raises(SignatureError, match=r"score\.py was changed"):
        signatures.sign(signable, signing_key)
    assert not (signable / SIGNATURE).exists()


def test_files_at_fault_are_named(signable: Path, signing_key: SigningKey) -> None:
    signatures.sign(signable, signing_key)
    (signable / "model.onnx").write_text("another model")
    (signable / "added").write_text("")
    (signable / "serve.py").unlink()
    with pytest.raises(
        SignatureError, match=r"\(added is not signed; model\.onnx was changed; serve\.py is missing\)"
    ):
        signatures.verify(signable, signing_key.public_pem)


def test_what_the_library_refuses_is_refused(
    signable: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures.sign(signable, signing_key)
    (signable / "score.py").write_text("changed")
    monkeypatch.setattr(service, "verify", lambda folder, pem: signing_key.fingerprint)
    with pytest.raises(SignatureError, match=r"model-signing refuses .*score\.py"):
        signatures.verify(signable, signing_key.public_pem)


def test_a_whole_package_is_signed(package: Path, signing_key: SigningKey) -> None:
    signatures.sign(package, signing_key)
    assert signatures.verify(package, signing_key.public_pem) == signing_key.fingerprint


def test_the_library_is_imported_only_when_it_is_needed() -> None:
    code = "import sys, utils.signatures, utils.signing_keys; print('model_signing' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root(), capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
