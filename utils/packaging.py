"""Packages: a model with all that is needed to score by it, and a manifest that tells whether it is whole."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from utils import files, project

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"

# What score.py and serve.py import; the model file adds what it needs itself.
SCORING_DISTRIBUTIONS = ("scikit-learn", "skops", "numpy", "pandas", "starlette", "uvicorn")


CODE = ("score.py", "serve.py", "trust.py")
FILES = ("model.skops", "schema.json", *CODE, "requirements.txt", "golden.json")


class PackageError(RuntimeError):
    """A package can't be built or isn't what it says; the message says why and what to do next."""


class Manifest(BaseModel):
    """What a package is, and what it consists of. It holds no time: the same inputs give the same bytes.

    Attributes
    ----------
    name, version : str
        Of the registered model.
    lineage : dict
        Where it comes from: run id, commit, data fingerprint and the like.
    python : str
        The version of Python that it was built and tested with, such as "3.11".
    files : dict
        The SHA-256 of each file but the manifest, by its path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    name: str
    version: str
    lineage: dict[str, str]
    python: str
    files: dict[str, str]


@dataclass(frozen=True)
class Package:
    """A package on disk.

    Attributes
    ----------
    folder : Path
    digest : str
        The SHA-256 of its manifest, and so of everything in it.
    size : int
        All of its files, in bytes.
    """

    folder: Path
    digest: str
    size: int
    manifest: Manifest


# ------------------------------------------------------------------ building


def build(
    model_folder: Path,
    destination: Path,
    *,
    name: str,
    version: str,
    golden_rows: pd.DataFrame,
    lineage: Mapping[str, str],
) -> Package:
    """Write a package: the model, its schema, the scoring files, pinned requirements, golden rows, manifest.

    It is built aside and renamed into place; a package that was there is replaced.

    Parameters
    ----------
    model_folder : Path
        Holds model.skops and schema.json.
    destination : Path
        The package's folder, such as ``runs/<run-id>/package``.
    golden_rows : DataFrame, shape (rows, features or more)
        Rows whose predictions the service must reproduce; columns beside the model's inputs are left out.
    lineage : mapping
        Goes into the manifest, which everybody may read.

    Raises
    ------
    PackageError
        If a file or column is missing, a golden row doesn't fit the schema, the model needs a module
        that no installed package provides, or the service would predict something else than the model.
    """
    if destination.name in ("", "..") or (destination.exists() and not destination.is_dir()):
        raise PackageError(f"{destination} can't be the folder of a package: name another.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as aside:
        folder = Path(aside) / "package"
        folder.mkdir()
        for file in ("model.skops", "schema.json"):
            if not (model_folder / file).is_file():
                raise PackageError(f"There is no {file} in {model_folder}: train the model again.")
            shutil.copyfile(model_folder / file, folder / file)
        code = Path(__file__).parent
        for source in (code / "scoring" / "score.py", code / "scoring" / "serve.py", code / "trust.py"):
            shutil.copyfile(source, folder / source.name)
        files.write_text(folder / "requirements.txt", requirements(folder / "model.skops"))
        files.write_json(folder / "golden.json", _golden(folder, golden_rows))
        manifest = Manifest(
            name=name,
            version=version,
            lineage=dict(sorted(lineage.items())),
            python=".".join(platform.python_version_tuple()[:2]),
            files={path.name: files.sha256(path) for path in sorted(folder.iterdir())},
        )
        files.write_json(folder / MANIFEST, manifest.model_dump())
        _replace(folder, destination)
    return load(destination)


def _golden(folder: Path, rows: pd.DataFrame) -> dict[str, Any]:
    """Ask the model as the service will, and as the notebooks do; the two must agree."""
    # Here, not above: reading a manifest needs none of the scientific packages.
    import numpy as np

    from utils import models
    from utils.scoring.score import BadRequest, Scorer

    try:
        scorer = Scorer(folder)
    except (KeyError, ValueError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise PackageError(f"The model in the package can't be loaded: {error}") from error
    absent = [name for name in scorer.names if name not in rows.columns]
    if absent:
        raise PackageError(f"The golden rows have no column {', '.join(absent)}, which the model needs.")
    if rows.empty:
        raise PackageError("There are no golden rows: give at least one, or nothing can be tested.")
    data = [[_plain(value) for value in row] for row in rows[scorer.names].astype(object).to_numpy().tolist()]
    try:
        expected = scorer.score(json.dumps({"data": data}))
    except BadRequest as error:
        raise PackageError(f"The golden rows don't fit the model's schema: {error}") from error
    trusted = json.loads((folder / "schema.json").read_text(encoding="utf-8")).get("trusted", [])
    direct = models.predict(models.load(folder / "model.skops", trusted), rows[scorer.names])
    same = (
        np.allclose(expected, direct, rtol=1e-9, atol=0)
        if direct.dtype.kind == "f"
        else bool((np.asarray(expected) == direct).all())
    )
    if not same:
        raise PackageError("The service would predict something else than the model did: check the schema.")
    return {"data": data, "expected": expected}


def _plain(value: Any) -> Any:
    """Turn a cell into what JSON knows; what is missing becomes null."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType":
        return None
    return value


def _replace(folder: Path, destination: Path) -> None:
    """Rename a folder into place. Folders can't be swapped at once: the old one goes aside first."""
    if destination.exists():
        destination.rename(folder.parent / "replaced")
    folder.rename(destination)


# ------------------------------------------------------------------ requirements


def requirements(model: Path) -> str:
    """List what scoring by a model needs, and no more, as pip reads it.

    The packages are those that the scoring files import, those whose types the model file holds, and
    what these require in turn on this machine. Each is pinned to what is installed, with its hashes
    if requirements.lock pins the same; pip wants hashes for all or none, so one that isn't locked
    leaves all without.

    Parameters
    ----------
    model : Path
        The model.skops.

    Raises
    ------
    PackageError
        If the model needs a module that no installed package provides.
    """
    needed = _closure([*SCORING_DISTRIBUTIONS, *_distributions(model)])
    pins = {name: importlib.metadata.version(name) for name in needed}
    locked = _locked()
    if all(locked.get(name, ("", ""))[0] == version for name, version in pins.items()):
        return "".join(f"{name}=={pins[name]}{locked[name][1]}\n" for name in sorted(pins))
    unlocked = [name for name, version in sorted(pins.items()) if locked.get(name, ("", ""))[0] != version]
    return f"# Without hashes: {', '.join(unlocked)} not as in requirements.lock.\n" + "".join(
        f"{name}=={version}\n" for name, version in sorted(pins.items())
    )


def _distributions(model: Path) -> set[str]:
    """Return the distributions whose types a model file holds."""
    try:
        with zipfile.ZipFile(model) as archive:
            content = json.loads(archive.read("schema.json"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PackageError(f"{model.name} can't be read as a model: {error}") from error
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
            raise PackageError(
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


def _locked() -> dict[str, tuple[str, str]]:
    """Read requirements.lock: version and hashes (as written there) of each distribution."""
    from packaging.utils import canonicalize_name

    path = project.root() / "requirements.lock"
    if not path.exists():
        return {}
    found = {}
    entry = re.compile(r"^([\w.-]+)==([^\s;\\]+)[^\n]*?((?: *\\\n +--hash=\S+)+)", re.MULTILINE)
    for name, version, hashes in entry.findall(path.read_text(encoding="utf-8")):
        found[str(canonicalize_name(name))] = (version, hashes)
    return found


# ------------------------------------------------------------------ reading


def load(folder: Path) -> Package:
    """Verify a package and describe it.

    Raises
    ------
    PackageError
        As `verify` does.
    """
    manifest = verify(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Package(folder, files.sha256(folder / MANIFEST), size, manifest)


def verify(folder: Path) -> Manifest:
    """Compare a package with its manifest.

    Raises
    ------
    PackageError
        Naming all files that are missing, changed, not in the manifest, no plain files or outside of
        the folder; or if there is no readable manifest.
    """
    path = folder / MANIFEST
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise PackageError(f"{folder} is no package, it has no {MANIFEST}: build the package.")
    try:
        manifest = Manifest.model_validate(files.read_json(path))
    except (OSError, ValueError, ValidationError) as error:
        raise PackageError(f"The manifest of {folder} can't be read: build the package again.") from error
    faults = []
    for name, digest in manifest.files.items():
        file = folder / name
        if name != Path(name).name or name in ("", ".", "..", MANIFEST):
            faults.append(f"{name!r} is no plain file name")
        elif file.is_symlink():
            faults.append(f"{name} is a link")
        elif not file.is_file():
            faults.append(f"{name} is missing")
        elif files.sha256(file) != digest:
            faults.append(f"{name} was changed")
    faults += [f"{name} is not in it" for name in FILES if name not in manifest.files]
    known = {*manifest.files, MANIFEST}
    faults += [
        f"{entry.name} is not in the manifest" for entry in folder.iterdir() if entry.name not in known
    ]
    if faults:
        raise PackageError(
            f"The package {folder} is not as its manifest says ({'; '.join(sorted(faults))}): build it again."
        )
    return manifest
