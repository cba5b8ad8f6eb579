"""Whether a package is as a known key signed it: what a service asks before it loads anything.

The signature is one of OpenSSF model signing: a Sigstore bundle around an in-toto statement that holds
the SHA-256 of every file. Here it is read with nothing but `cryptography`, for an image has no more.
Of the format's many forms, the one that `utils.signatures` writes is known; anything else is refused.

References
----------
OpenSSF, "Model signing specification", https://github.com/ossf/model-signing-spec
in-toto, "Statement layer", https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
DSSE, "Protocol", https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

SIGNATURE = "model.sig"
MAX_BYTES = 4_000_000

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_METHOD = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
# What signers may say that they left out. Here nothing is left out but the signature itself.
_IGNORED = {SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"}
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)

Key = ec.EllipticCurvePublicKey


class SignatureError(RuntimeError):
    """A package is not as a known key signed it, or a key can't be used; the message says what is wrong."""


def verify(folder: Path, public_keys_pem: str) -> str:
    """Compare a package with its signature.

    Parameters
    ----------
    folder : Path
        Holds model.sig, which has to vouch for every other file in the folder.
    public_keys_pem : str
        One or more public keys, each as PEM; one of them has to be the signer's.

    Returns
    -------
    str
        The fingerprint of the key that signed.

    Raises
    ------
    SignatureError
        Naming each file that was changed, is missing, isn't signed or is no plain file; or if there
        is no readable signature by one of the keys.
    """
    keys = public_keys(public_keys_pem)
    try:
        signer, statement = _open(_read(folder), keys)
        signed = _resources(statement)
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise SignatureError(f"{folder / SIGNATURE} is damaged ({error}): sign the package again.") from error
    try:
        found = _contents(folder)
    except (OSError, RecursionError) as error:
        raise SignatureError(f"The package {folder} can't be read ({error}): build it again.") from error
    found.pop(SIGNATURE, None)
    faults = []
    for name in sorted(signed.keys() | found.keys()):
        shown, state = name if name.isprintable() else ascii(name), found.get(name, "is missing")
        if " " in state:
            faults.append(f"{shown} {state}")
        elif state != signed.get(name):
            faults.append(f"{shown} {'was changed' if name in signed else 'is not signed'}")
    if faults:
        raise SignatureError(
            f"The package {folder} is not as it was signed ({'; '.join(faults)}): build it again."
        )
    return fingerprint(signer)


def public_keys(text: str) -> list[Key]:
    """Read the public keys in a PEM text: at least one, all on the curve P-256, and nothing beside them.

    Raises
    ------
    SignatureError
        If it is anything else.
    """
    blocks = [found.group() for found in _PEM.finditer(text)]
    if not blocks or _PEM.sub("", text).strip():
        raise SignatureError("A public key has to be PEM, which begins with -----BEGIN PUBLIC KEY-----.")
    keys = []
    for block in blocks:
        try:
            key = load_pem_public_key(block.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise SignatureError(
                f"What begins with {block.splitlines()[0]} is no readable public key."
            ) from None
        if not isinstance(key, Key) or not isinstance(key.curve, ec.SECP256R1):
            raise SignatureError(
                "A public key is not an elliptic-curve key on P-256: make a pair of such keys."
            )
        keys.append(key)
    return keys


def fingerprint(key: Key) -> str:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo, 64 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pem(key: Key) -> str:
    """Return a key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _read(folder: Path) -> Any:
    path = folder / SIGNATURE
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise SignatureError(f"{folder} is no signed package: it has no {SIGNATURE}, or is a link.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return _json(path.read_bytes())


def _open(bundle: Any, keys: list[Key]) -> tuple[Key, Any]:
    """Return who signed, and the statement, once the signature was found to be good."""
    media, material, envelope = _fields(bundle, "mediaType", "verificationMaterial", "dsseEnvelope")
    identifier, log = _fields(material, "publicKey", "tlogEntries")
    (hint,) = _fields(identifier, "hint")  # of the key: the SHA-256 of its PEM
    payload, kind, signatures = _fields(envelope, "payload", "payloadType", "signatures")
    if (
        (media, kind, log) != (_BUNDLE, _PAYLOAD, [])
        or not isinstance(signatures, list)
        or len(signatures) != 1
    ):
        raise ValueError("it is not of the kind known here, or not signed just once")
    signature, name = _fields(signatures[0], "sig", "keyid")
    signer = next((key for key in keys if hashlib.sha256(pem(key).encode()).hexdigest() == hint), None)
    if signer is None or name != "":
        known = ", ".join(fingerprint(key) for key in keys)
        raise SignatureError(f"{SIGNATURE} is by another key than {known}: sign the package by a known one.")
    content = _bytes(payload)
    # DSSE's pre-authentication encoding: the signature also covers how the content is to be read.
    encoded = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(content), content)
    try:
        signer.verify(_bytes(signature), encoded, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise ValueError("its content is not what the key signed") from None
    return signer, _json(content)


def _resources(statement: Any) -> dict[str, str]:
    """Return the SHA-256 of each file that a statement vouches for, by its path."""
    form, subjects, kind, predicate = _fields(statement, "_type", "subject", "predicateType", "predicate")
    method, resources = _fields(predicate, "serialization", "resources")
    known = isinstance(method, dict) and _IGNORED.issuperset(method.pop("ignore_paths", []))
    if not known or (form, kind, method) != (_STATEMENT, _PREDICATE, _METHOD) or len(subjects) != 1:
        raise ValueError("what it states is not of the kind known here")
    signed = {}
    for resource in resources:
        name, algorithm, digest = _fields(resource, "name", "algorithm", "digest")
        if algorithm != "sha256" or name in signed or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"what it states of {name!r} is not one SHA-256")
        signed[name] = digest
    root = hashlib.sha256(bytes.fromhex("".join(signed.values()))).hexdigest()
    if _fields(subjects[0], "name", "digest")[1] != {"sha256": root}:
        raise ValueError("what it states contradicts itself")
    return signed


def _contents(folder: Path, below: str = "") -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path, or what else it is."""
    found: dict[str, str] = {}
    for path in folder.iterdir():
        name, mode = below + path.name, path.lstat().st_mode
        if stat.S_ISDIR(mode):
            found |= _contents(path, f"{name}/")
        elif stat.S_ISREG(mode):
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            found[name] = "is a link" if stat.S_ISLNK(mode) else "is no plain file"
    return found


def _fields(record: Any, *names: str) -> list[Any]:
    """Return the values of a record that has these fields and no other."""
    if not isinstance(record, dict) or record.keys() != set(names):
        raise ValueError(f"it has not just the fields {', '.join(names)} where it should")
    return [record[name] for name in names]


def _bytes(text: Any) -> bytes:
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:  # bits that are not used could be changed
        raise ValueError("it is not base64 as it is written")
    return content


def _json(content: bytes) -> Any:
    return json.loads(content.decode(), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that is given twice: readers differ in which of them holds."""
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("it gives a field twice")
    return record
