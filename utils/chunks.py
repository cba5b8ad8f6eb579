"""Chunks: the rows of a file larger than memory, some at a time, as the arrays that a model takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

SUFFIXES = (".parquet", ".csv")

_BUFFER = 1 << 18
_BLOCK = 4 << 20
_EXPECTED = {
    "number": "a finite number",
    "integer": "an integer of at most 64 bits",
    "boolean": "true or false",
    "string": "a text",
}


class BatchError(RuntimeError):
    """Rows that can't be scored; the message says which, why and what to do next."""


class Source:
    """A Parquet or CSV file, read from any row on in bounded memory.

    Parameters
    ----------
    path : Path
        Its suffix tells what it is.
    columns : sequence of str
        Those to read.

    Attributes
    ----------
    schema : pyarrow.Schema
        Of the columns that are read; those of a CSV file are texts, as they stand there.

    Raises
    ------
    BatchError
        If it can't be read as what its suffix says, or lacks a column.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._columns = list(dict.fromkeys(columns))
        self._csv = path.suffix.lower() == ".csv"
        try:
            whole = _csv_schema(path) if self._csv else pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise BatchError(f"{path} can't be read as {_kind(path)} ({_first_line(error)}).") from error
        for name in self._columns:
            if whole.names.count(name) != 1:
                said = "several columns" if name in whole.names else "no column"
                raise BatchError(f"{path} has {said} {name!r}; it has: {', '.join(whole.names)}.")
        self.schema = pa.schema([whole.field(name).remove_metadata() for name in self._columns])
        self._read, self._all = 0, 1

    @property
    def share(self) -> float:
        """How much of the file has been read, 0.0 to 1.0."""
        return min(1.0, self._read / max(1, self._all))

    def chunks(self, first: int, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `first` on (counted from 0), at most `rows` at a time.

        Raises
        ------
        BatchError
            If the file turns out to be damaged.
        """
        batches = self._csv_batches(first) if self._csv else self._parquet_batches(first, rows)
        try:
            yield from _gathered(batches, rows)
        except (pa.ArrowException, OSError) as error:
            raise BatchError(
                f"{self._path} can't be read further as {_kind(self._path)} ({_first_line(error)})."
            ) from error

    def _parquet_batches(self, first: int, rows: int) -> Iterator[pa.RecordBatch]:
        # Read bit by bit: a column of a row group, which may be all of the file, can be larger than memory.
        with pq.ParquetFile(self._path, buffer_size=_BUFFER, pre_buffer=False) as file:
            self._all, self._read = file.metadata.num_rows, first
            group = 0
            while group < file.num_row_groups and first >= file.metadata.row_group(group).num_rows:
                first -= file.metadata.row_group(group).num_rows
                group += 1
            groups = range(group, file.num_row_groups)
            for batch in file.iter_batches(rows, row_groups=groups, columns=self._columns):
                self._read += len(batch)
                yield from _after(batch.select(self._columns), first)
                first = max(0, first - len(batch))

    def _csv_batches(self, first: int) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(self._path)) as stream:
            self._all = stream.size()
            with _csv_reader(stream, self._columns) as reader:
                for batch in reader:
                    self._read = stream.tell()
                    yield from _after(batch.select(self._columns), first)
                    first = max(0, first - len(batch))


def arrays(chunk: pa.RecordBatch, schema: Mapping[str, Any], first: int) -> dict[str, NDArray[Any]]:
    """Check a chunk against the schema, and bring its columns into the form that models take.

    Numbers, integers and booleans become float64, NaN where missing; strings become str, "" where missing.

    Parameters
    ----------
    schema : mapping
        The content of schema.json.
    first : int
        The number of the chunk's first row in the file, counted from 1.

    Returns
    -------
    dict
        Of each input, by its name, an array of shape (rows,).

    Raises
    ------
    BatchError
        Naming the column, the row and the value at fault.
    """
    return {
        column["name"]: _Column(column, first).array(chunk[column["name"]]) for column in schema["inputs"]
    }


def all_finite(values: NDArray[np.float64]) -> bool:
    """Whether surely no value is missing or infinite, told by the sum alone, which is quick to have."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(values.sum())


class _Column:
    """Reads one column of a chunk."""

    def __init__(self, about: Mapping[str, Any], first: int) -> None:
        self._name, self._kind, self._nullable = about["name"], about["type"], about["nullable"]
        self._first = first

    def array(self, values: pa.Array) -> NDArray[Any]:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if self._kind == "string":
            return self._texts(values)
        return self._numbers(values)

    def _texts(self, values: pa.Array) -> NDArray[Any]:
        if pa.types.is_null(values.type):
            values = values.cast(pa.string())
        if not _is_text(values.type):
            self._refuse_first(values, pc.is_valid(values))
        values = pc.fill_null(values, "")
        if not self._nullable:
            self._refuse_first(values, pc.equal(values, ""))
        found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return found

    def _numbers(self, values: pa.Array) -> NDArray[Any]:
        kind = values.type
        if not (pa.types.is_null(kind) or self._fits(kind)):
            self._refuse_first(values, pc.is_valid(values))
        if kind != pa.float64():
            values = values.cast(pa.float64(), safe=False)
        found: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
        if not all_finite(found):
            self._refuse_first(values, np.isinf(found))
            if not self._nullable:
                self._refuse_first(values, np.isnan(found))
        if self._kind == "integer" and not pa.types.is_integer(kind):
            self._refuse_first(values, (found != np.round(found)) & ~np.isnan(found))
        if self._kind == "integer":
            self._refuse_first(values, np.abs(found) > 2.0**63)
        return found

    def _fits(self, kind: pa.DataType) -> bool:
        if self._kind == "boolean":
            return bool(pa.types.is_boolean(kind))
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

    def _refuse_first(self, values: pa.Array, wrong: pa.Array | NDArray[np.bool_]) -> None:
        """Refuse the first value that is wrong, if one is."""
        found = np.asarray(wrong)
        if found.any():
            place = int(found.argmax())
            self.refuse(place, values[place].as_py())

    def refuse(self, place: int, value: Any) -> NoReturn:
        missing = value is None or value == "" or value != value
        said = "missing" if missing else f"{str(value)[:60]!r}" if isinstance(value, str) else f"{value}"[:60]
        must = _EXPECTED[self._kind] + (" or missing" if self._nullable else "")
        raise BatchError(
            f"Column {self._name!r} is {said} in row {self._first + place:,} (the first is 1): "
            f"it must be {must}."
        )


def from_csv(chunk: pa.RecordBatch, schema: Mapping[str, Any], first: int) -> pa.RecordBatch:
    """Make of a CSV file's texts what the schema says, for `arrays`.

    Raises
    ------
    BatchError
        If a text is no such thing, naming the column, the row and the text.
    """
    # What pandas takes for missing, so that a file is read here as it was for training.
    missing = pa.array([*pa.csv.ConvertOptions().null_values, "<NA>", "None"])
    made = {
        column["name"]: _parsed(chunk[column["name"]], _Column(column, first), column["type"], missing)
        for column in schema["inputs"]
    }
    return pa.RecordBatch.from_pydict(made)


def _parsed(texts: pa.Array, column: _Column, kind: str, missing: pa.Array) -> pa.Array:
    trimmed = texts if kind == "string" else pc.utf8_trim_whitespace(texts)
    values = pc.if_else(pc.is_in(trimmed, missing), pa.scalar(None, pa.string()), trimmed)
    if kind == "string":
        return values
    if kind == "boolean":
        lower = pc.utf8_lower(values)
        wrong = pc.invert(pc.is_in(lower, pa.array(["true", "false", None])))
        if pc.any(wrong).as_py():
            place = pc.index(wrong, True).as_py()
            column.refuse(place, texts[place].as_py())
        return pc.equal(lower, "true")
    try:
        return values.cast(pa.float64())
    except pa.ArrowInvalid:
        for place, value in enumerate(values):
            try:
                value.cast(pa.float64())
            except pa.ArrowInvalid:
                column.refuse(place, texts[place].as_py())
        raise


# ------------------------------------------------------------------ reading


def _gathered(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Join small batches and part large ones, since each chunk costs some time of its own."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        for start in range(0, len(batch), rows):
            part = batch.slice(start, rows)
            if held and size + len(part) > rows:
                yield held[0] if len(held) == 1 else pa.concat_batches(held)
                held, size = [], 0
            held.append(part)
            size += len(part)
    if held:
        yield held[0] if len(held) == 1 else pa.concat_batches(held)


def _after(batch: pa.RecordBatch, skipped: int) -> Iterator[pa.RecordBatch]:
    if skipped < len(batch):
        yield batch.slice(skipped)


def _csv_reader(source: Any, columns: Sequence[str] | None) -> Any:
    return pa.csv.open_csv(
        source,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns or (), pa.string()), include_columns=columns
        ),
    )


def _csv_schema(path: Path) -> pa.Schema:
    with _csv_reader(path, None) as reader:
        return pa.schema([pa.field(name, pa.string()) for name in reader.schema.names])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _kind(path: Path) -> str:
    return "CSV" if path.suffix.lower() == ".csv" else "Parquet"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
