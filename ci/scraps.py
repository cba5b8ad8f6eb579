"""What an executed notebook has glued, read by scrapbook and held against what pipeline.yml declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci.pipeline import ScrapType, check_scrap
from ci.runs import Failure, StepFailure


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
