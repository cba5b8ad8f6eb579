"""Inference: how a model in ONNX is loaded and asked; see `utils.graphs` for what its inputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from utils.scoring.onnx_model import session as session

if TYPE_CHECKING:
    import onnxruntime

NUMBERS, TEXTS, PREDICTION = "numbers", "texts", "prediction"


def split(schema: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the columns of the inputs ``numbers`` and ``texts``, in the schema's order."""
    inputs = schema["inputs"]
    return (
        [column["name"] for column in inputs if column["type"] != "string"],
        [column["name"] for column in inputs if column["type"] == "string"],
    )


def run(model: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the predictions, shape (rows,), of inputs by their names, each of shape (rows, columns)."""
    found: NDArray[Any] = model.run([PREDICTION], dict(inputs))[0]
    return found
