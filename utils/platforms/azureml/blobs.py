"""Blobs in the workspace's storage: written once, and looked at afterwards.

The SDK's own ways of writing them aren't used: the one for runs takes a blob whose answer was lost for one
that somebody else has written, and the one for data stores says nothing where a blob couldn't be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils import files
from utils.platforms.protocol import PlatformError

# In seconds: the client's own answer to a silent server is to wait for a day.
_PATIENCE = {"connection_timeout": 20, "read_timeout": 120}


class TakenError(PlatformError):
    """There is a blob of that name already, with another content."""


@dataclass(frozen=True)
class Content:
    """What tells one content from another; the service keeps both beside the blob.

    Attributes
    ----------
    size : int
        In bytes.
    md5 : bytes
        Against accidents, not against malice: whoever reads a record compares a SHA-256.
    """

    size: int
    md5: bytes


def signed(address: str) -> Any:
    """Return the client of a blob by an address with a signature."""
    from azureml._vendor.azure_storage.blob import BlobClient

    return BlobClient.from_blob_url(address, **_PATIENCE)


def within(datastore: Any, path: str) -> Any:
    """Return the client of a blob of a data store."""
    from azureml._vendor.azure_storage.blob import BlobClient

    service = datastore.blob_service
    return BlobClient(
        service.url.split("?")[0],
        container_name=datastore.container_name,
        blob_name=path,
        credential=service.credential,
        **_PATIENCE,
    )


def write(blob: Any, source: Path | bytes) -> None:
    """Write a blob that isn't there yet; one with just this content will do.

    Raises
    ------
    TakenError
        If there is one with another content.
    PlatformError
        If afterwards there is none.
    Exception
        Whatever the client raises.
    """
    from azureml._vendor.azure_storage.blob import ContentSettings

    content = _content(source)
    settings = ContentSettings(content_md5=bytearray(content.md5))
    # One that is there was written by somebody else, or by this very call, whose answer was lost.
    with _opened(source) as stream:
        try:
            blob.upload_blob(stream, length=content.size, content_settings=settings, overwrite=False)
        except Exception as error:
            if getattr(error, "status_code", None) != 409:
                raise
    found = look(blob)
    if found is None:
        raise PlatformError(f"{blob.blob_name} was written, but isn't there: try again.")
    if found != content:
        raise TakenError(f"There is a {blob.blob_name} already, with another content.")


def look(blob: Any) -> Content | None:
    """Return what a blob holds, or None where the service says that there is no such blob.

    Raises
    ------
    Exception
        Whatever else the client raises.
    """
    try:
        found = blob.get_blob_properties()
    except Exception as error:
        if getattr(error, "status_code", None) == 404:
            return None
        raise
    return Content(found.size, bytes(found.content_settings.content_md5 or b""))


def read(blob: Any) -> bytes:
    """Return what a blob holds.

    Raises
    ------
    Exception
        Whatever the client raises.
    """
    content: bytes = blob.download_blob().readall()
    return content


def fetch(blob: Any, destination: Path) -> None:
    """Copy a blob to a file, in place of one that is there; its folder is made if need be.

    Raises
    ------
    Exception
        Whatever the client raises; the file is as it was then.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = destination.with_name(f".{destination.name}.part")
    try:
        with aside.open("wb") as file:
            blob.download_blob().readinto(file)
        aside.replace(destination)
    finally:
        aside.unlink(missing_ok=True)


def _content(source: Path | bytes) -> Content:
    with _opened(source) as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        return Content(stream.seek(0, os.SEEK_END), digest.digest())


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[io.BytesIO | io.BufferedReader]:
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        yield stream


def sha256(source: Path | bytes) -> str:
    """Return 64 hexadecimal digits."""
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else files.sha256(source)
