"""Times batch scoring against ONNX Runtime alone on the same arrays, and takes its peak memory.

    python -m tests.benchmarks.batch                          ten million rows, three rounds
    python -m tests.benchmarks.batch --rows 1000000 --rounds 5

The model is the diabetes scenario's, the input a Parquet file of its ten columns. They take turns, each in a
process of its own: `python -m ci score`, its whole run with imports, checks and all; ONNX Runtime with one
thread over arrays that are in memory already; and the same fed from the file, written as one would at first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from utils import data, files, inference, models, packaging, signatures, signing_keys

ROOT = Path(__file__).resolve().parents[2]
GROUP = 1 << 20  # rows in a row group, as pyarrow and pandas write them
CHUNK = 1 << 16
BATCH, PLAIN, ALONE = "--batch", "--plain", "--alone"


class Measured(NamedTuple):
    """Seconds by the clock and of processors, and the peak memory in MB."""

    wall: float
    processor: float
    memory: float = 0.0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--estimator", default="sklearn.linear_model.Ridge")
    given = parser.parse_args()
    found = measure(given.rows, given.rounds, given.estimator)
    print(f"{given.rows:,} rows, median of {given.rounds} rounds")
    for kind, words in (
        (BATCH, "python -m ci score, from start to end"),
        (PLAIN, "ONNX Runtime alone, fed from the file"),
        (ALONE, "ONNX Runtime alone, arrays in memory"),
    ):
        wall, processor = (statistics.median(each[place] for each in found[kind]) for place in (0, 1))
        print(f"{words:40s}{given.rows / wall / 1e6:6.1f} M rows/s, {processor:5.2f} s of a processor")
    print(f"peak memory (RSS) of the first {max(each.memory for each in found[BATCH]):.0f} MB")


def measure(
    rows: int, rounds: int, estimator: str = "sklearn.linear_model.Ridge"
) -> dict[str, list[Measured]]:
    """Let the three take turns; return what each took, round by round."""
    with tempfile.TemporaryDirectory(prefix="batch.") as aside:
        folder = Path(aside)
        package, source = onnx_package(folder, estimator), folder / "rows.parquet"
        write_rows(source, rows)
        found: dict[str, list[Measured]] = {BATCH: [], PLAIN: [], ALONE: []}
        for _ in range(rounds):
            found[BATCH].append(batch(package, source, folder / "scored.parquet"))
            for kind in (PLAIN, ALONE):
                found[kind].append(other(kind, package, source, rows))
    return found


def onnx_package(folder: Path, estimator: str = "sklearn.linear_model.Ridge") -> Path:
    """Write a package of the diabetes model, or of another estimator on its data, in ONNX."""
    X, y = _diabetes()
    model = models.fit(models.build(estimator, {}, X), X, y)
    (folder / "model").mkdir()
    models.save(model, folder / "model" / "model.skops")
    files.write_json(folder / "model" / "schema.json", models.schema(X, y, model))
    made = packaging.build(
        folder / "model", folder / "package", name="diabetes", version="1", golden_rows=X.head(20), lineage={}
    )
    key = signing_keys.generate()
    signatures.sign(made.folder, key)
    files.write_text(folder / "signing.pub", key.public_pem)
    return made.folder


def _diabetes() -> tuple[pd.DataFrame, pd.Series[Any]]:
    frame = data.load("sklearn:diabetes", "target")
    return frame.drop(columns="target"), frame["target"]


def write_rows(path: Path, rows: int) -> None:
    """Write random rows like the diabetes data's, a row group at a time."""
    X, _ = _diabetes()
    random = np.random.default_rng(0)
    schema = pa.schema([(name, pa.float64()) for name in X.columns])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, GROUP):
            size = min(GROUP, rows - start)
            columns = [random.normal(X[name].mean(), X[name].std(), size) for name in X.columns]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=GROUP)


# The kernel counts what the parent had in memory for the child too; its own peak, the child alone knows.
COMMAND = """
import re, resource, sys
from pathlib import Path
from ci.cli import main
main(sys.argv[1:], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) * 1024, used.ru_utime + used.ru_stime)
"""


def batch(package: Path, source: Path, output: Path) -> Measured:
    """Score the file by the command."""
    words = ["score", "--input", source, "--output", output, "--package", package, "--force"]
    began = time.monotonic()
    verified = {signing_keys.PUBLIC_KEY_FILE_VARIABLE: str(package.with_name("signing.pub"))}
    printed = _run("-c", COMMAND, *words, variables=verified)
    seconds = time.monotonic() - began
    memory, processor = printed.splitlines()[-1].split()
    return Measured(seconds, float(processor), float(memory) / 1e6)


def other(kind: str, package: Path, source: Path, rows: int) -> Measured:
    """Ask ONNX Runtime alone for so many rows, in a process of its own."""
    printed = _run("-m", "tests.benchmarks.batch", kind, package, source, rows)
    return Measured(*(float(seconds) for seconds in printed.split()))


def _run(*words: object, variables: dict[str, str] | None = None) -> str:
    command = [sys.executable, *(str(word) for word in words)]
    variables = os.environ | (variables or {})
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def alone(session: Any, rows: int) -> Measured:
    """Ask ONNX Runtime for the rows, a chunk at a time, of arrays in memory."""
    width = session.get_inputs()[0].shape[1]
    # Several, so that they don't all stay in a processor's cache.
    random = np.random.default_rng(0)
    matrices = [random.normal(0, 0.05, (CHUNK, width)) for _ in range(32)]
    wall, used = time.monotonic(), time.process_time()
    for number, start in enumerate(range(0, rows, CHUNK)):
        inference.run(session, {inference.NUMBERS: matrices[number % 32][: rows - start]})
    return Measured(time.monotonic() - wall, time.process_time() - used)


def plain(session: Any, source: Path) -> Measured:
    """Read, ask ONNX Runtime and write, one after the other, as a script of a few lines would."""
    wall, used = time.monotonic(), time.process_time()
    schema = pa.schema([("prediction", pa.float64())])
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(source.with_name("plain.parquet"), schema) as writer,
    ):
        for read in file.iter_batches(CHUNK):
            matrix = np.column_stack([column.to_numpy() for column in read.columns])
            answers = inference.run(session, {inference.NUMBERS: matrix})
            writer.write_table(pa.table([answers], schema=schema))
    return Measured(time.monotonic() - wall, time.process_time() - used)


if __name__ == "__main__":
    if sys.argv[1:2] in ([ALONE], [PLAIN]):
        kind, package, source, rows = sys.argv[1:]
        model = inference.session((Path(package) / "model.onnx").read_bytes())
        measured = alone(model, int(rows)) if kind == ALONE else plain(model, Path(source))
        print(measured.wall, measured.processor)
    else:
        main()
