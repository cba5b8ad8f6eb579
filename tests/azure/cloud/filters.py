"""Filters of run history, as far as the SDK writes them here: comparisons, and, or, brackets."""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(r"\(|\)|[^\s()]+")


def fits(run: Any, expression: str) -> bool:
    """Whether a run (RunDto) is one that a filter lets through.

    Raises
    ------
    NotImplementedError
        If the filter has what isn't known here.
    """
    words = _TOKEN.findall(expression)
    found = _any(run, words)
    if words:
        raise NotImplementedError(f"the filter {expression}")
    return found


def _any(run: Any, words: list[str]) -> bool:
    found = _all(run, words)
    while words[:1] == ["or"]:
        del words[0]
        found = _all(run, words) or found
    return found


def _all(run: Any, words: list[str]) -> bool:
    found = _one(run, words)
    while words[:1] == ["and"]:
        del words[0]
        found = _one(run, words) and found
    return found


def _one(run: Any, words: list[str]) -> bool:
    first = words.pop(0)
    if first == "(":
        found = _any(run, words)
        assert words.pop(0) == ")"
        return found
    comparison, value = words.pop(0), words.pop(0)
    if comparison not in ("eq", "ne"):
        raise NotImplementedError(f"the comparison {comparison}")
    same = _value(run, first) == (None if value == "null" else value.strip("'\""))
    return same == (comparison == "eq")


def _value(run: Any, name: str) -> str | None:
    group, _, key = name.partition("/")
    if key:
        kept: dict[str, str] = {"Properties": run.properties, "Tags": run.tags}[group]
        return kept.get(key)
    known = {"RunType": "run_type", "ParentRunId": "parent_run_id", "Status": "status"}
    if name not in known:
        raise NotImplementedError(f"a filter by {name}")
    found: str | None = getattr(run, known[name])
    return found
