"""Formats: whether a fitted pipeline is packed as ONNX, or as skops since ONNX doesn't answer as it does."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from utils import columns, graphs, inference, models, probes

TOLERANCE = 1e-5
# A graph's nodes are made one by one in Python: of more, that would take minutes and gigabytes.
LARGEST = 64 * 2**20
_SLICE = 500  # rows for a run: with neighbours or kernels, memory grows by the training rows for each


@dataclass(frozen=True)
class Converted:
    """What a model is packed as.

    Attributes
    ----------
    name : str
        "onnx" or "skops".
    reason : str
        Why, in one sentence.
    content : bytes or None
        Of model.onnx; None for skops.
    """

    name: Literal["onnx", "skops"]
    reason: str
    content: bytes | None = None


@dataclass(frozen=True)
class _Refusal:
    """Why a graph isn't taken, and how far it came: 0 not converted, 1 not run, 2 predicts otherwise."""

    stage: int
    reason: str


def convert(
    model: Pipeline, schema: Mapping[str, Any], rows: pd.DataFrame, *, tolerance: float = TOLERANCE
) -> Converted:
    """Convert a model to ONNX if it can be, and if that predicts what scikit-learn predicts.

    Both are asked for the given rows and for `utils.probes.ROWS` random ones. Classes must all be the
    same. A number b may become a where ``|a - b| <= tolerance * (1 + |b|)``: scikit-learn's trees and
    support vectors reckon in single precision in ONNX, whose rounding is about 1e-7 of each number that
    is added. All that can reckon in double precision does, and differs by some 1e-14.

    Parameters
    ----------
    model : Pipeline
        A fitted one of `utils.models.build`. It is not changed.
    schema : mapping
        As `utils.models.schema` describes the model, with `trusted` if it needs more than scikit-learn.
    rows : DataFrame, shape (rows, features or more)
        The golden rows; they also tell the range from which random ones are drawn.

    Returns
    -------
    Converted
        The same model, schema and rows give the same.

    Raises
    ------
    ModelError
        If the rows lack a column, or a value that the model needs. That a model can't be converted
        is no error.
    """
    kind = type(model[-1])
    if schema.get("trusted") or kind.__module__.partition(".")[0] != "sklearn":
        return Converted("skops", f"{kind.__name__} needs packages beside scikit-learn, which ONNX lacks.")
    if len(pickle.dumps(model[-1])) > LARGEST:
        return Converted(
            "skops", f"{kind.__name__} is larger than {LARGEST >> 20} MiB, too large for a graph."
        )
    names = [column["name"] for column in schema["inputs"]]
    expected_golden = models.predict(model, rows)
    golden = columns.prepare(rows[names], columns.texts(model["columns"]))
    frame = pd.concat([golden, probes.rows(golden, schema)], ignore_index=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # extreme numbers overflow, here as there
        try:
            expected = np.concatenate([expected_golden, models.predict(model, frame[len(golden) :])])
        except Exception as error:
            return Converted("skops", f"scikit-learn itself refuses random rows ({_first_line(error)}).")
        refusals = []
        # Trees compare in single precision; doubles would be rounded to another side of some thresholds.
        for single in (True, False) if _of_trees(kind) else (False, True):
            found = _attempt(model, schema, frame, expected, single=single, tolerance=tolerance)
            if isinstance(found, bytes):
                within = (
                    "" if schema["task"] == "classification" else f" within {tolerance:g} * (1 + |value|)"
                )
                return Converted(
                    "onnx",
                    f"Its predictions are scikit-learn's on {len(golden):,} golden and {probes.ROWS:,} "
                    f"random rows{within}.",
                    found,
                )
            refusals.append(found)
    return Converted("skops", max(refusals, key=lambda refusal: refusal.stage).reason)


def arrays(frame: pd.DataFrame, schema: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return a prepared table as the inputs of a graph; see `utils.graphs`."""
    numbers, texts = inference.split(schema)
    found: dict[str, NDArray[Any]] = {}
    if numbers:
        found[inference.NUMBERS] = np.ascontiguousarray(frame[numbers].to_numpy(np.float64))
    if texts:
        found[inference.TEXTS] = frame[texts].to_numpy(object)
    return found


def _of_trees(kind: type) -> bool:
    return kind.__module__.startswith(("sklearn.tree.", "sklearn.ensemble."))


def _attempt(
    model: Pipeline,
    schema: Mapping[str, Any],
    frame: pd.DataFrame,
    expected: NDArray[Any],
    *,
    single: bool,
    tolerance: float,
) -> bytes | _Refusal:
    """Make one graph and ask it."""
    name = type(model[-1]).__name__
    try:
        content = graphs.build(model, schema, single=single)
    except Exception as error:  # skl2onnx raises whatever its converters come upon
        if type(error).__name__ in ("MissingShapeCalculator", "MissingConverter"):
            return _Refusal(0, f"skl2onnx has no converter for {name}.")
        return _Refusal(0, f"skl2onnx can't convert {name} ({_first_line(error)}).")
    try:
        session = inference.session(content)
        inputs = arrays(frame, schema)
        answers = [
            inference.run(session, {key: values[start : start + _SLICE] for key, values in inputs.items()})
            for start in range(0, len(frame), _SLICE)
        ]
    except Exception as error:  # ONNX Runtime's exceptions have no class in common but this
        return _Refusal(1, f"ONNX Runtime can't run the converted {name} ({_first_line(error)}).")
    differing = _differences(np.concatenate(answers), expected, schema, tolerance)
    return _Refusal(2, f"As ONNX, {name} predicts otherwise {differing}.") if differing else content


def _differences(
    answers: NDArray[Any], expected: NDArray[Any], schema: Mapping[str, Any], tolerance: float
) -> str:
    """Say in how many rows and by how much answers differ; "" if nowhere."""
    if schema["task"] == "classification":
        wrong = np.asarray(answers != expected)
        return f"in {wrong.sum():,} of {len(expected):,} rows" if wrong.any() else ""
    same = (answers == expected) | (np.isnan(answers) & np.isnan(expected))
    away = np.where(same, 0.0, np.abs(answers - expected) / (1 + np.abs(expected)))
    wrong = ~(away <= tolerance)
    if not wrong.any():
        return ""
    return (
        f"in {wrong.sum():,} of {len(expected):,} rows, by up to {np.nan_to_num(away, nan=np.inf).max():.1g}"
    )


def _first_line(error: Exception) -> str:
    """Return what an exception says, cut to what a sentence can hold."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    text = text.rstrip(".") or type(error).__name__
    return text if len(text) <= 120 else f"{text[:119]}…"
