"""What exactly is recorded of a training: the run history's own fields are too small for it.

Each recording and each annotation is a file of JSON beside the run's other files, which can't be overwritten.
What is recorded of a training is what its records say, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from utils.platforms.protocol import PlatformError

FOLDER = "record"
VERSION = 1


@dataclass(frozen=True)
class Kept:
    """A file of a training.

    Attributes
    ----------
    artifact : str
        The name under which the run history has it.
    sha256 : str
        Of its content.
    """

    artifact: str
    sha256: str


@dataclass(frozen=True)
class Record:
    """What is recorded of a training.

    Attributes
    ----------
    parameters, tags : mapping
        Texts by name.
    metrics : mapping
        Numbers by name; NaN and infinities are such.
    files : mapping
        Kept by path, such as "model/model.skops".
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Kept] = field(default_factory=dict)

    def __or__(self, later: Record) -> Record:
        """Return what is recorded once a later record has been added."""
        return Record(
            {**self.parameters, **later.parameters},
            {**self.metrics, **later.metrics},
            {**self.tags, **later.tags},
            {**self.files, **later.files},
        )

    def below(self, path: str) -> dict[str, Kept]:
        """Return the files that a path means: one file, or all of a folder."""
        path = path.rstrip("/")
        if path in self.files:
            return {path: self.files[path]}
        return {name: kept for name, kept in self.files.items() if name.startswith(f"{path}/")}


def name(number: int, mark: str) -> str:
    """Return the name of a record's file, by which records are in order.

    Parameters
    ----------
    number : int
        How many there were before.
    mark : str
        Tells it from one that was written at the same time.
    """
    return f"{FOLDER}/{number:06d}-{mark}.json"


def write(record: Record) -> bytes:
    """Return a record as JSON. Metrics are texts: it has no word for NaN."""
    content = {
        "schema_version": VERSION,
        "parameters": dict(record.parameters),
        "metrics": {metric: repr(float(value)) for metric, value in record.metrics.items()},
        "tags": dict(record.tags),
        "files": {path: vars(kept) for path, kept in record.files.items()},
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def read(content: bytes) -> Record:
    """Read a record.

    Raises
    ------
    PlatformError
        If it isn't one, or names files that can't be a training's.
    """
    try:
        found = json.loads(content)
        if found["schema_version"] != VERSION:
            raise PlatformError(
                f"The record has version {found['schema_version']}, and this program knows {VERSION}: "
                "use a newer one."
            )
        files = {
            str(path): Kept(str(each["artifact"]), str(each["sha256"]))
            for path, each in found["files"].items()
        }
        record = Record(
            _texts(found["parameters"]),
            {str(metric): float(value) for metric, value in found["metrics"].items()},
            _texts(found["tags"]),
            files,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlatformError(f"The record can't be read ({type(error).__name__}: {error}).") from None
    _demand_inside(files)
    return record


def _texts(found: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items()}


def _demand_inside(paths: Iterable[str]) -> None:
    """Refuse paths that lead out of the folder that they are copied to."""
    for path in paths:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path:
            raise PlatformError(f"The record names a file {path!r}, which leads elsewhere.")
