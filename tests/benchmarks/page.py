"""Writes what was measured into docs/performance.md, each benchmark between markers of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psutil

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def write(benchmark: str, *tables: str) -> None:
    """Put a benchmark's tables into the page, in the place of those before.

    Parameters
    ----------
    benchmark : str
        Names the markers: ``<!-- lifecycle: begin -->`` and ``<!-- lifecycle: end -->``.
    tables : str
        As `table` makes them.
    """
    begin, end = (f"<!-- {benchmark}: {place} -->" for place in ("begin", "end"))
    head, rest = PAGE.read_text(encoding="utf-8").split(begin)
    _, tail = rest.split(end)
    measured = f"{machine()}, {datetime.now().astimezone():%-d %B %Y}."
    PAGE.write_text("\n".join([head + begin, "\n\n".join([measured, *tables]), end + tail]), encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def machine() -> str:
    """Say what this was measured on."""
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if "model name" in line] if cpu.exists() else []
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    memory = psutil.virtual_memory().total >> 30
    return (
        f"{os.cpu_count()} cores ({name}), {memory} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )
