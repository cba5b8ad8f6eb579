"""Misfits: what is wrong with a request that the fast decoder doesn't take, and where."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

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


def rows(
    raw: str | bytes, inputs: Sequence[Mapping[str, Any]], max_rows: int
) -> list[tuple[float | bool | str | None, ...]]:
    """Read a request value by value; return its rows if there is nothing wrong with it after all.

    Raises
    ------
    BadRequest
        With the first that is wrong: its row, column and value.
    """
    found = _data(raw, max_rows)
    kind = type(found[0])
    for number, row in enumerate(found):
        if type(row) not in (list, dict):
            raise BadRequest(
                422,
                f"data[{number}] is {_words(row)}: each row must be a list of values, "
                "or an object with a value for each column.",
            )
        if type(row) is not kind:
            raise BadRequest(
                422,
                f"data[{number}] is {_words(row)}, unlike data[0]: send all rows in the same form.",
            )
    if kind is dict:
        return [_record(number, row, inputs) for number, row in enumerate(found)]
    return [_list(number, row, inputs) for number, row in enumerate(found)]


def _list(number: int, row: list[Any], inputs: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    if len(row) != len(inputs):
        raise BadRequest(
            422,
            f"data[{number}] has {len(row)} values: {len(inputs)} are expected, in this order: "
            f"{_names(inputs)}.",
        )
    return tuple(
        _value(value, column, f"data[{number}][{position}]")
        for position, (value, column) in enumerate(zip(row, inputs, strict=True))
    )


def _record(number: int, row: dict[str, Any], inputs: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    known = {column["name"] for column in inputs}
    unknown = [name for name in row if name not in known]
    if unknown:
        raise BadRequest(
            422,
            f"data[{number}] has the column {reprlib.repr(unknown[0])}, which isn't known: "
            f"{_names(inputs)} are.",
        )
    absent = [column["name"] for column in inputs if not column["nullable"] and column["name"] not in row]
    if absent:
        raise BadRequest(422, f"data[{number}] lacks a value for {', '.join(absent)}.")
    return tuple(_value(row.get(column["name"]), column, f"data[{number}]") for column in inputs)


def _value(value: Any, column: Mapping[str, Any], place: str) -> float | bool | str | None:
    if value is None and column["nullable"]:
        return None
    read, must = _READERS[column["type"]]
    try:
        found = read(value)
    except _MisfitError as misfit:
        must = str(misfit)
    else:
        if found is not None and (found != "" or column["nullable"]):
            return found
        must += " or null" if column["nullable"] else " that isn't empty" if found == "" else ""
    raise BadRequest(422, f"{place} (column {column['name']!r}) is {_words(value)}: it must be {must}.")


def _names(inputs: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(column["name"] for column in inputs)


# ------------------------------------------------------------------ the body


def _data(raw: str | bytes, max_rows: int) -> list[Any]:
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
    data = request["data"]
    if not data:
        raise BadRequest(422, "data is empty: send at least one row.")
    if len(data) > max_rows:
        raise BadRequest(413, f"data has {len(data)} rows: send at most {max_rows} at a time.")
    return data


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
    """A value of the right type that its column doesn't take; the message says what it must be."""


def _number(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise _MisfitError("a finite number")
    return found


def _integer(value: Any) -> float | None:
    if type(value) is not int and not (type(value) is float and value.is_integer()):
        return None
    if int(value) not in _INT64:
        raise _MisfitError("an integer of at most 64 bits")
    return float(value)


def _boolean(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _string(value: Any) -> str | None:
    if type(value) is not str:
        return None
    # JSON can spell half of a surrogate pair, which is no character and can't be written anywhere.
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _MisfitError("valid Unicode")
    return value


_READERS: Mapping[str, tuple[Callable[[Any], float | bool | str | None], str]] = {
    "number": (_number, "a number"),
    "integer": (_integer, "an integer"),
    "boolean": (_boolean, "true or false"),
    "string": (_string, "a string"),
}
