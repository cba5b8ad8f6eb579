"""The keys that packages are signed and verified by: where they come from, and what they are called.

A pair of elliptic-curve keys on P-256. The private one signs; it is taken from the environment, or,
where that names none, made once in the local platform's workspace. Whoever verifies needs the public
one alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utils import files, project
from utils.scoring import signatures
from utils.scoring.signatures import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY_VARIABLE = "MLOPS_SIGNING_KEY"
KEY_FILE_VARIABLE = "MLOPS_SIGNING_KEY_FILE"
PASSWORD_VARIABLE = "MLOPS_SIGNING_KEY_PASSWORD"  # noqa: S105 - the name of a variable
PUBLIC_KEY_VARIABLE = "MLOPS_SIGNING_PUBLIC_KEY"
PUBLIC_KEY_FILE_VARIABLE = "MLOPS_SIGNING_PUBLIC_KEY_FILE"

# No service or kernel that somebody else's code runs in needs to inherit these.
SECRET_VARIABLES = (KEY_VARIABLE, KEY_FILE_VARIABLE, PASSWORD_VARIABLE)

DEVELOPMENT_KEY = "keys/signing.pem"


@dataclass(frozen=True)
class SigningKey:
    """A private key. What is printed of it is its fingerprint and where it came from.

    Attributes
    ----------
    private : EllipticCurvePrivateKey
    source : str
        Where it came from: the name of a variable, or a path.
    """

    private: EllipticCurvePrivateKey = field(repr=False)
    source: str

    @property
    def public_pem(self) -> str:
        """Its public key, as PEM."""
        return signatures.pem(self.private.public_key())

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the public key's SubjectPublicKeyInfo, 64 hexadecimal digits."""
        return signatures.fingerprint(self.private.public_key())

    def private_pem(self, password: str = "") -> str:
        """Return the private key as PEM, encrypted if there is a password."""
        from cryptography.hazmat.primitives import serialization

        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password.encode())
            if password
            else serialization.NoEncryption(),
        ).decode()


def private_key(workspace: Path | None = None) -> SigningKey:
    """Return the key to sign by.

    It is the one that MLOPS_SIGNING_KEY holds or MLOPS_SIGNING_KEY_FILE names, decrypted by
    MLOPS_SIGNING_KEY_PASSWORD if need be; else the workspace's own, which is made if there is none.

    Parameters
    ----------
    workspace : Path, optional
        The local platform's. Without one, the environment has to give the key.

    Raises
    ------
    SignatureError
        If there is no key, or none that can be used.
    PrivacyError
        If others may read the key's file.
    """
    found = from_environment()
    if found is not None:
        return found
    if workspace is None:
        raise SignatureError(
            f"There is no key to sign by: set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}; "
            "python -m ci signing-key makes a pair."
        )
    path = workspace / DEVELOPMENT_KEY
    if not path.exists():
        with files.private_lock(path):
            if not path.exists():
                files.write_text(path, generate().private_pem(), private=True)
    return load(files.read_private(path), str(path))


def from_environment() -> SigningKey | None:
    """Return the key to sign by that the environment gives, or None if it gives none.

    Raises
    ------
    SignatureError
        If it can't be used.
    PrivacyError
        If others may read the key's file.
    """
    found = _environment(KEY_VARIABLE, KEY_FILE_VARIABLE, secret=True)
    if found is None:
        return None
    pem, source = found
    return load(pem, source, os.environ.get(PASSWORD_VARIABLE, ""))


def check() -> None:
    """Demand that the key to sign by can be used, if the environment names one; none is made.

    Raises
    ------
    SignatureError
        If it can't be read, or isn't a key for signing.
    PrivacyError
        If others may read its file.
    """
    from_environment()


def public_pem(workspace: Path | None = None) -> str:
    """Return the keys to verify by, as PEM: one, or several while one replaces another.

    They are what MLOPS_SIGNING_PUBLIC_KEY holds or MLOPS_SIGNING_PUBLIC_KEY_FILE names; else the
    public key of the one to sign by, if there is one: none is made.

    Raises
    ------
    SignatureError
        If there is no key, or none that can be used.
    PrivacyError
        If others may read the private key's file.
    """
    found = public_from_environment()
    if found is not None:
        return found
    if workspace is None or not (workspace / DEVELOPMENT_KEY).exists():
        raise SignatureError(
            f"There is no key to verify by: set {PUBLIC_KEY_VARIABLE} or {PUBLIC_KEY_FILE_VARIABLE} "
            "to the public key of whoever signed the package."
        )
    return private_key(workspace).public_pem


def public_from_environment() -> str | None:
    """Return the keys to verify by that the environment gives, as PEM, or None if it gives none.

    They are what MLOPS_SIGNING_PUBLIC_KEY holds or MLOPS_SIGNING_PUBLIC_KEY_FILE names; else the public key
    of the one to sign by.

    Raises
    ------
    SignatureError
        If none can be used.
    PrivacyError
        If others may read the private key's file.
    """
    found = _environment(PUBLIC_KEY_VARIABLE, PUBLIC_KEY_FILE_VARIABLE, secret=False)
    if found is None:
        key = from_environment()
        return None if key is None else key.public_pem
    pem, source = found
    try:
        signatures.public_keys(pem)
    except SignatureError as error:
        raise SignatureError(f"{source}: {error}") from None
    return pem


def fingerprints(pem: str) -> list[str]:
    """Return the fingerprint of each public key in a PEM text.

    Raises
    ------
    SignatureError
        If there is none, or one that can't be used.
    """
    return [signatures.fingerprint(key) for key in signatures.public_keys(pem)]


def generate() -> SigningKey:
    """Make a new key, which is nowhere but in memory."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return SigningKey(ec.generate_private_key(ec.SECP256R1()), "new")


def make_pair(path: Path, password: str = "") -> SigningKey:
    """Write a new pair of keys: the private one to a path, for its owner alone, the public one to <path>.pub.

    Parameters
    ----------
    password : str
        Encrypts the private key; "" leaves it as it is.

    Raises
    ------
    SignatureError
        If one of the files is there already: what an overwritten key signed could no longer be verified.
    """
    public = path.with_name(f"{path.name}.pub")
    for there in (path, public):
        if there.exists():
            raise SignatureError(f"{there} is there already: name another file for the new key.")
    made = SigningKey(generate().private, str(path))
    files.write_text(path, made.private_pem(password), private=True)
    files.write_text(public, made.public_pem)
    return made


def _environment(variable: str, file_variable: str, *, secret: bool) -> tuple[str, str] | None:
    """Return a PEM text that the environment gives, and where it was found; an empty variable gives none.

    A relative path counts from `project.home`, for notebooks run in other folders.
    """
    text, name = os.environ.get(variable), os.environ.get(file_variable)
    if text and name:
        raise SignatureError(f"{variable} and {file_variable} are both set: unset one of them.")
    if text:
        return text, variable
    if not name:
        return None
    path = project.resolve(name)
    try:
        return (files.read_private(path) if secret else path.read_text(encoding="utf-8")), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SignatureError(f"{file_variable} names {path}, which can't be read ({reason}).") from None


def load(pem: str, source: str, password: str = "") -> SigningKey:
    """Read a private key. Nothing of what it holds goes into a message.

    Parameters
    ----------
    pem : str
        The key.
    source : str
        Where it came from, for a person.
    password : str
        Decrypts it, if it is encrypted.

    Raises
    ------
    SignatureError
        If it isn't an elliptic-curve key on P-256, or the password is another key's.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    encrypted = "ENCRYPTED" in pem
    if encrypted and not password:
        raise SignatureError(f"The key in {source} is encrypted: set {PASSWORD_VARIABLE}.")
    try:
        key = load_pem_private_key(pem.encode(), password.encode() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        hint = f", or {PASSWORD_VARIABLE} is another key's" if encrypted else ""
        raise SignatureError(
            f"The key in {source} can't be read: it has to be a private key as PEM{hint}."
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignatureError(
            f"The key in {source} is not an elliptic-curve key on P-256: python -m ci signing-key makes one."
        )
    return SigningKey(key, source)
