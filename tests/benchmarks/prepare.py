"""Makes what the servers serve: the diabetes scenario's model as a package, for MLflow and by joblib.

    python -m tests.benchmarks.prepare FOLDER

It is a process of its own, so that the benchmark shares no scientific library's memory with a server.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import joblib
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.pipeline import Pipeline

from utils import data, files, models, packaging, signatures, signing_keys

BATCH = 1_000


def main(folder: Path) -> None:
    """Write package/ and next/ (the model's next version), mlflow/, joblib/, one.json and batch.json.

    Both packages are signed; signing.pub verifies them.
    """
    X, y = training_rows()
    model = fitted(X, y, alpha=1.0)
    key = signing_keys.generate()
    for name, version, each in (("package", "1", model), ("next", "2", fitted(X, y, alpha=0.5))):
        package(each, X, y, folder / name, version=version)
        signatures.sign(folder / name, key)
    files.write_text(folder / "signing.pub", key.public_pem)
    mlflow.sklearn.save_model(
        model,
        str(folder / "mlflow"),
        signature=infer_signature(X, model.predict(X)),
        input_example=X.head(1),
    )
    (folder / "joblib").mkdir()
    joblib.dump(model, folder / "joblib" / "model.joblib")
    random = np.random.default_rng(0)
    for name, rows in {"one": X.head(1), "batch": X.iloc[random.integers(0, len(X), BATCH)]}.items():
        request = {
            "columns": list(X.columns),
            "data": rows.to_numpy().tolist(),
            "expected": model.predict(rows).tolist(),
        }
        (folder / f"{name}.json").write_text(json.dumps(request), encoding="utf-8")


def fitted(X: pd.DataFrame, y: pd.Series[Any], alpha: float) -> Pipeline:
    """Fit the scenario's estimator."""
    return models.fit(models.build("sklearn.linear_model.Ridge", {"alpha": alpha}, X), X, y)


def package(model: Pipeline, X: pd.DataFrame, y: pd.Series[Any], destination: Path, *, version: str) -> None:
    """Build a package, as the notebooks do."""
    with tempfile.TemporaryDirectory() as trained:
        models.save(model, Path(trained) / "model.skops")
        files.write_json(Path(trained) / "schema.json", models.schema(X, y, model))
        packaging.build(
            Path(trained),
            destination,
            name="diabetes",
            version=version,
            golden_rows=X.head(20),
            lineage={},
        )


def training_rows() -> tuple[pd.DataFrame, pd.Series[Any]]:
    """The rows that the scenario's model learns from."""
    frame = data.load("sklearn:diabetes", "target")
    return frame.drop(columns="target"), frame["target"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
