"""What can be told of data without reading it as a table: where it is, and whether it has changed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from utils import files, project

BUNDLED = "sklearn:"

# The query and the fragment of an address, up to the next link of a chain.
QUERY = re.compile(r"[?#].*?(?=::|$)")
# user:password@ of an address (a password may hold any character).
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/?#\s]*@|[^/?#\s:]*:\S*@)")
# What file systems call the mark of a content: S3, Google and Azure, web servers, WebDAV.
_MARKS = ("ETag", "etag", "Content-MD5", "md5Hash")


class SourceError(RuntimeError):
    """Nobody can tell whether the data has changed; the message says why."""


def redact(source: str) -> str:
    """Return a source without user, password, query and fragment, to be shown and recorded."""
    if "://" not in source:
        return source
    return QUERY.sub(lambda match: f"{match[0][0]}***", _CREDENTIALS.sub("***@", source))


def content(source: str) -> str:
    """Return what changes whenever the content of a source does.

    Parameters
    ----------
    source : str
        As `utils.data.load` takes it: "sklearn:NAME", a path relative to the project's folder, or an address
        that fsspec can open. Of a chain such as zip://a.csv::s3://bucket/b.zip the last link counts.

    Returns
    -------
    str
        The SHA-256 of a file, or of all the files in a folder; the mark of its content that a remote file
        system gives; "" for what scikit-learn brings along, which is as the installed version has it.

    Raises
    ------
    SourceError
        If there is no such file, or its file system has no mark that changes with every content.
    """
    if not source or source.startswith(BUNDLED):
        return ""
    link = source.rpartition("::")[2] if "://" in source else source
    protocol, mark, path = link.partition("://")
    if re.search(r"cache\w*(::|://)", source.removesuffix(link)):
        raise SourceError(f"{redact(source)} may be read from a cache")
    if not mark or protocol in ("file", "local"):
        return _local(project.root() / (path or link), redact(source))
    return _remote(link)


def _local(path: Path, shown: str) -> str:
    try:
        if not path.is_dir():
            return files.sha256(path)
        found = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path).as_posix()} {files.sha256(file)}\n" for file in found]
    except OSError as error:
        raise SourceError(f"{shown} can't be read: {error.strerror}") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _remote(address: str) -> str:
    # Neither size nor time tells two contents apart for sure, nor do fsspec's own `ukey` and `checksum`,
    # which are made of these (and for a web server of the address alone).
    try:
        import fsspec

        system, path = fsspec.url_to_fs(address)
        system.invalidate_cache()
        about: dict[str, Any] = system.info(path)
    except Exception:  # whatever a file system raises; its message may hold credentials
        raise SourceError(f"{redact(address)} can't be asked") from None
    for name in _MARKS:
        value = str(about.get(name) or "")
        # By RFC 9110 a weak mark, W/"…", may stay the same although the bytes change.
        if value and not value.startswith("W/"):
            return f"{name} {value}"
    raise SourceError(f"{redact(address)} has no mark of its content (ETag)")
