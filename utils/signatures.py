"""Signatures of packages: OpenSSF model signing over every file, by an elliptic-curve key.

The signature is one file in the package, model.sig, made by the model-signing library. It is verified
twice: as a service does when it starts, which is the stricter way and names the file at fault, and by
the library, as anybody else would.

References
----------
OpenSSF, "Model signing specification", https://github.com/ossf/model-signing-spec
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from utils.scoring import signatures as service
from utils.scoring.signatures import SIGNATURE, SignatureError

if TYPE_CHECKING:
    from model_signing import hashing

    from utils.signing_keys import SigningKey


__all__ = ["SIGNATURE", "SignatureError", "sign", "verify"]


def sign(folder: Path, key: SigningKey) -> Path:
    """Sign every file of a package.

    A package that this key has signed already, and that is as it was then, is left as it is: two
    signatures of the same content differ, and with them the digests of all that holds them.

    Parameters
    ----------
    folder : Path
        The package. Nothing in it may be changed afterwards.
    key : SigningKey
        From `utils.signing_keys.private_key`.

    Returns
    -------
    Path
        The signature's file, in the folder.

    Raises
    ------
    SignatureError
        If the folder holds what can't be signed, such as a link, or was changed meanwhile.
    """
    with contextlib.suppress(SignatureError):
        verify(folder, key.public_pem)
        return folder / SIGNATURE
    # Here, not above: the library takes a third of a second to import.
    from model_signing import signing

    # Beside the folder, not in it: what a killed process leaves must not be signed by the next one.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
        made = Path(aside) / SIGNATURE
        try:
            with _open_file(key.private_pem()) as path:
                config = signing.Config().use_elliptic_key_signer(private_key=path)
            config.set_hashing_config(_hashing()).sign(folder, made)
        except ValueError as error:
            raise SignatureError(f"The package {folder} can't be signed: {error}") from error
        made.replace(folder / SIGNATURE)
    try:
        verify(folder, key.public_pem)
    except SignatureError:
        (folder / SIGNATURE).unlink(missing_ok=True)
        raise
    return folder / SIGNATURE


def verify(folder: Path, public_keys_pem: str) -> str:
    """Compare a package with its signature.

    Parameters
    ----------
    folder : Path
        The package.
    public_keys_pem : str
        From `utils.signing_keys.public_pem`: the keys, one of which has to have signed.

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
    signer = service.verify(folder, public_keys_pem)
    keys = service.public_keys(public_keys_pem)
    _verify_by_library(folder, next(key for key in keys if service.fingerprint(key) == signer))
    return signer


def _verify_by_library(folder: Path, key: service.Key) -> None:
    from model_signing import verifying

    try:
        with _open_file(service.pem(key)) as path:
            config = verifying.Config().use_elliptic_key_verifier(public_key=path)
        config.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE)
    except Exception as error:  # whatever it stumbles over, it has not said yes
        raise SignatureError(f"model-signing refuses the package {folder}: {error}") from error


def _hashing() -> hashing.Config:
    """Leave nothing out but the signature, as the library by itself would leave out .git and the like."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


@contextlib.contextmanager
def _open_file(content: str) -> Iterator[Path]:
    """Give a key a path, for a library that reads keys from files: a pipe, so that it is on no disk."""
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "w") as file:
            file.write(content)
        yield Path(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
