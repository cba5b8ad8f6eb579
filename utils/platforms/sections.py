"""A platform's own settings: one section of its parameter file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utils import project
from utils.platforms.protocol import PlatformError


def read(file: Path, section: str) -> dict[str, Any]:
    """Return the settings of a section as they are written; none where there is no file or no section.

    Parameters
    ----------
    file : Path
        Relative to the project, such as parameters/local.yml.

    Raises
    ------
    PlatformError
        If the file can't be read, or the section isn't names with values.
    """
    # Here, not above: a command that needs no settings shall not wait for it.
    import yaml

    path = project.root() / file
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PlatformError(f"{file} can't be read: {error}") from error
    given: Any = (content or {}).get(section) or {}
    if not isinstance(given, dict):
        raise PlatformError(f"{file}: {section} must name settings with their values.")
    return given
