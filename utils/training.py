"""A training's result as a folder: the model, its schema, the rows it learned from, and how it came to be."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from utils import files, metrics, models

MODEL = "model.skops"
SCHEMA = "schema.json"
ROWS = "training_rows.npy"
DETAILS = "model.json"


@dataclass(frozen=True)
class Trained:
    """A trained model with all that says how it came to be.

    Attributes
    ----------
    model : Pipeline
        Fitted.
    schema : mapping
        What `utils.models.schema` returns.
    split : mapping
        The plan by which rows were held out: method, columns, seed, held_out_share.
    rows : ndarray of uint64, shape (training rows,)
        The hashes of the rows that it was trained on.
    details : mapping
        What else model.json holds.
    digest : str
        The SHA-256 of its model.skops; "" for one that was never saved.
    """

    model: Pipeline
    schema: Mapping[str, Any]
    split: Mapping[str, Any]
    rows: NDArray[np.uint64]
    details: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


def save(trained: Trained, folder: Path, trusted: Sequence[str] = ()) -> Path:
    """Write a training's result into a folder: model.skops, schema.json, training_rows.npy, model.json.

    The schema says what is trusted beside scikit-learn, so that the scoring service trusts it too.

    Raises
    ------
    ModelError
        If the model can't be saved.
    ValueError
        If a record holds NaN or an infinity.
    """
    models.save(trained.model, folder / MODEL, trusted)
    files.write_json(folder / SCHEMA, {**trained.schema, "trusted": list(trusted)})
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(trained.rows, dtype=np.uint64), allow_pickle=False)
    files.write_bytes(folder / ROWS, buffer.getvalue())
    files.write_json(folder / DETAILS, {**trained.details, "split": dict(trained.split)})
    return folder


def load(folder: Path, trusted: Sequence[str] = ()) -> Trained:
    """Read what `save` wrote.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or holds what isn't trusted; the message names it.
    """
    model = models.load(folder / MODEL, trusted)
    try:
        schema, details = files.read_json(folder / SCHEMA), files.read_json(folder / DETAILS)
        rows = np.load(folder / ROWS, allow_pickle=False)
        split = details.pop("split")
        names = [column["name"] for column in schema["inputs"]]
    except Exception as error:
        raise models.ModelError(
            f"{folder} can't be read as a trained model ({type(error).__name__}: {error})."
        ) from error
    if rows.dtype != np.uint64 or rows.ndim != 1 or not isinstance(split, dict):
        raise models.ModelError(
            f"{folder / ROWS} or the split in {DETAILS} is damaged: train the model again."
        )
    if names != [str(name) for name in model.feature_names_in_]:
        raise models.ModelError(
            f"{folder / SCHEMA} describes another model than {MODEL}: train the model again."
        )
    return Trained(model, schema, split, rows, details, files.sha256(folder / MODEL))


def scores(model: Pipeline, X: pd.DataFrame, y: pd.Series[Any], names: Sequence[str]) -> dict[str, float]:
    """Measure a model on rows, by scikit-learn's metrics of those names.

    Returns
    -------
    dict of float
        By the metrics' own names, in their natural sign; NaN where one is undefined on these rows.

    Raises
    ------
    MetricError
        If there is no such metric, or the model can't give what it needs.
    """
    found = [metrics.find(name) for name in names]
    return {each.name: each(each.truth(model, y), each.respond(model, X)) for each in found}
