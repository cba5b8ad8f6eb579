"""How a platform signs and verifies packages, wherever it has its keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from utils import files, signatures
from utils.platforms.protocol import PlatformError
from utils.signing_keys import SigningKey


def sign(package: Path, private: Callable[[], SigningKey]) -> str:
    """Sign a package, once, by the key that is returned when it is asked for; return its fingerprint.

    Raises
    ------
    PlatformError
        If there is no key that can be used, or the package holds what can't be signed.
    """
    with speaking():
        key = private()
        signatures.sign(package, key)
        return key.fingerprint


def verify(package: Path, public_pem: str) -> str:
    """Demand a signature of the whole package by one of these keys; return the key's fingerprint.

    Raises
    ------
    PlatformError
        Naming each file that isn't as it was signed; or if there is no signature.
    """
    with speaking():
        return signatures.verify(package, public_pem)


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Turn what is wrong with a key or a signature into a platform's refusal."""
    try:
        yield
    except (OSError, signatures.SignatureError, files.PrivacyError) as error:
        raise PlatformError(str(error)) from error
