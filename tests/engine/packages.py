"""A package with an ONNX model, as the package step writes it; its image is what is looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from utils import files, models, packaging
from utils.packaging import Package


def make(
    folder: Path, *, version: str = "3", weight: float = 2.0, lineage: dict[str, str] | None = None
) -> Package:
    """Write a package whose model answers a row [a] by weight * a + 5.

    Parameters
    ----------
    version : str
        Of the model.
    weight : float
        What makes one model another.
    lineage : dict
        What its labels tell.
    """
    random = np.random.default_rng(7)
    rows = pd.DataFrame({"a": random.normal(size=60)})
    y = pd.Series(weight * rows["a"] + 5, name="Diabetes Progression")
    model = models.fit(models.build("sklearn.linear_model.LinearRegression", {}, rows), rows, y)
    learned = folder.parent / f"model of {folder.name}"
    learned.mkdir(parents=True)
    models.save(model, learned / "model.skops")
    files.write_json(learned / "schema.json", models.schema(rows, y, model))
    package = packaging.build(
        learned,
        folder,
        name="Diabetes Progression",
        version=version,
        golden_rows=rows.head(8),
        lineage=lineage or {"run": "20261123-101502-3fa2", "commit": "abc", "fingerprint": "f00d"},
    )
    assert package.manifest.format.name == "onnx", package.manifest.format.reason
    return package
