"""Models of scikit-learn in skops' format, for what ONNX can't express."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io

from . import trust
from .misfits import BadRequest
from .rows import Row


class SkopsModel:
    """A model.skops.

    Parameters
    ----------
    path : Path
    schema : mapping
        The content of schema.json.

    Raises
    ------
    RuntimeError
        If the model holds types that aren't trusted.
    """

    def __init__(self, path: Path, schema: Mapping[str, Any]) -> None:
        self._columns = [(column["name"], column["type"] == "string") for column in schema["inputs"]]
        data = path.read_bytes()
        self.model = skops.io.loads(data, trusted=trust.check_types(data, schema.get("trusted", [])))
        trust.check_trees(self.model)

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Predict for checked rows.

        Raises
        ------
        BadRequest
            If the model refuses values that the schema allows, as trees do beyond the range of float32.
        """
        frame = self.frame(rows)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # a result that is no number is told by us
                answer: list[Any] = np.asarray(self.model.predict(frame)).reshape(-1).tolist()
        except ValueError as error:
            raise BadRequest(
                422, f"The model refuses these rows: {str(error).partition(chr(10))[0][:200]}"
            ) from error
        return answer

    def frame(self, rows: Sequence[Row]) -> pd.DataFrame:
        """Bring rows into the form that the model was fitted to.

        Numbers and booleans become float64, NaN where missing; strings become "" where missing.
        """
        names = [name for name, _ in self._columns]
        if not any(text for _, text in self._columns):
            return pd.DataFrame(np.array(rows, dtype=np.float64), columns=names)
        return pd.DataFrame(
            {
                name: pd.Series([value or "" for value in values], dtype=object)
                if text
                else np.array(values, dtype=np.float64)
                for (name, text), values in zip(self._columns, zip(*rows, strict=True), strict=True)
            }
        )
