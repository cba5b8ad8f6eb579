"""How packages are signed and verified here: by keys of the environment, or else the workspace's own."""

from __future__ import annotations

from pathlib import Path

from utils import signing_keys
from utils.platforms import signing


def sign(package: Path, workspace: Path) -> str:
    """Sign a package, once; return the key's fingerprint.

    Raises
    ------
    PlatformError
        If there is no key that can be used, or the package holds what can't be signed.
    """
    return signing.sign(package, lambda: signing_keys.private_key(workspace))


def verify(package: Path, workspace: Path) -> str:
    """Demand a signature of the whole package by a key that is trusted here; return the key's fingerprint.

    Raises
    ------
    PlatformError
        Naming each file that isn't as it was signed; or if there is no signature, or no key.
    """
    return signing.verify(package, public_keys(workspace))


def public_keys(workspace: Path) -> str:
    """Return the keys that are trusted here, as PEM.

    Raises
    ------
    PlatformError
        If there is none, or none that can be used.
    """
    with signing.speaking():
        return signing_keys.public_pem(workspace)


def check() -> None:
    """Demand that the key to sign by can be used, if the environment names one.

    Raises
    ------
    PlatformError
        If it can't.
    """
    with signing.speaking():
        signing_keys.check()
