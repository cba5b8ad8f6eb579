"""A training's folder holds all that an evaluation needs, and is refused when a part is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils import models, training


@pytest.fixture
def trained() -> training.Trained:
    X = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10) % 3})
    y = pd.Series(np.arange(10.0), name="y")
    model = models.fit(models.build("sklearn.linear_model.Ridge", {}, X), X, y)
    return training.Trained(
        model,
        models.schema(X, y, model),
        {"method": "content", "columns": [], "seed": 3, "held_out_share": 0.2},
        np.arange(8, dtype=np.uint64),
        {"estimator": "sklearn.linear_model.Ridge"},
    )


def test_all_comes_back(tmp_path: Path, trained: training.Trained) -> None:
    again = training.load(training.save(trained, tmp_path / "model"))
    assert (again.split, again.details) == (trained.split, trained.details)
    assert again.schema == {**trained.schema, "trusted": []}
    np.testing.assert_array_equal(again.rows, trained.rows)
    assert len(again.digest) == 64


@pytest.mark.parametrize("name", ["model.skops", "schema.json", "training_rows.npy", "model.json"])
def test_a_missing_or_damaged_part_is_refused(tmp_path: Path, trained: training.Trained, name: str) -> None:
    folder = training.save(trained, tmp_path / "model")
    (folder / name).write_bytes(b"{")
    with pytest.raises(models.ModelError, match="can't be read"):
        training.load(folder)
    (folder / name).unlink()
    with pytest.raises(models.ModelError, match="can't be read"):
        training.load(folder)


def test_rows_of_another_type_are_refused(tmp_path: Path, trained: training.Trained) -> None:
    folder = training.save(trained, tmp_path / "model")
    np.save(folder / "training_rows.npy", np.arange(3.0))
    with pytest.raises(models.ModelError, match="damaged"):
        training.load(folder)


def test_a_schema_of_another_model_is_refused(tmp_path: Path, trained: training.Trained) -> None:
    folder = training.save(trained, tmp_path / "model")
    schema = json.loads((folder / "schema.json").read_text())
    schema["inputs"].pop()
    (folder / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(models.ModelError, match="another model"):
        training.load(folder)
