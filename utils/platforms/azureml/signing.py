"""How packages are signed and verified: by keys of the environment, or else of the workspace's key vault.

A pair is made once for a workspace. The private key is a secret of the vault, the public one another, so
that whoever verifies need not read the first. Both are named after the key's fingerprint. Which of several
pairs is the workspace's is decided by a small blob that can be written only once: two jobs that make a pair
at the same time agree on one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import signing_keys
from utils.platforms import signing
from utils.platforms.azureml import blobs, sdk
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import PlatformError
from utils.signing_keys import SigningKey

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

CHOICE = "mlops/signing.json"
PRIVATE = "mlops-signing-key-"
PUBLIC = "mlops-signing-public-"
SHORT = 32


def sign(package: Path, site: Site) -> str:
    """Sign a package, once; return the key's fingerprint.

    Raises
    ------
    PlatformError
        If there is no key that can be used, or the package holds what can't be signed.
    """
    return signing.sign(package, lambda: signing_keys.from_environment() or _private(site))


def verify(package: Path, site: Site) -> str:
    """Demand a signature of the whole package by a key that is trusted here; return the key's fingerprint.

    Raises
    ------
    PlatformError
        Naming each file that isn't as it was signed; or if there is no signature, or no key.
    """
    return signing.verify(package, public_keys(site))


def public_keys(site: Site) -> str:
    """Return the keys that are trusted here, as PEM. None is made.

    Raises
    ------
    PlatformError
        If there is none, or none that can be used.
    """
    with signing.speaking():
        given = signing_keys.public_from_environment()
        if given is not None:
            return given
        with speaking("The key to verify packages by can't be read"), sdk.quiet():
            chosen = _chosen(site)
            if chosen is None:
                raise PlatformError(
                    f"There is no key to verify by: the {site.words} has none yet, which the first signature "
                    f"makes; or set {signing_keys.PUBLIC_KEY_VARIABLE} to the public key of whoever signed."
                )
            return _demanded(site, PUBLIC, chosen)


def check(*, remote: bool) -> None:
    """Demand that the key to sign by can be used, if the environment names one.

    Parameters
    ----------
    remote : bool
        Whether packages are made on the workspace's compute. It has the vault's key alone: a private key of
        the environment is not handed on, and what the other has signed would be refused in the end.

    Raises
    ------
    PlatformError
        If it can't, or would not be the one that signs.
    """
    with signing.speaking():
        signing_keys.check()
        if remote and signing_keys.from_environment() is not None:
            raise PlatformError(
                f"{signing_keys.KEY_VARIABLE} is set, but packages are made on the workspace's compute, "
                "which signs by the workspace's own key: unset it, or set azureml.compute.target to local."
            )


def _private(site: Site) -> SigningKey:
    """Return the workspace's key, which is made if there is none."""
    with speaking("The key to sign packages by can't be had"), sdk.quiet():
        chosen = _chosen(site) or _choose(site, signing_keys.generate())
        key = signing_keys.load(_demanded(site, PRIVATE, chosen), f"the key vault of the {site.words}")
        if key.fingerprint != chosen:
            raise PlatformError(
                f"The secret {PRIVATE}{chosen[:SHORT]} isn't the key of that fingerprint: it was changed in "
                "the key vault. Restore its first version."
            )
        return key


def _choose(site: Site, key: SigningKey) -> str:
    """Offer a new key as the workspace's; return the fingerprint of the one that it is from now on."""
    vault, mark = site.workspace.get_default_keyvault(), key.fingerprint[:SHORT]
    # First the secrets, then the choice: what is chosen is there, and what isn't chosen is never used.
    offered = {PRIVATE + mark: key.private_pem(), PUBLIC + mark: key.public_pem}
    site.retried(lambda: vault.set_secrets(offered))
    blob = blobs.within(site.datastore, CHOICE)
    try:
        blobs.write(blob, json.dumps({"fingerprint": key.fingerprint}).encode())
    except blobs.TakenError:
        site.retried(lambda: vault.delete_secrets(list(offered)))
    chosen = _chosen(site)
    if chosen is None:
        raise PlatformError(
            f"{CHOICE} was written to the workspace's data store, but isn't there: try again."
        )
    return chosen


def _chosen(site: Site) -> str | None:
    """Return the fingerprint of the workspace's key, or None where none was ever chosen."""
    blob = blobs.within(site.datastore, CHOICE)
    if blobs.look(blob) is None:
        return None
    try:
        fingerprint = str(json.loads(blobs.read(blob))["fingerprint"])
    except (ValueError, KeyError, TypeError):
        fingerprint = ""
    if len(fingerprint) != 64 or set(fingerprint) - set("0123456789abcdef"):
        raise PlatformError(
            f"{CHOICE} in the workspace's data store doesn't name a key: it was changed. Write "
            '{"fingerprint": "…"} with that of the right key.'
        )
    return fingerprint


def _demanded(site: Site, kind: str, chosen: str) -> str:
    """Return a secret of the chosen key."""
    name = kind + chosen[:SHORT]
    vault: Any = site.workspace.get_default_keyvault()
    found = site.retried(lambda: vault.get_secrets([name])).get(name)
    if not found:
        raise PlatformError(
            f"The key vault has no secret {name}: it was deleted. Recover it, or give the keys by "
            f"{signing_keys.KEY_VARIABLE} and {signing_keys.PUBLIC_KEY_VARIABLE}."
        )
    text = str(found)
    if kind == PUBLIC and signing_keys.fingerprints(text) != [chosen]:
        raise PlatformError(
            f"The secret {name} isn't the public key of that fingerprint: it was changed in the key vault. "
            "Restore its first version."
        )
    return text
