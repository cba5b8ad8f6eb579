"""A service starts from a package that a known key signed, as it was signed, and from no other.

What it verifies by is our own. So it is held against the library of the format, which signs: both have
to accept what is whole, and refuse what was tampered with.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cryptography
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from model_signing import hashing, signing, verifying

from utils import signatures as outside
from utils import signing_keys
from utils.scoring import signatures
from utils.scoring.signatures import SIGNATURE, SignatureError
from utils.signing_keys import SigningKey


@pytest.fixture
def signed(signable: Path, signing_key: SigningKey) -> Path:
    """A signed package that a test may change."""
    outside.sign(signable, signing_key)
    return signable


@pytest.fixture
def key_file(tmp_path: Path, signing_key: SigningKey) -> Path:
    path = tmp_path / "key.pem"
    path.write_text(signing_key.private_pem())
    return path


def library_verifies(folder: Path, key: SigningKey) -> bool:
    """Ask the library, which hashes every file but the signature."""
    public = folder.parent / "key.pub"
    public.write_text(key.public_pem)
    config = verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False))
    try:
        config.verify(folder, folder / SIGNATURE)
    except Exception:  # it has errors of many kinds
        return False
    return True


def refusal(folder: Path, key: SigningKey) -> str:
    """Return why a package is refused, once both have refused it."""
    with pytest.raises(SignatureError) as caught:
        signatures.verify(folder, key.public_pem)
    assert not library_verifies(folder, key)
    return str(caught.value)


def bundle(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / SIGNATURE).read_text())
    return found


def write(folder: Path, record: Any) -> None:
    (folder / SIGNATURE).write_text(record if isinstance(record, str) else json.dumps(record))


def statement(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(bundle(folder)["dsseEnvelope"]["payload"]))
    return found


def sign_again(
    folder: Path, key: SigningKey, payload: Any, kind: str = "application/vnd.in-toto+json"
) -> None:
    """Sign what the library would not write, with the right key."""
    content = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(content), content)
    record = bundle(folder)
    record["dsseEnvelope"] = {
        "payload": base64.b64encode(content).decode(),
        "payloadType": kind,
        "signatures": [
            {
                "sig": base64.b64encode(key.private.sign(encoded, ec.ECDSA(hashes.SHA256()))).decode(),
                "keyid": "",
            }
        ],
    }
    write(folder, record)


# ------------------------------------------------------------------ what is whole


def test_a_signed_package_is_accepted_and_its_signer_named(signed: Path, signing_key: SigningKey) -> None:
    assert signatures.verify(signed, signing_key.public_pem) == signing_key.fingerprint
    assert library_verifies(signed, signing_key)


def test_a_signature_signed_again_by_the_test_itself_is_accepted(
    signed: Path, signing_key: SigningKey
) -> None:
    # Or the refusals of such signatures below would show nothing.
    sign_again(signed, signing_key, statement(signed))
    assert signatures.verify(signed, signing_key.public_pem) == signing_key.fingerprint
    assert library_verifies(signed, signing_key)


def test_a_package_may_have_another_name_and_place(
    signed: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    moved = shutil.move(signed, tmp_path / "elsewhere")
    assert signatures.verify(Path(moved), signing_key.public_pem) == signing_key.fingerprint


def test_what_the_library_signs_by_its_own_defaults_is_accepted(
    signable: Path, signing_key: SigningKey, key_file: Path
) -> None:
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(signable)]
    options = ["--signature", str(signable / SIGNATURE), "--private_key", str(key_file)]
    subprocess.run([*command, *options], check=True, capture_output=True)
    assert ".git" in statement(signable)["predicate"]["serialization"]["ignore_paths"]
    assert signatures.verify(signable, signing_key.public_pem) == signing_key.fingerprint
    # By these defaults files of git are not signed. Here nothing goes unsigned.
    (signable / ".git").mkdir()
    (signable / ".git" / "hook").write_text("x")
    with pytest.raises(SignatureError, match=r"\.git/hook is not signed"):
        signatures.verify(signable, signing_key.public_pem)


def test_nothing_is_imported_that_an_image_does_not_have(signed: Path, signing_key: SigningKey) -> None:
    shutil.copyfile(signatures.__file__, signed.parent / "alone.py")
    # Without -S there would be modules that were imported at Python's start.
    code = (
        "import sys; sys.path += sys.argv[1:3]; import alone, pathlib;"
        "print(alone.verify(pathlib.Path(sys.argv[3]), sys.argv[4]));"
        "print(*{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    installed = Path(cryptography.__file__).parent.parent
    words = [str(signed.parent), str(installed), str(signed), signing_key.public_pem]
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, *words], capture_output=True, text=True, check=True
    )
    signer, modules = answer.stdout.splitlines()
    assert signer == signing_key.fingerprint
    assert set(modules.split()) <= {"__main__", "alone", "cryptography", "_openssl", "_cffi_backend"}


# ------------------------------------------------------------------ files

NAMES = [
    "manifest.json", "model.onnx", "schema.json", "golden.json", "requirements.txt", "sbom.cdx.json",
    "score.py", "serve.py", "scoring/trust.py",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_refused_and_its_file_named(
    signed: Path, signing_key: SigningKey, name: str
) -> None:
    content = bytearray((signed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (signed / name).write_bytes(content)
    assert f"({name} was changed)" in refusal(signed, signing_key)


@pytest.mark.parametrize("name", [*NAMES, "scoring/__init__.py"])
def test_a_removed_file_is_named(signed: Path, signing_key: SigningKey, name: str) -> None:
    (signed / name).unlink()
    assert f"({name} is missing)" in refusal(signed, signing_key)


@pytest.mark.parametrize(
    "name",
    [
        "a.py",
        "numpy.py",
        ".hidden",
        ".git/hook",
        ".gitignore",
        "scoring/model.sig",
        "scoring/a/b.so",
        "model.sig.bak",
    ],
)
def test_an_added_file_is_named(signed: Path, signing_key: SigningKey, name: str) -> None:
    (signed / name).parent.mkdir(exist_ok=True, parents=True)
    (signed / name).write_text("")
    assert f"({name} is not signed)" in refusal(signed, signing_key)


def test_a_name_that_would_break_the_message_is_shown_escaped(signed: Path, signing_key: SigningKey) -> None:
    (signed / "a\nerror: all is well").write_text("")
    (signed / os.fsdecode(b"b\xff")).write_text("")
    message = refusal(signed, signing_key)
    assert r"'a\nerror: all is well' is not signed; 'b\udcff' is not signed" in message


def test_a_renamed_file_is_named_by_both_names(signed: Path, signing_key: SigningKey) -> None:
    (signed / "model.onnx").rename(signed / "model.skops")
    assert "(model.onnx is missing; model.skops is not signed)" in refusal(signed, signing_key)


def test_two_files_that_changed_places_are_named(signed: Path, signing_key: SigningKey) -> None:
    (signed / "score.py").rename(signed / "aside")
    (signed / "serve.py").rename(signed / "score.py")
    (signed / "aside").rename(signed / "serve.py")
    assert "(score.py was changed; serve.py was changed)" in refusal(signed, signing_key)


def test_an_emptied_and_a_longer_file_are_named(signed: Path, signing_key: SigningKey) -> None:
    (signed / "golden.json").write_text("")
    (signed / "scoring" / "__init__.py").write_text("\n")
    assert "(golden.json was changed; scoring/__init__.py was changed)" in refusal(signed, signing_key)


def test_a_link_is_refused_even_to_the_same_content(
    signed: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    (signed / "model.onnx").rename(tmp_path / "model.onnx")
    (signed / "model.onnx").symlink_to(tmp_path / "model.onnx")
    assert "(model.onnx is a link)" in refusal(signed, signing_key)


def test_a_linked_folder_is_refused(signed: Path, signing_key: SigningKey, tmp_path: Path) -> None:
    (signed / "scoring").rename(tmp_path / "scoring")
    (signed / "scoring").symlink_to(tmp_path / "scoring")
    assert "scoring is a link" in refusal(signed, signing_key)


def test_a_linked_package_or_signature_is_refused(
    signed: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    (tmp_path / "linked").symlink_to(signed)
    assert "is a link" in refusal(tmp_path / "linked", signing_key)
    (signed / SIGNATURE).rename(tmp_path / SIGNATURE)
    (signed / SIGNATURE).symlink_to(tmp_path / SIGNATURE)
    assert "is a link" in refusal(signed, signing_key)


def test_a_pipe_is_refused_and_not_waited_for(signed: Path, signing_key: SigningKey) -> None:
    os.mkfifo(signed / "pipe")
    assert "(pipe is no plain file)" in refusal(signed, signing_key)


def test_a_file_turned_into_a_folder_is_missing(signed: Path, signing_key: SigningKey) -> None:
    (signed / "schema.json").unlink()
    (signed / "schema.json").mkdir()
    assert "(schema.json is missing)" in refusal(signed, signing_key)


def test_every_file_at_fault_is_named_at_once(signed: Path, signing_key: SigningKey) -> None:
    (signed / "model.onnx").write_text("other")
    (signed / "added").write_text("")
    (signed / "score.py").unlink()
    message = refusal(signed, signing_key)
    assert "(added is not signed; model.onnx was changed; score.py is missing)" in message


# ------------------------------------------------------------------ signatures


def test_the_signature_of_another_package_is_no_good(
    signed: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(signed, tmp_path / "other"))
    (other / "model.onnx").write_text("another model")
    outside.sign(other, signing_key)
    shutil.copyfile(other / SIGNATURE, signed / SIGNATURE)
    assert "(model.onnx was changed)" in refusal(signed, signing_key)


def test_another_key_is_refused_and_the_known_ones_are_told(signed: Path, signing_key: SigningKey) -> None:
    other, third = signing_keys.generate(), signing_keys.generate()
    with pytest.raises(SignatureError, match=f"another key than {other.fingerprint}, {third.fingerprint}"):
        signatures.verify(signed, other.public_pem + third.public_pem)
    outside.sign(signed, other)
    assert f"another key than {signing_key.fingerprint}" in refusal(signed, signing_key)


def test_another_key_is_refused_that_claims_to_be_the_known_one(
    signed: Path, signing_key: SigningKey
) -> None:
    hint = bundle(signed)["verificationMaterial"]
    outside.sign(signed, signing_keys.generate())
    write(signed, {**bundle(signed), "verificationMaterial": hint})
    assert "not what the key signed" in refusal(signed, signing_key)


def test_while_one_key_replaces_another_both_are_good(signed: Path, signing_key: SigningKey) -> None:
    new = signing_keys.generate()
    both = f"{new.public_pem}\n{signing_key.public_pem}"
    assert signatures.verify(signed, both) == signing_key.fingerprint
    outside.sign(signed, new)
    assert signatures.verify(signed, both) == new.fingerprint


def test_without_a_signature_nothing_is_accepted(signed: Path, signing_key: SigningKey) -> None:
    (signed / SIGNATURE).unlink()
    assert f"has no {SIGNATURE}" in refusal(signed, signing_key)


def test_no_bit_of_the_signature_can_be_changed(signed: Path, signing_key: SigningKey) -> None:
    record = bundle(signed)
    signature = base64.b64decode(record["dsseEnvelope"]["signatures"][0]["sig"])
    for position in range(len(signature) * 8):
        changed = bytearray(signature)
        changed[position // 8] ^= 1 << position % 8
        record["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(changed).decode()
        write(signed, record)
        assert SIGNATURE in refusal(signed, signing_key)


def test_no_character_of_the_signature_file_can_be_changed(signed: Path, signing_key: SigningKey) -> None:
    path = signed / SIGNATURE
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(SignatureError, match=SIGNATURE):
            signatures.verify(signed, signing_key.public_pem)


def test_a_truncated_signature_file_is_refused(signed: Path, signing_key: SigningKey) -> None:
    whole = (signed / SIGNATURE).read_text()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        write(signed, whole[:length])
        assert "is damaged" in refusal(signed, signing_key)


def changes() -> dict[str, Callable[[dict[str, Any]], object]]:
    """What is done to the parts of a bundle that the signature doesn't cover."""
    return {
        "other bundle": lambda it: it.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        "other payload": lambda it: it["dsseEnvelope"].update(payloadType="application/json"),
        "no signature": lambda it: it["dsseEnvelope"].update(signatures=[]),
        "empty signature": lambda it: it["dsseEnvelope"]["signatures"][0].update(sig=""),
        "signature is null": lambda it: it["dsseEnvelope"]["signatures"][0].update(sig=None),
        "signatures are no list": lambda it: it["dsseEnvelope"].update(signatures={"0": {}}),
        "no envelope": lambda it: it.pop("dsseEnvelope"),
        "no material": lambda it: it.pop("verificationMaterial"),
        "empty payload": lambda it: it["dsseEnvelope"].update(payload=""),
        "payload in another alphabet": lambda it: it["dsseEnvelope"].update(payload="__--"),
        "unknown field": lambda it: it.update(unknown=1),
        "hint is a list": lambda it: it["verificationMaterial"]["publicKey"].update(hint=[]),
        "a certificate": lambda it: it.update(verificationMaterial={"certificate": {"rawBytes": "AA=="}}),
        "message instead": lambda it: it.update(
            messageSignature={"signature": it.pop("dsseEnvelope")["signatures"][0]["sig"]}
        ),
    }


@pytest.mark.parametrize("change", changes())
def test_a_bundle_that_is_not_as_it_should_be_is_refused(
    signed: Path, signing_key: SigningKey, change: str
) -> None:
    record = bundle(signed)
    changes()[change](record)
    write(signed, record)
    assert f"{SIGNATURE} is " in refusal(signed, signing_key)


@pytest.mark.parametrize("content", ["", "null", "[]", "7", "\ufeff{}", "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_bundle_at_all_is_refused(signed: Path, signing_key: SigningKey, content: str) -> None:
    write(signed, content)
    assert "is damaged" in refusal(signed, signing_key)


def test_a_huge_signature_file_is_not_read(signed: Path, signing_key: SigningKey) -> None:
    with (signed / SIGNATURE).open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no space
    with pytest.raises(SignatureError, match="more than 4000000 bytes"):
        signatures.verify(signed, signing_key.public_pem)


def test_swapped_content_is_refused(signed: Path, signing_key: SigningKey, tmp_path: Path) -> None:
    other = Path(shutil.copytree(signed, tmp_path / "other"))
    (other / "model.onnx").write_text("another model")
    outside.sign(other, signing_key)
    record = bundle(signed)
    record["dsseEnvelope"]["payload"] = bundle(other)["dsseEnvelope"]["payload"]
    write(other, record)
    assert "not what the key signed" in refusal(other, signing_key)


# ------------------------------------------------------------------ statements that the right key signed


def test_a_contradictory_statement_is_refused(signed: Path, signing_key: SigningKey) -> None:
    made = statement(signed)
    made["subject"][0]["digest"]["sha256"] = "0" * 64
    sign_again(signed, signing_key, made)
    assert "contradicts itself" in refusal(signed, signing_key)


def statements() -> dict[str, Callable[[dict[str, Any]], object]]:
    return {
        "other statement": lambda it: it.update(_type="https://in-toto.io/Statement/v0.1"),
        "other predicate": lambda it: it.update(predicateType="https://slsa.dev/provenance/v1"),
        "no subject": lambda it: it.update(subject=[]),
        "subject is a record": lambda it: it.update(subject={"name": it["subject"][0]}),
        "left out is a number": lambda it: it["predicate"]["serialization"].update(ignore_paths=7),
        "two subjects": lambda it: it["subject"].append(it["subject"][0]),
        "unknown method": lambda it: it["predicate"]["serialization"].update(method="tensors"),
        "no method": lambda it: it["predicate"].pop("serialization"),
        "no resources": lambda it: it["predicate"].pop("resources"),
        "unknown hash": lambda it: it["predicate"]["resources"][0].update(algorithm="md5"),
        "half a digest": lambda it: it["predicate"]["resources"][0].update(digest="00"),
        "digest is a number": lambda it: it["predicate"]["resources"][0].update(digest=7),
        "name is a list": lambda it: it["predicate"]["resources"][0].update(name=[]),
        "name with dots": lambda it: it["predicate"]["resources"][0].update(name="../golden.json"),
        "no predicate": lambda it: it.pop("predicate"),
    }


@pytest.mark.parametrize("change", statements())
def test_a_statement_of_another_kind_is_refused(signed: Path, signing_key: SigningKey, change: str) -> None:
    made = statement(signed)
    statements()[change](made)
    sign_again(signed, signing_key, made)
    assert refusal(signed, signing_key)


def test_a_payload_of_another_kind_is_refused_though_signed(signed: Path, signing_key: SigningKey) -> None:
    sign_again(signed, signing_key, statement(signed), kind="application/json")
    assert "is damaged" in refusal(signed, signing_key)


# Here the library is content, for such signatures may be made; no tool of ours makes them.


@pytest.mark.parametrize(
    "config",
    [
        hashing.Config().use_file_serialization(hashing_algorithm="blake2"),
        hashing.Config().use_file_serialization(hashing_algorithm="blake3"),
        hashing.Config().use_shard_serialization(),
        hashing.Config().set_ignored_paths(paths=[SIGNATURE, "scoring"]),
        hashing.Config().set_allow_symlinks(True),
    ],
    ids=["blake2", "blake3", "shards", "a folder left out", "links allowed"],
)
def test_what_the_library_signs_in_other_ways_is_refused(
    signable: Path, signing_key: SigningKey, key_file: Path, config: hashing.Config
) -> None:
    signer = signing.Config().use_elliptic_key_signer(private_key=key_file).set_hashing_config(config)
    signer.sign(signable, signable / SIGNATURE)
    with pytest.raises(SignatureError, match="not of the kind known here"):
        signatures.verify(signable, signing_key.public_pem)


def test_the_experimental_statement_is_refused(signed: Path, signing_key: SigningKey) -> None:
    made = statement(signed)
    subjects = [
        {"name": each["name"], "digest": {"sha256": each["digest"]}}
        for each in made["predicate"]["resources"]
    ]
    made |= {"predicateType": "https://model_signing/Digests/v0.1", "subject": subjects}
    sign_again(signed, signing_key, made)
    with pytest.raises(SignatureError, match="not of the kind known here"):
        signatures.verify(signed, signing_key.public_pem)


def test_a_field_or_file_given_twice_is_refused(signed: Path, signing_key: SigningKey) -> None:
    text = (signed / SIGNATURE).read_text()
    write(signed, text.replace('"mediaType":', '"mediaType":"other","mediaType":', 1))
    with pytest.raises(SignatureError, match="a field twice"):
        signatures.verify(signed, signing_key.public_pem)
    write(signed, text)
    made = statement(signed)
    sign_again(signed, signing_key, json.dumps(made).replace('"_type":', '"_type": 1, "_type":', 1))
    with pytest.raises(SignatureError, match="a field twice"):
        signatures.verify(signed, signing_key.public_pem)
    made["predicate"]["resources"].append(made["predicate"]["resources"][0])
    sign_again(signed, signing_key, made)
    with pytest.raises(SignatureError, match="is not one SHA-256"):
        signatures.verify(signed, signing_key.public_pem)


def test_a_bundle_with_more_than_one_signature_or_a_name_for_the_key_is_refused(
    signed: Path, signing_key: SigningKey
) -> None:
    record = bundle(signed)
    (one,) = record["dsseEnvelope"]["signatures"]
    record["dsseEnvelope"]["signatures"] = [one, {"sig": "AAAA", "keyid": ""}]
    write(signed, record)
    with pytest.raises(SignatureError, match="not signed just once"):
        signatures.verify(signed, signing_key.public_pem)
    record["dsseEnvelope"]["signatures"] = [{**one, "keyid": "another"}]
    write(signed, record)
    with pytest.raises(SignatureError, match="by another key"):
        signatures.verify(signed, signing_key.public_pem)


def test_a_signature_that_does_not_say_by_which_key_is_refused(signed: Path, signing_key: SigningKey) -> None:
    record = bundle(signed)
    del record["verificationMaterial"]["publicKey"]["hint"]
    write(signed, record)
    with pytest.raises(SignatureError, match="just the fields hint"):
        signatures.verify(signed, signing_key.public_pem)


# ------------------------------------------------------------------ keys


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda key: "", "has to be PEM"),
        (lambda key: "  \n", "has to be PEM"),
        (lambda key: key.public_pem[:-30], "has to be PEM"),
        (lambda key: key.public_pem + key.public_pem[:-30], "has to be PEM"),
        (lambda key: "a line\n" + key.public_pem, "has to be PEM"),
        (lambda key: key.private_pem(), "no readable public key"),
        (lambda key: key.public_pem.replace("MF", "MG", 1), "no readable public key"),
        (
            lambda key: public_pem(ec.generate_private_key(ec.SECP384R1())),
            "not an elliptic-curve key on P-256",
        ),
        (
            lambda key: public_pem(ec.generate_private_key(ec.SECP256K1())),
            "not an elliptic-curve key on P-256",
        ),
        (lambda key: public_pem(rsa.generate_private_key(65537, 2048)), "not an elliptic-curve key on P-256"),
    ],
)
def test_what_is_no_public_key_is_refused_without_being_shown(
    signed: Path, signing_key: SigningKey, make: Callable[[SigningKey], str], reason: str
) -> None:
    text = make(signing_key)
    with pytest.raises(SignatureError, match=reason) as caught:
        signatures.verify(signed, text)
    assert not any(len(line) > 40 and line in str(caught.value) for line in text.splitlines())
