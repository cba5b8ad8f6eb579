"""The workspace's container registry: which digest an image has there, and what it consists of."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from utils.platforms.azureml.faults import retried, speaking
from utils.platforms.protocol import Image, PlatformError

# A registry answers in the form that it has kept an image in.
_FORMS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LOCATION = re.compile(
    r"(?P<host>[^/]+)/(?P<name>[^@]+?)(?::(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
TIMEOUT = 60.0


def look(location: str, address: str, user: str, password: str) -> Image:
    """Ask a registry for an image.

    Parameters
    ----------
    location : str
        Where the image was pushed to: host, name and tag.
    address : str
        The registry's host. User and password are sent to no other.

    Raises
    ------
    PlatformError
        If the image isn't there, lies in another registry, or the registry doesn't give the digest of what
        it answers.
    """
    found = _LOCATION.fullmatch(location)
    if found is None or found["host"].lower() != address.lower():
        raise PlatformError(
            f"The image {location} isn't in the workspace's registry {address}: its digest can't be told."
        )
    url = f"https://{address}/v2/{found['name']}/manifests/{found['tag'] or found['digest'] or 'latest'}"
    with speaking(f"The image {location} can't be found in the registry"):
        content, stated = retried(lambda: _get(url, user, password))
    # What is deployed later is called by this digest: it has to be that of the very bytes that were answered.
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if stated != digest:
        raise PlatformError(
            f"The registry {address} says that the image {location} has the digest {stated or '(none)'}, but "
            f"what it answers has {digest}: build the image again."
        )
    return _described(content, f"{address}/{found['name']}@{digest}", digest)


def _get(url: str, user: str, password: str) -> tuple[bytes, str]:
    import requests

    answer = requests.get(
        url,
        headers={"Accept": ", ".join(_FORMS)},
        auth=(user, password),
        timeout=TIMEOUT,
        allow_redirects=False,
    )
    answer.raise_for_status()
    return answer.content, answer.headers.get("Docker-Content-Digest", "")


def _described(content: bytes, reference: str, digest: str) -> Image:
    import json

    try:
        layers: list[dict[str, Any]] = [
            {
                "what": _KINDS.get(each["mediaType"], each["mediaType"]),
                "digest": each["digest"],
                "size": int(each["size"]),
            }
            for each in json.loads(content)["layers"]
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise PlatformError(
            f"What the registry answers for {reference} is no image: build it again."
        ) from error
    return Image(reference, digest, sum(each["size"] for each in layers), layers)


_KINDS = dict.fromkeys(
    (
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    "layer",
)
