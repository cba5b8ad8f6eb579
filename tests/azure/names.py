"""The names that are looked up inside the sandbox, and where they lead: nowhere but to loopback.

They are Azure's own, so that the SDK runs with the settings that it has in production. A name that is
not listed is not found, and fails the test that asked for it.
"""

from __future__ import annotations

import re

REGION = "westeurope"
ACCOUNT = "mlopsstorage"
REGISTRY = "mlopsregistry"

CLOUD = "127.0.0.1"
BLOBS = "127.0.0.2"  # an address of its own, so that both answer on the port that real addresses have

MANAGEMENT = "management.azure.com"
LOGIN = "login.microsoftonline.com"
SERVICES = f"{REGION}.api.azureml.ms"
BLOB_SUFFIX = "blob.core.windows.net"
FRONT = f"front.{BLOB_SUFFIX}"  # leads to the same blobs, by way of the stand-in

# Wildcards stand for one label, as they do in a certificate.
_LISTED = {
    "localhost": CLOUD,
    MANAGEMENT: CLOUD,
    LOGIN: CLOUD,
    SERVICES: CLOUD,
    f"{REGION}.experiments.azureml.net": CLOUD,
    "ml.azure.com": CLOUD,
    FRONT: CLOUD,
    f"*.{BLOB_SUFFIX}": BLOBS,
    "*.azurecr.io": CLOUD,
    "*.vault.azure.net": CLOUD,
    f"*.{REGION}.azurecontainer.io": CLOUD,
    f"*.{REGION}.cloudapp.azure.com": CLOUD,
}
CERTIFIED = tuple(_LISTED)


def address(name: str) -> str | None:
    """Return the address of a name, or None if it isn't listed."""
    for listed, found in _LISTED.items():
        pattern = re.escape(listed).replace(r"\*", "[^.]+")
        if re.fullmatch(pattern, name.rstrip("."), re.IGNORECASE):
            return found
    return None
