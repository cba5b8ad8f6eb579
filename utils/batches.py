"""Batches: a package's own model over files larger than memory, resumable, the output complete or absent.

While one chunk is scored, the next is read and the one before is written; see `utils.parts` for what
is left by an interruption.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from utils import chunks, files, inference, packaging
from utils.chunks import BatchError as BatchError
from utils.parts import Parts

PREDICTION = "prediction"

# Values in a chunk, unless its rows are given: 2 MiB of numbers, of which few are in memory at a time.
_CELLS = 1 << 18
_SMALLEST, _LARGEST = 1 << 10, 1 << 17
# Rows that ONNX Runtime is asked for at once: so many that a processor's cache holds them, and fewer for
# large models, as some take memory by their own size for each row.
_SLICE, _SLICE_BYTES = 1 << 13, 1 << 28
_TOLERANCE = 1e-5
_ENDS = 1 << 16

Predict = Callable[[Mapping[str, NDArray[Any]], int], NDArray[Any]]


@dataclass(frozen=True)
class Scored:
    """What was done.

    Attributes
    ----------
    output : Path
    rows : int
        In all.
    resumed : int
        Those that had been scored before an interruption.
    digest : str
        The package's.
    format : str
        Of its model: "onnx" or "skops".
    seconds : float
    """

    output: Path
    rows: int
    resumed: int
    digest: str
    format: str
    seconds: float


def score(
    package: Path,
    source: Path,
    output: Path,
    *,
    chunk_rows: int | None = None,
    keep: Sequence[str] = (),
    force: bool = False,
    watch: Callable[[int, float], None] | None = None,
) -> Scored:
    """Score a file by a package, which is verified first, and whose golden rows must come out as recorded.

    Parameters
    ----------
    source, output : Path
        Parquet or CSV files, by their suffix. A CSV file is read as pandas reads it.
    chunk_rows : int, optional
        How many rows are held in memory at a time, about; by the number of columns unless given.
    keep : sequence of str
        Columns of the input that the output has too, before its column ``prediction``.
    force : bool
        Whether an output that exists is replaced.
    watch : callable
        Is told how many rows are done, and what share of the input has been read, after each chunk.

    Raises
    ------
    BatchError
        If the package isn't as its manifest says, a column is missing, or a value doesn't fit the schema
        (naming column and row); if the output exists, is the input, or is being written already; or if
        the input changes meanwhile.
    OSError
        If something can't be read or written.
    """
    began = time.monotonic()
    watch = watch or (lambda *_: None)
    _check_paths(source, output, force)
    if PREDICTION in keep or len(set(keep)) != len(keep):
        raise BatchError(f"A column to keep is named twice, or {PREDICTION!r}, as the model's answer is.")
    found, schema = _opened(package)
    names = [column["name"] for column in schema["inputs"]]
    opened = chunks.Source(source, [*names, *keep])
    made = _made(opened.schema, keep, schema)
    predict = _predictor(found, schema)
    _check_golden(package, schema, predict)
    rows = chunk_rows or min(_LARGEST, max(_SMALLEST, _CELLS // len(opened.schema)))
    record = {"source": fingerprint(source), "package": found.digest, "keep": list(keep), "schema": str(made)}
    with Parts(output, record, made) as work:
        done = resumed = work.resume(lambda count: watch(count, 0.0))
        csv = source.suffix.lower() == ".csv"
        for chunk in work.writing(_ahead(opened.chunks(resumed, rows))):
            typed = chunks.from_csv(chunk, schema, done + 1) if csv else chunk
            columns = chunks.arrays(typed, schema, done + 1)
            answers = predict(columns, len(chunk))
            _check_finite(answers, done + 1)
            kept = [chunk[name] for name in keep]
            predictions = _column(answers, made.field(PREDICTION).type)
            work.write(pa.RecordBatch.from_arrays([*kept, predictions], schema=made))
            done += len(chunk)
            watch(done, opened.share)
        if fingerprint(source) != record["source"]:
            raise BatchError(f"{source} was changed while it was read: score it again.")
        _check_paths(source, output, force)
        work.finish()
    return Scored(output, done, resumed, found.digest, found.manifest.format.name, time.monotonic() - began)


def fingerprint(path: Path) -> dict[str, Any]:
    """Return what tells a file from others without reading all of it: size, time, and both its ends.

    The end of a Parquet file describes all of its columns; the start of a CSV file names them.
    """
    about = path.stat()
    with path.open("rb") as file:
        ends = file.read(_ENDS)
        file.seek(max(0, about.st_size - _ENDS))
        ends += file.read()
    return {"size": about.st_size, "mtime": about.st_mtime_ns, "ends": hashlib.sha256(ends).hexdigest()}


# ------------------------------------------------------------------ before the first row


def _check_paths(source: Path, output: Path, force: bool) -> None:
    for path in (source, output):
        if path.suffix.lower() not in chunks.SUFFIXES:
            raise BatchError(f"{path} must end in {' or '.join(chunks.SUFFIXES)}: that tells how to read it.")
    if not source.is_file():
        raise BatchError(f"There is no file {source}.")
    if not output.parent.is_dir():
        raise BatchError(f"There is no folder {output.parent}: make it first.")
    if output.exists() and output.samefile(source):
        raise BatchError("The output is the input: name another file.")
    if output.is_dir() or (output.exists() and not force):
        raise BatchError(f"{output} exists already: name another file, or add --force to replace it.")


def _opened(folder: Path) -> tuple[packaging.Package, dict[str, Any]]:
    try:
        found = packaging.load(folder)
    except packaging.PackageError as error:
        raise BatchError(str(error)) from error
    schema: dict[str, Any] = files.read_json(folder / "schema.json")
    return found, schema


def _made(source: pa.Schema, keep: Sequence[str], schema: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of the output."""
    label = (schema["output"].get("classes") or [0.0])[0]
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.schema([*(source.field(name) for name in keep), pa.field(PREDICTION, kinds[type(label)])])


def _column(answers: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return predictions as a column of the output."""
    if kind == pa.float64():
        # pyarrow.array would do, but imports pandas for it: 40 MB and 0.2 s that nothing else here takes.
        numbers = np.ascontiguousarray(answers, np.float64)
        return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])
    return pa.array(answers, type=kind)


def _check_golden(folder: Path, schema: Mapping[str, Any], predict: Predict) -> None:
    """Refuse a model that answers otherwise here than it did where it was packed."""
    golden = files.read_json(folder / "golden.json")
    columns: dict[str, NDArray[Any]] = {}
    for place, column in enumerate(schema["inputs"]):
        values = [row[place] for row in golden["data"]]
        kind, absent = (object, "") if column["type"] == "string" else (np.float64, np.nan)
        columns[column["name"]] = np.array([absent if value is None else value for value in values], kind)
    answers = predict(columns, len(golden["data"]))
    expected = np.asarray(golden["expected"])
    if schema["task"] == "classification":
        same = bool((answers == expected).all())
    else:
        same = np.allclose(answers, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    if not same:
        raise BatchError(
            f"The model in {folder} doesn't answer its golden rows here as it did where it was packed: "
            "install what its requirements.txt names."
        )


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Read the next chunk while the one before is worked on."""
    with ThreadPoolExecutor(1) as reading:
        coming = reading.submit(next, batches, None)
        while (chunk := coming.result()) is not None:
            coming = reading.submit(next, batches, None)
            yield chunk


# ------------------------------------------------------------------ the model


def _predictor(package: packaging.Package, schema: Mapping[str, Any]) -> Predict:
    """Load the package's model."""
    path = package.folder / package.manifest.format.file
    if package.manifest.format.name == "onnx":
        return _onnx(path.read_bytes(), schema)
    # Here, not above: scikit-learn and pandas take seconds, and ONNX needs neither.
    import pandas as pd

    from utils import models

    model = models.load(path, schema.get("trusted", []))

    def predict(columns: Mapping[str, NDArray[Any]], rows: int) -> NDArray[Any]:
        return np.asarray(model.predict(pd.DataFrame(dict(columns)))).reshape(rows)

    return predict


def _onnx(content: bytes, schema: Mapping[str, Any]) -> Predict:
    session = inference.session(content)
    inputs = dict(zip((inference.NUMBERS, inference.TEXTS), inference.split(schema), strict=True))
    step = max(16, min(_SLICE, _SLICE_BYTES // len(content)))

    def predict(columns: Mapping[str, NDArray[Any]], rows: int) -> NDArray[Any]:
        answers = []
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            matrices = {
                name: _matrix(columns, names, part, np.float64 if name == inference.NUMBERS else object)
                for name, names in inputs.items()
                if names
            }
            answers.append(inference.run(session, matrices))
        return np.concatenate(answers)

    return predict


def _matrix(
    columns: Mapping[str, NDArray[Any]], names: Sequence[str], rows: slice, kind: Any
) -> NDArray[Any]:
    found = np.empty((rows.stop - rows.start, len(names)), kind)
    for place, name in enumerate(names):
        found[:, place] = columns[name][rows]
    return found


def _check_finite(answers: NDArray[Any], first: int) -> None:
    if answers.dtype.kind == "f" and not chunks.all_finite(answers):
        wrong = ~np.isfinite(answers)
        if wrong.any():
            raise BatchError(
                f"The prediction for row {first + int(wrong.argmax()):,} is not a finite number."
            )
