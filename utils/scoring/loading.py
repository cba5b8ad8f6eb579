"""Loading: a package becomes a scorer, once it is found whole, signed, and right about its golden rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import integrity
from .integrity import Identity
from .scorer import Scorer
from .settings import Settings

# A predicted number may differ from the expected one e by this · (1 + |e|): processors round differently.
TOLERANCE = 1e-6


class LoadingError(RuntimeError):
    """The package must not be served; the message says why."""


@dataclass(frozen=True)
class Loaded:
    """A package that was checked, and is ready to score.

    Attributes
    ----------
    identity : Identity
    scorer : Scorer
    example : list
        A golden row.
    """

    identity: Identity
    scorer: Scorer
    example: list[Any]


def load(folder: Path, settings: Settings, *, cached: bool = False) -> Loaded:
    """Check a package and load its model; its first predictions are made, so that the next are fast.

    Parameters
    ----------
    folder : Path
    settings : Settings
    cached : bool
        As for `integrity.verify`.

    Raises
    ------
    IntegrityError
        If a file isn't the one that the manifest names.
    LoadingError
        If the signature is asked for and isn't right, the model can't be loaded, or it doesn't
        predict what it is known to.
    """
    identity = integrity.verify(folder, cached=cached)
    if settings.public_key:
        _verify_signature(folder, settings.public_key)
    try:
        scorer = Scorer(folder, settings.max_rows)
        golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        _compare(scorer, golden["data"], golden["expected"], settings.max_rows)
    except LoadingError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are bytes in it
        raise LoadingError(
            f"The package {folder} can't be loaded ({type(error).__name__}: {error})."
        ) from error
    return Loaded(identity, scorer, golden["data"][0])


def _verify_signature(folder: Path, public_key: str) -> None:
    # Here, not above: only a signature needs it, and it takes its time to import.
    from . import signatures

    try:
        signatures.verify(folder, public_key)
    except signatures.SignatureError as error:
        raise LoadingError(str(error)) from error


def _compare(scorer: Scorer, rows: list[list[Any]], expected: list[Any], most: int) -> None:
    """Score the golden rows; the predictions must be the known ones."""
    found: list[Any] = []
    for start in range(0, len(rows), most):
        found += scorer.score(json.dumps({"data": rows[start : start + most]}))
    if len(found) != len(expected) or not found:
        raise LoadingError(f"{len(found)} golden rows are scored, {len(expected)} are expected.")
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if not _same(one, other):
            raise LoadingError(
                f"The model predicts {one!r} for golden row {number} instead of {other!r}: "
                "it must not answer on this machine. Build the package again."
            )


def _same(one: Any, other: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    return abs(one - other) <= TOLERANCE * (1 + abs(other)) if numbers else bool(one == other)
