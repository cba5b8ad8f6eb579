"""What an executed notebook has glued, read by scrapbook and held against what pipeline.yml declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from ci.pipeline import ScrapType
from ci.runs import Failure, StepFailure

_SCRAPS: dict[str, TypeAdapter[Any]] = {
    "str": TypeAdapter(str),
    "int": TypeAdapter(int),
    "float": TypeAdapter(FiniteFloat),
    "bool": TypeAdapter(bool),
    "list": TypeAdapter(list[Any]),
    "dict": TypeAdapter(dict[str, Any]),
    "outcome": TypeAdapter(Literal["promote", "not_better", "blocked"]),
}


def read(notebook: Path, declared: Mapping[str, ScrapType]) -> dict[str, Any]:
    """Return what an executed notebook glued, of what is declared for it.

    Raises
    ------
    StepFailure
        If a declared scrap is missing or of another type, or holds NaN or an infinity.
    """
    scraps, problems = _scraps(notebook, declared)
    if problems:
        message = f"the notebook's scraps are not what pipeline.yml declares: {'; '.join(problems)}"
        raise StepFailure(Failure(name="ScrapError", message=message))
    return scraps


def glued(notebook: Path, declared: Mapping[str, ScrapType]) -> dict[str, Any]:
    """Return those of the declared scraps that a notebook, which may have failed, glued as declared."""
    return _scraps(notebook, declared)[0] if notebook.exists() else {}


def check_scrap(kind: ScrapType, value: Any) -> Any:
    """Return a scrap's value if it is of its declared type, with no NaN or infinity anywhere in it.

    Raises
    ------
    ValueError
        If it isn't.
    """
    try:
        value = _SCRAPS[kind].validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"expected {kind}, got {value!r}: {error.errors()[0]['msg']}") from None
    _demand_finite(value)
    return value


def _scraps(notebook: Path, declared: Mapping[str, ScrapType]) -> tuple[dict[str, Any], list[str]]:
    # It imports pandas, for which no notebook has to wait.
    import scrapbook

    found = scrapbook.read_notebook(str(notebook)).scraps
    scraps, problems = {}, []
    for name, kind in declared.items():
        if name not in found:
            problems.append(f"{name} was not glued")
            continue
        try:
            scraps[name] = check_scrap(kind, found[name].data)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return scraps, problems


def _demand_finite(value: Any) -> None:
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError(f"it holds {value}, which is not a finite number")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _demand_finite(inner)
