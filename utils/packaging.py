"""Packages: a model with all that is needed to score by it, and a manifest that tells whether it is whole."""

from __future__ import annotations

import importlib.resources
import json
import math
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from utils import files, requirements
from utils.scoring import integrity
from utils.scoring.integrity import MANIFEST as MANIFEST
from utils.scoring.integrity import SIGNATURE as SIGNATURE

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

# What every package holds beside its model and the folder scoring/.
FILES = ("schema.json", "score.py", "serve.py", "requirements.txt", "sbom.cdx.json", "golden.json")

# A number e that the model predicts may differ by this · (1 + |e|) when the service predicts it: graphs of
# trees reckon in single precision.
TOLERANCES = {"skops": 1e-9, "onnx": 1e-5}


class PackageError(RuntimeError):
    """A package can't be built or isn't what it says; the message says why and what to do next."""


class Format(BaseModel):
    """In which form a package holds its model: a file ``model.<name>``.

    Attributes
    ----------
    name : {"onnx", "skops"}
    reason : str
        Why it is this one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["onnx", "skops"]
    reason: str

    @property
    def file(self) -> str:
        """The model's file."""
        return f"model.{self.name}"


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
    format : Format
    files : dict
        The SHA-256 of each file but the manifest and the signature, by its relative path with slashes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[2] = 2
    name: str
    version: str
    lineage: dict[str, str]
    python: str
    format: Format
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
    """Write a package: the model, its schema, the service, pinned requirements, golden rows, manifest.

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
        schema = _schema(model_folder)
        rows = _inputs(golden_rows, schema)
        shutil.copyfile(model_folder / "schema.json", folder / "schema.json")
        model = _model(model_folder, schema)
        form = _write_model(model, model_folder, folder, schema, rows)
        _write_service(folder)
        try:
            files.write_text(folder / "requirements.txt", requirements.pinned(folder / form.file))
        except requirements.RequirementsError as error:
            raise PackageError(str(error)) from error
        _write_sbom(folder, name, version)
        files.write_json(folder / "golden.json", _golden(folder, model, form, rows))
        manifest = Manifest(
            name=name,
            version=version,
            lineage=dict(sorted(lineage.items())),
            python=".".join(platform.python_version_tuple()[:2]),
            format=form,
            files={path: files.sha256(folder / path) for path in sorted(_files(folder))},
        )
        files.write_json(folder / MANIFEST, manifest.model_dump())
        _replace(folder, destination)
    return load(destination)


def _schema(model_folder: Path) -> dict[str, Any]:
    for file in ("model.skops", "schema.json"):
        if not (model_folder / file).is_file():
            raise PackageError(f"There is no {file} in {model_folder}: train the model again.")
    try:
        schema: dict[str, Any] = files.read_json(model_folder / "schema.json")
        _ = [(column["name"], column["type"], column["nullable"]) for column in schema["inputs"]]
    except (ValueError, TypeError, KeyError) as error:
        raise PackageError(
            f"{model_folder / 'schema.json'} can't be read as a schema: train the model again."
        ) from error
    return schema


def _model(model_folder: Path, schema: Mapping[str, Any]) -> Pipeline:
    from utils import models

    try:
        return models.load(model_folder / "model.skops", schema.get("trusted", []))
    except models.ModelError as error:
        raise PackageError(str(error)) from error


def _inputs(rows: pd.DataFrame, schema: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns of the golden rows that the model takes, in its order."""
    names = [column["name"] for column in schema["inputs"]]
    absent = [name for name in names if name not in rows.columns]
    if absent:
        raise PackageError(f"The golden rows have no column {', '.join(absent)}, which the model needs.")
    if rows.empty:
        raise PackageError("There are no golden rows: give at least one, or nothing can be tested.")
    return rows[names]


def _write_model(
    model: Pipeline, model_folder: Path, folder: Path, schema: Mapping[str, Any], rows: pd.DataFrame
) -> Format:
    """Write the model's file in the form that suits it; the only place where that is decided."""
    from utils import formats, models

    try:
        found = formats.convert(model, schema, rows)
    except models.ModelError as error:
        raise PackageError(f"The golden rows don't fit the model's schema: {error}") from error
    if found.content is None:
        shutil.copyfile(model_folder / "model.skops", folder / "model.skops")
    else:
        files.write_bytes(folder / "model.onnx", found.content)
    return Format(name=found.name, reason=found.reason)


def _write_service(folder: Path) -> None:
    """Copy utils/scoring, and beside it the two files that Azure and a person start."""
    (folder / "scoring").mkdir()
    for source in sorted(Path(integrity.__file__).parent.glob("*.py")):
        shutil.copyfile(source, folder / "scoring" / source.name)
    shims = importlib.resources.files("utils.scoring.shims")
    for name in ("score.py", "serve.py"):
        (folder / name).write_bytes((shims / name).read_bytes())


def _write_sbom(folder: Path, name: str, version: str) -> None:
    # Here, not above, as the library takes a while to import and reading a package needs none of it.
    from utils import sbom

    try:
        sbom.write(folder, name=name, version=version)
    except sbom.SbomError as error:
        raise PackageError(str(error)) from error


def _golden(folder: Path, model: Pipeline, form: Format, rows: pd.DataFrame) -> dict[str, Any]:
    """Ask the model as the service will, and as the notebooks do; the two must agree."""
    # Here, not above: reading a manifest needs none of the scientific packages.
    import numpy as np

    from utils import models
    from utils.scoring.scorer import BadRequest, Scorer

    try:
        scorer = Scorer(folder, max_rows=len(rows))
    except (KeyError, ValueError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise PackageError(f"The model in the package can't be loaded: {error}") from error
    data = [[_plain(value) for value in row] for row in rows.astype(object).to_numpy().tolist()]
    try:
        expected = scorer.score(json.dumps({"data": data}))
    except BadRequest as error:
        raise PackageError(f"The golden rows don't fit the model's schema: {error}") from error
    direct = models.predict(model, rows)
    tolerance = TOLERANCES[form.name]
    same = (
        np.allclose(expected, direct, rtol=tolerance, atol=tolerance)
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
    # Two signatures of the same content differ: if it is the same, it keeps its own when it is signed again.
    if (destination / SIGNATURE).is_file():
        shutil.copyfile(destination / SIGNATURE, folder / SIGNATURE)
    if destination.exists():
        destination.rename(folder.parent / "replaced")
    folder.rename(destination)


# ------------------------------------------------------------------ reading


def load(folder: Path) -> Package:
    """Verify a package and describe it.

    Raises
    ------
    PackageError
        As `verify` does.
    """
    manifest = verify(folder)
    size = sum((folder / path).stat().st_size for path in _files(folder))
    return Package(folder, files.sha256(folder / MANIFEST), size, manifest)


def verify(folder: Path) -> Manifest:
    """Compare a package with its manifest. Whether its signature is right is not asked here.

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
    faults = integrity.faults(folder, manifest.files)
    needed = (*FILES, manifest.format.file, "scoring/__init__.py")
    faults += [f"{name} is not in it" for name in needed if name not in manifest.files]
    if faults:
        raise PackageError(integrity.refusal(folder, sorted(faults)))
    return manifest


def _files(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files, with slashes."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()
