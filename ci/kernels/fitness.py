"""Whether a kernel that is forked from a server is the one that was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci.kernels.preload import READ_ONCE, packages


def unusable(report: Mapping[str, Any], preload: Sequence[str]) -> str:
    """Say why the server that a person keeps ready won't do for this process, or "".

    Parameters
    ----------
    report : mapping
        What the server says of itself, see `ci.kernels.preload.report`; empty if it doesn't answer.
    preload : sequence of str
        The modules that it must have imported.
    """
    if not report:
        return "it doesn't answer"
    missing = sorted(set(preload) - set(report["modules"]))
    if report["unsafe"]:
        return str(report["unsafe"])
    if report["executable"] != sys.executable:
        return "it runs another Python"
    if report["packages"] != packages():
        return "an installed package has changed since it started"
    if missing:
        return f"it has not imported {', '.join(missing)}"
    return difference(report["environment"], os.environ)


def unfit(command: Sequence[str], cwd: str) -> str:
    """Say why a warm kernel would not be what is asked for, or ""."""
    # An installed kernel's option for the sake of debuggers; nothing else differs.
    words = [word for word in command if word != "-Xfrozen_modules=off"]
    if words[:3] != [sys.executable, "-m", "ipykernel_launcher"]:
        return f"its command is not this Python's kernel ({' '.join(command)})"
    return "" if Path(cwd).is_dir() else f"{cwd} is no folder"


def difference(environment: Mapping[str, str], env: Mapping[str, str]) -> str:
    """Say which of the variables that are read only once differ from the server's, or ""."""
    names = set(environment) | {name for name in env if name.startswith(READ_ONCE)}
    changed = sorted(name for name in names if environment.get(name) != env.get(name))
    return f"{', '.join(changed)} changed since the kernel server started" if changed else ""
