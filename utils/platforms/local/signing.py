"""How packages are signed and verified here: by keys of the environment, or else the workspace's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from utils import files, signatures, signing_keys
from utils.platforms.protocol import PlatformError


def sign(package: Path, workspace: Path) -> str:
    """Sign a package, once; return the key's fingerprint.

    Raises
    ------
    PlatformError
        If there is no key that can be used, or the package holds what can't be signed.
    """
    with _speaking():
        key = signing_keys.private_key(workspace)
        signatures.sign(package, key)
        return key.fingerprint


def verify(package: Path, workspace: Path) -> str:
    """Demand a signature of the whole package by a key that is trusted here; return the key's fingerprint.

    Raises
    ------
    PlatformError
        Naming each file that isn't as it was signed; or if there is no signature, or no key.
    """
    public_pem = public_keys(workspace)
    with _speaking():
        return signatures.verify(package, public_pem)


def public_keys(workspace: Path) -> str:
    """Return the keys that are trusted here, as PEM.

    Raises
    ------
    PlatformError
        If there is none, or none that can be used.
    """
    with _speaking():
        return signing_keys.public_pem(workspace)


def check() -> None:
    """Demand that the key to sign by can be used, if the environment names one.

    Raises
    ------
    PlatformError
        If it can't.
    """
    with _speaking():
        signing_keys.check()


@contextlib.contextmanager
def _speaking() -> Iterator[None]:
    """Turn what is wrong with a key or a signature into a platform's refusal."""
    try:
        yield
    except (OSError, signatures.SignatureError, files.PrivacyError) as error:
        raise PlatformError(str(error)) from error
