"""Measures the scoring service against others, and writes the tables that docs/performance.md shows.

    make bench-serving                                all of it, some ten minutes
    make bench-serving ARGS="--only requests"         a part
    make bench-serving ARGS="--rounds 9 --seconds 5"

All servers serve the same model with one worker each. They are loaded in turn, round after round, in one go:
machines are noisy, and only ratios of what was measured side by side mean anything. A ratio is the median
of the rounds' ratios, and the range is that of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import page, wrk
from tests.benchmarks.servers import ROOT, Running, Server, contestants, running

BATCH = 1_000
# What is sent, and over how many connections.
LOADS = {"2": ("one", 2), "8": ("one", 8), "batch": ("batch", 2)}
# Those that are started alone, again and again, to see how long it takes and what memory they need then.
STARTED = ("ours", "azure", "azure_ours", "mlflow")


class Row(NamedTuple):
    """A line of the table of aims."""

    what: str
    measured: str
    aim: str


class Rounds(dict[str, dict[str, list[float]]]):
    """What was measured in each round, by server and by what."""

    def add(self, server: str, what: str, value: float) -> None:
        """Note a round's value."""
        self.setdefault(server, {}).setdefault(what, []).append(value)

    def middle(self, server: str, what: str) -> float:
        """Return the median of the rounds."""
        return statistics.median(self[server][what])

    def ratios(self, what: str, server: str, other: str) -> list[float]:
        """Divide one server's values by another's, round by round."""
        return [a / b for a, b in zip(self[server][what], self[other][what], strict=True)]

    def shown(self, server: str, what: str, form: Callable[[float], str]) -> str:
        """Return the median and the range, or nothing if that wasn't measured."""
        values = self.get(server, {}).get(what)
        if not values:
            return ""
        return f"{form(statistics.median(values))} ({form(min(values))} to {form(max(values))})"


def main() -> None:
    """Measure what is asked for, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="a part; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="of each load (default 2)")
    parser.add_argument("--batch-rows", type=int, default=10_000_000, help="of the file (default 10000000)")
    given = parser.parse_args()
    measured = Rounds()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        subprocess.run([sys.executable, "-m", "tests.benchmarks.prepare", folder], cwd=ROOT, check=True)
        servers = contestants(Path(folder))
        for name in given.only or PARTS:
            print(f"{name}:", flush=True)
            rows += PARTS[name](given, Path(folder), servers, measured)
        tables = [
            page.table(SERVER_COLUMNS, list(server_rows(servers, measured))),
            page.table(Row("what", "measured", "to reach"), rows),
        ]
    print("", *tables, sep="\n\n")
    if given.only is None:
        page.write("serving", *tables)


# ------------------------------------------------------------------ requests


def requests(
    given: argparse.Namespace, folder: Path, servers: dict[str, Server], measured: Rounds
) -> Iterator[Row]:
    """One row and batches, over a few connections."""
    with contextlib.ExitStack() as stack:
        started = {name: stack.enter_context(running(server, folder)) for name, server in servers.items()}
        for number in range(given.rounds):
            for name, server in started.items():
                _load(given, name, server, measured)
            print(f"  round {number + 1} of {given.rounds}", flush=True)
    yield from _speed(measured)


def _load(given: argparse.Namespace, name: str, server: Running, measured: Rounds) -> None:
    for load, (rows, connections) in LOADS.items():
        if server.server.body is None and rows == "batch":
            continue
        seen = wrk.measure(server.request(rows), connections=connections, seconds=given.seconds)
        measured.add(name, load, seen.rate * (BATCH if rows == "batch" else 1))
        measured.add(name, f"{load} p99", seen.p99)


def _speed(measured: Rounds) -> Iterator[Row]:
    for other, aim in (("azure", 10), ("mlflow", 12)):
        yield Row(
            f"requests/s, one row, against {NAMES[other]}",
            " and ".join(
                f"{_range(measured.ratios(load, 'ours', other), 1)} times with {load} connections"
                for load in ("2", "8")
            ),
            f"at least {aim} times",
        )
    yield Row(
        "the same, against our score.py under Azure's server",
        f"{_range(measured.ratios('8', 'ours', 'azure_ours'), 1)} times with 8 connections",
        "",
    )
    yield Row(
        "the same, against a bare ASGI hello on the same server",
        " and ".join(
            f"{_range(measured.ratios(load, 'ours', 'hello'), 2)} of it with {load} connections"
            for load in ("2", "8")
        ),
        "at least 0.5",
    )
    yield Row(
        f"99 % latency with 8 connections, against {NAMES['azure']}",
        f"{_range(measured.ratios('8 p99', 'ours', 'azure'), 3)} of it",
        "at most 0.1",
    )
    slower = [1 - ratio for ratio in measured.ratios("8", "ours", "bare")]
    yield Row(
        "requests/s with key check, limits, metrics and log line, against without",
        f"{statistics.median(slower):.0%} slower ({min(slower):.0%} to {max(slower):.0%})",
        "at most 25 % slower",
    )
    yield Row(
        f"rows/s in batches of {BATCH:,}, against {NAMES['azure']}",
        f"{_range(measured.ratios('batch', 'ours', 'azure'), 1)} times",
        "at least 3 times",
    )


def _range(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# ------------------------------------------------------------------ start and memory


def start(
    given: argparse.Namespace, folder: Path, servers: dict[str, Server], measured: Rounds
) -> Iterator[Row]:
    """From the start of the process to the first right prediction; memory after some load, each alone."""
    for number in range(given.rounds):
        for name in STARTED:
            with running(servers[name], folder) as server:
                wrk.measure(server.request("one"), connections=8, seconds=1)
                measured.add(name, "start", server.seconds)
                measured.add(name, "memory", server.memory())
        print(f"  round {number + 1} of {given.rounds}", flush=True)
    for what, title, aim in (
        ("start", "start to the first right prediction", "at most 0.33"),
        ("memory", "memory (PSS of all its processes, after some load)", "at most 0.5"),
    ):
        yield Row(
            f"{title}, against {NAMES['azure']}",
            f"{_range(measured.ratios(what, 'ours', 'azure'), 2)} of it",
            aim,
        )


# ------------------------------------------------------------------ images and batches


def image(
    given: argparse.Namespace, folder: Path, servers: dict[str, Server], measured: Rounds
) -> Iterator[Row]:
    """What the layers of an image add, as they are unpacked; the same in every engine."""
    # Here, not above: this process must not share a library's memory with a server that is measured.
    from utils import files, packaging
    from utils.images import context

    first, following = (
        context.write(packaging.load(folder / name), folder / f"{name}-image", folder / "layers")
        for name in ("package", "next")
    )
    yield Row(
        "image: added to its base",
        f"{sum(layer.size for layer in first) / 1e6:.0f} MB",
        "at most 140 MB",
    )
    new = {files.sha256(layer.path): layer.size for layer in following}
    for layer in first:
        new.pop(files.sha256(layer.path), None)
    yield Row(
        "image: added by a new version of the model",
        f"{sum(new.values()) / 1e6:.2f} MB",
        "less than 1 MB",
    )


def batch(
    given: argparse.Namespace, folder: Path, servers: dict[str, Server], measured: Rounds
) -> Iterator[Row]:
    """A file of rows, from the command's start to its end."""
    from tests.benchmarks import batch as batches

    found = batches.measure(given.batch_rows, given.rounds)
    for kind, words, aim in (
        (batches.PLAIN, "fed from the same file", "at most 2 times"),
        (batches.ALONE, "over arrays in memory", ""),
    ):
        ratios = [
            ours.wall / other.wall for ours, other in zip(found[batches.BATCH], found[kind], strict=True)
        ]
        yield Row(
            f"time to score a file of {given.batch_rows:,} rows, against ONNX Runtime alone {words}",
            f"{_range(ratios, 2)} times",
            aim,
        )
    yield Row(
        "memory (RSS) meanwhile",
        f"{max(each.memory for each in found[batches.BATCH]):.0f} MB",
        "at most 300 MB",
    )


# ------------------------------------------------------------------ the tables

NAMES = {"azure": "azureml-inference-server-http", "mlflow": "`mlflow models serve`"}
SERVER_COLUMNS = (
    "server, one worker",
    "requests/s, 2 connections",
    "requests/s, 8 connections",
    "99 % latency, 8 connections",
    f"rows/s in batches of {BATCH:,}",
    "start to first prediction",
    "memory",
    "ours is faster (requests/s, 8 connections)",
)


def server_rows(servers: dict[str, Server], measured: Rounds) -> Iterator[tuple[str, ...]]:
    """Yield a line for each server that was measured."""
    for name, server in servers.items():
        if name in measured:
            times = ""
            if "8" in measured[name]:
                times = f"{statistics.median(measured.ratios('8', 'ours', name)):.1f} x"
            yield (
                server.name + _version(name),
                *(measured.shown(name, load, lambda rate: f"{rate:,.0f}") for load in ("2", "8")),
                measured.shown(name, "8 p99", lambda seconds: f"{seconds * 1e3:.1f} ms"),
                measured.shown(name, "batch", lambda rate: f"{rate:,.0f}"),
                measured.shown(name, "start", lambda seconds: f"{seconds:.1f} s"),
                measured.shown(name, "memory", lambda size: f"{size / 1e6:.0f} MB"),
                times,
            )


def _version(name: str) -> str:
    if name == "mlflow":
        return f" {metadata.version('mlflow')}"
    if name == "azure":
        lock = (ROOT / "tests" / "inference_server.lock").read_text(encoding="utf-8")
        found = re.search(r"^azureml-inference-server-http==(\S+)", lock, re.MULTILINE)
        return f" {found[1]}" if found else ""
    return ""


Part = Callable[[argparse.Namespace, Path, dict[str, Server], Rounds], Iterator[Row]]
PARTS: dict[str, Part] = {"requests": requests, "start": start, "image": image, "batch": batch}

if __name__ == "__main__":
    main()
