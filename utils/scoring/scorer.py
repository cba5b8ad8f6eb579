"""Score rows: check a request against schema.json and ask the model, whichever its format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .misfits import BadRequest as BadRequest
from .rows import Reader, Row

MAX_ROWS = 1_000


class Model(Protocol):
    """A loaded model."""

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Predict for checked rows; one number or label for each."""


class Scorer:
    """A loaded model with its schema. It is never changed, so that threads may share it.

    Parameters
    ----------
    folder : Path
        Holds schema.json and the model, as model.onnx or model.skops.
    max_rows : int
        More in one request are refused.

    Raises
    ------
    OSError, ValueError, KeyError, RuntimeError
        If either can't be read, or the model holds types that aren't trusted.
    """

    def __init__(self, folder: Path, max_rows: int = MAX_ROWS) -> None:
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        self.schema: Mapping[str, Any] = schema
        self.reader = Reader(schema["inputs"], max_rows)
        self.model = load(folder, schema)
        self._regression = schema["output"]["kind"] == "regression"

    def score(self, raw: str | bytes) -> list[Any]:
        """Predict for the rows of a request.

        Parameters
        ----------
        raw : str or bytes
            The body, JSON.

        Returns
        -------
        list, one prediction for each row
            Numbers, or class labels.

        Raises
        ------
        BadRequest
            If the body isn't as it should be, or the model's prediction for a row is NaN or infinite,
            which JSON has no word for.
        """
        answer = self.model.predict(self.reader.read(raw))
        if self._regression and not all(map(math.isfinite, answer)):
            number = next(place for place, value in enumerate(answer) if not math.isfinite(value))
            raise BadRequest(
                422,
                f"data[{number}] can't be scored: the model's prediction for it is not a finite number. "
                "Are its values in the usual range?",
            )
        return answer


def load(folder: Path, schema: Mapping[str, Any]) -> Model:
    """Load the model in a folder; only what its format needs is imported."""
    if (folder / "model.onnx").is_file():
        from .onnx_model import OnnxModel

        return OnnxModel(folder / "model.onnx", schema)
    from .skops_model import SkopsModel

    return SkopsModel(folder / "model.skops", schema)
