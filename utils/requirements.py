"""Requirements: the pinned distributions that a package's service imports, and no more."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils import project

# What utils/scoring imports whatever the model's format.
SERVICE = (
    "msgspec",
    "numpy",
    "uvicorn",
    "uvloop",
    "httptools",
    "prometheus-client",
    "cryptography",
)

# What it needs beside these to load a model of each format.
FORMATS = {"onnx": ("onnxruntime",), "skops": ("scikit-learn", "skops", "pandas")}


# The environments that packages are built in: the usual one, and the one with azureml-sdk.
LOCKS = ("requirements.lock", "azureml.lock")


class RequirementsError(RuntimeError):
    """It can't be told what a model needs; the message says why."""


def pinned(model: Path) -> str:
    """List what scoring by a model needs, as pip reads it.

    The distributions are those that the service imports, those whose types a skops file holds, and what
    these require in turn on this machine. Each is pinned to what is installed, with its hashes if
    a lock of the project pins the same; pip wants hashes for all or none, so one that isn't locked
    leaves all without.

    Parameters
    ----------
    model : Path
        The model.skops or model.onnx.

    Raises
    ------
    RequirementsError
        If the model needs a module that no installed package provides.
    """
    kind = model.suffix.removeprefix(".")
    own = _distributions(model) if kind == "skops" else set()
    needed = _closure([*SERVICE, *FORMATS[kind], *own])
    pins = {name: importlib.metadata.version(name) for name in needed}
    locked = _locked()
    if all(pin in locked for pin in pins.items()):
        return "".join(f"{pin[0]}=={pin[1]}{locked[pin]}\n" for pin in sorted(pins.items()))
    unlocked = [name for name, version in sorted(pins.items()) if (name, version) not in locked]
    return f"# Without hashes: {', '.join(unlocked)} not as in {LOCKS[0]}.\n" + "".join(
        f"{name}=={version}\n" for name, version in sorted(pins.items())
    )


def _distributions(model: Path) -> set[str]:
    """Return the distributions whose types a skops file holds."""
    try:
        with zipfile.ZipFile(model) as archive:
            content = json.loads(archive.read("schema.json"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RequirementsError(f"{model.name} can't be read as a model: {error}") from error
    modules: set[str] = set()
    pending: list[Any] = [content]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if isinstance(part.get("__module__"), str):
                modules.add(part["__module__"].partition(".")[0])
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    providers = importlib.metadata.packages_distributions()
    found = set()
    for module in sorted(modules - set(sys.stdlib_module_names)):
        if module not in providers:
            raise RequirementsError(
                f"The model holds types of the module {module!r}, which no installed package provides: "
                "a service couldn't load it."
            )
        found.add(providers[module][0])
    return found


def _closure(names: Iterable[str]) -> set[str]:
    """Add what distributions require, without extras that nobody asked for, on this machine."""
    # Here, not above: every command that asks for a service imports this module, and none of them parses.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    pending: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        name, extras = pending.pop()
        key = canonicalize_name(name)
        if (key, extras) in seen:
            continue
        seen.add((key, extras))
        found.add(key)
        for line in importlib.metadata.requires(key) or []:
            wanted = Requirement(line)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in extras or {""}):
                pending.append((wanted.name, frozenset(wanted.extras)))
    return found


def _locked() -> dict[tuple[str, str], str]:
    """Read the locks: the hashes (as written there) of each distribution and version."""
    from packaging.utils import canonicalize_name

    found = {}
    entry = re.compile(r"^([\w.-]+)==([^\s;\\]+)[^\n]*?((?: *\\\n +--hash=\S+)+)", re.MULTILINE)
    for path in (project.root() / name for name in LOCKS):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for name, version, hashes in entry.findall(text):
            found[str(canonicalize_name(name)), version] = hashes
    return found
