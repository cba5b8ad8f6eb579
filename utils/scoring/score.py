"""Score rows: the entry script of a package, by the contract of Azure Machine Learning.

`init` loads the model that lies beside this file, or in the folder AZUREML_MODEL_DIR; `run` answers
``{"data": [[…], …]}`` by ``{"result": […]}``. Requests are checked against schema.json.

References
----------
Microsoft, "Deploy machine learning models to online endpoints: understand the scoring script",
https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import skops.io

if __package__:
    from utils import trust
else:  # in a package, where trust.py lies beside this file
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import trust  # type: ignore[import-not-found, no-redef]

MAX_ROWS = 1_000

_INT64 = range(-(2**63), 2**63)


class BadRequest(ValueError):  # noqa: N818 - named after the answer that it becomes
    """A request that can't be scored.

    Attributes
    ----------
    status : int
        400 (not the right JSON), 413 (too many rows) or 422 (values that don't fit the schema).
    message : str
        What is wrong, where, and what was expected.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Scorer:
    """A loaded model with its schema. It is never changed, so that threads may share it.

    Parameters
    ----------
    folder : Path
        Holds model.skops and schema.json.

    Raises
    ------
    RuntimeError
        If the model holds types that aren't trusted.
    """

    def __init__(self, folder: Path) -> None:
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        self.inputs: list[dict[str, Any]] = schema["inputs"]
        self.names = [column["name"] for column in self.inputs]
        self._readers = [_READERS[column["type"]] for column in self.inputs]
        self._all_numbers = all(column["type"] != "string" for column in self.inputs)
        data = (folder / "model.skops").read_bytes()
        self.model = skops.io.loads(data, trusted=trust.check_types(data, schema.get("trusted", [])))
        trust.check_trees(self.model)

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
            If the body isn't as it should be.
        RuntimeError
            If the model answers by something that JSON has no word for.
        """
        result = np.asarray(self.model.predict(self.frame(_rows(raw))))
        if result.dtype.kind == "f" and not np.isfinite(result).all():
            raise RuntimeError("the model's prediction is not a finite number")
        answer: list[Any] = result.tolist()
        return answer

    def frame(self, rows: list[Any]) -> pd.DataFrame:
        """Check rows against the schema and bring them into the form that the model was fitted to.

        Numbers and booleans become float64, NaN where missing; strings become "" where missing.

        Raises
        ------
        BadRequest
            Naming the row, the column and the value at fault.
        """
        width = len(self.names)
        for number, row in enumerate(rows):
            if type(row) is not list:
                raise BadRequest(422, f"data[{number}] is {_words(row)}: each row must be a list of values.")
            if len(row) != width:
                raise BadRequest(
                    422,
                    f"data[{number}] has {len(row)} values: {width} are expected, in this order: "
                    f"{', '.join(self.names)}.",
                )
        columns: list[list[Any]] = []
        for position, read in enumerate(self._readers):
            nullable = self.inputs[position]["nullable"]
            column = []
            for number, row in enumerate(rows):
                try:
                    column.append(read(row[position], nullable))
                except _MisfitError as misfit:
                    self._refuse(number, position, row[position], str(misfit))
            columns.append(column)
        if self._all_numbers:
            return pd.DataFrame(np.array(columns, dtype="float64").T, columns=self.names)
        return pd.DataFrame(
            {
                name: np.array(column, dtype="float64")
                if column_schema["type"] != "string"
                else pd.Series(column, dtype=object)
                for name, column, column_schema in zip(self.names, columns, self.inputs, strict=True)
            }
        )

    def _refuse(self, row: int, position: int, value: object, reason: str) -> NoReturn:
        raise BadRequest(
            422, f"data[{row}][{position}] (column {self.names[position]!r}) is {_words(value)}: {reason}."
        ) from None


# ------------------------------------------------------------------ the body


def _rows(raw: str | bytes) -> list[Any]:
    try:
        request = json.loads(raw, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(400, f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise BadRequest(400, "The body is nested too deeply.") from None
    except BadRequest:
        raise
    except ValueError:  # an integer of more digits than Python reads
        raise BadRequest(422, "The body holds a number that is too large.") from None
    if not (isinstance(request, dict) and request.keys() == {"data"} and isinstance(request["data"], list)):
        raise BadRequest(400, 'The body must be {"data": [[…], …]}: one list of values for each row.')
    rows = request["data"]
    if not rows:
        raise BadRequest(422, "data is empty: send at least one row.")
    if len(rows) > MAX_ROWS:
        raise BadRequest(413, f"data has {len(rows)} rows: send at most {MAX_ROWS} at a time.")
    return rows


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest(400, f"The body is not JSON: {name} is no JSON value; a missing value is null.")


def _words(value: object) -> str:
    if value is None:
        return "null"
    kind = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    text = json.dumps(value) if isinstance(value, bool) else reprlib.repr(value)
    return f"the {kind[type(value)]} {text}"


# ------------------------------------------------------------------ single values


class _MisfitError(ValueError):
    """A value that its column doesn't take."""


def _number(value: Any, nullable: bool) -> float:
    if type(value) is float:
        if math.isfinite(value):
            return value
        raise _MisfitError("it must be a finite number")
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _MisfitError("it must be a finite number") from None
    if value is None and nullable:
        return math.nan
    raise _MisfitError("it must be a number" + (" or null" if nullable else ""))


def _integer(value: Any, nullable: bool) -> float:
    if type(value) is int or (type(value) is float and value.is_integer()):
        if int(value) in _INT64:
            return float(value)
        raise _MisfitError("it must be an integer of at most 64 bits")
    if value is None and nullable:
        return math.nan
    raise _MisfitError("it must be an integer" + (" or null" if nullable else ""))


def _boolean(value: Any, nullable: bool) -> float:
    if type(value) is bool:
        return float(value)
    if value is None and nullable:
        return math.nan
    raise _MisfitError("it must be true or false" + (" or null" if nullable else ""))


def _string(value: Any, nullable: bool) -> str:
    if type(value) is str and (value or nullable):
        if value.isascii() or _is_text(value):
            return value
        raise _MisfitError("it must be valid Unicode")
    if value is None and nullable:
        return ""
    raise _MisfitError("it must be a string" + (" or null" if nullable else " that isn't empty"))


def _is_text(value: str) -> bool:
    # JSON can spell half of a surrogate pair, which is no character and can't be written anywhere.
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


_READERS = {"number": _number, "integer": _integer, "boolean": _boolean, "string": _string}


# ------------------------------------------------------------------ the contract

_scorer: Scorer | None = None


def init() -> None:
    """Load the model, once, before the first request.

    Raises
    ------
    OSError, ValueError, KeyError, RuntimeError
        If it can't be read; the service must not start then.
    """
    global _scorer
    folder = Path(os.environ.get("AZUREML_MODEL_DIR") or Path(__file__).resolve().parent)
    if not (folder / "model.skops").is_file():
        # Azure keeps a registered folder as such below the one that it names.
        folder = next((path.parent for path in sorted(folder.glob("*/model.skops"))), folder)
    _scorer = Scorer(folder)


def run(raw_data: str | bytes) -> dict[str, list[Any]]:
    """Answer a request.

    Raises
    ------
    BadRequest
        If the request isn't as it should be.
    RuntimeError
        If `init` hasn't loaded a model.
    """
    if _scorer is None:
        raise RuntimeError("no model is loaded: call init() first")
    return {"result": _scorer.score(raw_data)}
