"""Parts: what has been scored so far, kept beside the output until this is complete.

Each chunk's rows are kept in a part of their own, in a hidden folder; whoever begins again after an
interruption takes these up. The output is written in that folder too, and renamed into place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from utils import files
from utils.chunks import BatchError


class Parts:
    """The hidden folder beside an output, which one process at a time may use.

    Parameters
    ----------
    output : Path
    record : mapping
        What the parts depend on; those of anything else are deleted. Parts hold whole chunks, of any
        sizes, so that these may be others when work goes on.
    schema : pyarrow.Schema
        Of the output.

    Raises
    ------
    BatchError
        If another process uses it, or the output's format has no form for a column.
    """

    def __init__(self, output: Path, record: Mapping[str, Any], schema: pa.Schema) -> None:
        self._output, self._record, self._schema = output, dict(record), schema
        self._folder = output.with_name(f".{output.name}.parts")
        self._aside = self._folder / f"output{output.suffix.lower()}"
        self._parts = 0
        self._written: Future[None] | None = None
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        with self._resources as resources:
            try:
                resources.enter_context(FileLock(self._folder / "lock", timeout=0))
            except Timeout:
                raise BatchError(
                    f"{self._output} is being written by another process: wait for it."
                ) from None
            self._prepare()
            # In this order: the thread has to have ended when the writer that it uses is closed.
            self._writer = resources.enter_context(_writer(self._aside, self._schema))
            self._thread = resources.enter_context(ThreadPoolExecutor(1))
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # The parts stay, if there are any: what was begun can go on from there.
        self._resources.close()
        if not self._parts and self._folder.exists():
            shutil.rmtree(self._folder)

    def _prepare(self) -> None:
        """Delete what parts of other rows, or another model, there are."""
        path = self._folder / "record.json"
        try:
            known = files.read_json(path) == self._record
        except (OSError, ValueError):
            known = False
        if not known:
            for part in self._folder.glob("*.arrow"):
                part.unlink()
            files.write_json(path, self._record)

    def resume(self, watch: Callable[[int], None]) -> int:
        """Take up the parts that are there, in their order; return how many rows they hold."""
        rows = 0
        while (part := self._part(self._parts)).exists():
            try:
                with pa.ipc.open_file(part) as reader:
                    batch = reader.get_batch(0)
            except (pa.ArrowException, OSError):
                break  # the power failed before it was on the disk
            self._writer.write_batch(batch)
            self._parts += 1
            rows += len(batch)
            watch(rows)
        return rows

    def writing(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Hand on chunks, and wait for the last one's writing at their end."""
        yield from batches
        self._settle()

    def write(self, batch: pa.RecordBatch) -> None:
        """Keep a chunk's rows, in the background."""
        self._settle()
        self._written = self._thread.submit(self._store, self._part(self._parts), batch)
        self._parts += 1

    def _settle(self) -> None:
        if self._written is None:
            return
        try:
            self._written.result()
        except pa.ArrowException as error:
            raise BatchError(f"{self._output} can't be written: {error}") from error

    def _store(self, path: Path, batch: pa.RecordBatch) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        files.write_bytes(path, sink.getvalue(), durable=False)
        self._writer.write_batch(batch)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:08d}.arrow"

    def finish(self) -> None:
        """Complete the output, put it into its place, and delete the folder."""
        self._writer.close()
        with self._aside.open("rb") as file:
            os.fsync(file.fileno())
        self._aside.replace(self._output)
        self._resources.close()
        shutil.rmtree(self._folder)


def _writer(path: Path, schema: pa.Schema) -> Any:
    if path.suffix == ".csv":
        return pa.csv.CSVWriter(path, schema, write_options=pa.csv.WriteOptions(quoting_style="needed"))
    # Few numbers come twice, so that a dictionary of them would only cost time.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(path, schema, use_dictionary=texts or False)
