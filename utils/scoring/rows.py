"""Rows of a request: decoded against schema.json, or refused with what is wrong where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from . import misfits
from .misfits import BadRequest as BadRequest

Value = float | bool | str | None
Row = tuple[Value, ...]

# What JSON may hold for a column. 40.0 is an integer too, as it is to JSON Schema. Integers become
# floats, as the model takes them; beyond 64 bits they are refused. The smallest of 64 bits is looked at
# closely: as a float it is equal to the one below it.
_TYPES: Mapping[str, Any] = {
    "number": float,
    "integer": Annotated[float, msgspec.Meta(multiple_of=1, gt=-(2.0**63), lt=2.0**63)],
    "boolean": bool,
    "string": Annotated[str, msgspec.Meta(min_length=1)],
}


class Reader:
    """Decodes the bodies of requests. It is never changed, so that threads may share it.

    Parameters
    ----------
    inputs : sequence of mapping
        The schema's inputs: name, type and nullable of each column.
    max_rows : int
        More in one request are refused.
    """

    def __init__(self, inputs: Sequence[Mapping[str, Any]], max_rows: int) -> None:
        self._inputs = inputs
        self._max_rows = max_rows
        types = [_type(column) for column in inputs]
        self._lists = self._decoder(tuple[tuple(types)])  # type: ignore[misc] # made from the schema
        self._records = self._decoder(_record(inputs, types))

    def _decoder(self, row: Any) -> msgspec.json.Decoder[Any]:
        rows = Annotated[list[row], msgspec.Meta(min_length=1, max_length=self._max_rows)]
        body = msgspec.defstruct("Body", [("data", rows)], forbid_unknown_fields=True)
        return msgspec.json.Decoder(body)

    def read(self, raw: str | bytes) -> list[Row]:
        """Decode the rows of a request, given as lists in the schema's order or as records by column name.

        The good case costs one pass, made for this schema. Only what it doesn't take is looked at
        closely, in order to say what is wrong.

        Returns
        -------
        list of tuple, each as long as the schema's inputs
            Numbers and integers as float, None where missing.

        Raises
        ------
        BadRequest
            If the body isn't as it should be.
        """
        try:
            rows: list[Row] = self._lists.decode(raw).data
        except (ValueError, RecursionError):
            pass
        else:
            return rows
        try:
            return list(map(msgspec.structs.astuple, self._records.decode(raw).data))
        except (ValueError, RecursionError):
            return misfits.rows(raw, self._inputs, self._max_rows)


def _type(column: Mapping[str, Any]) -> Any:
    if not column["nullable"]:
        return _TYPES[column["type"]]
    # Where a text may be missing, an empty one is a missing one.
    return (str if column["type"] == "string" else _TYPES[column["type"]]) | None


def _record(inputs: Sequence[Mapping[str, Any]], types: Sequence[Any]) -> type[msgspec.Struct]:
    """Make the type of a row by column name; what may be missing may be left out."""
    fields: list[Any] = []
    names = {}
    for position, (column, kind) in enumerate(zip(inputs, types, strict=True)):
        field = f"column_{position}"
        names[field] = column["name"]
        fields.append((field, kind, None) if column["nullable"] else (field, kind))
    return msgspec.defstruct("Record", fields, rename=names, kw_only=True, forbid_unknown_fields=True)
