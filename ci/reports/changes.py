"""What differs between a run and the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ci.reports import comparison, text
from ci.runs import Run, Step


@dataclass(frozen=True)
class Change:
    """One thing that differs: where (a step, or "data", "code"), what, before and now."""

    where: str
    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Changes:
    """All that differs, and in words what does not.

    Attributes
    ----------
    unknown : list of str
        What can't be compared since one of the two runs never got there.
    """

    found: list[Change]
    same: list[str]
    unknown: list[str]


def between(previous: Run, run: Run) -> Changes:
    """Compare the data, the parameters, the code and the dependencies of two runs of one scenario."""
    found: list[Change] = []
    same: list[str] = []
    unknown: list[str] = []

    def compare(where: str, what: str, before: Any, now: Any, show: Any = text.value) -> None:
        if before is None or now is None:
            unknown.append(what)
        elif before == now:
            same.append(what)
        else:
            found.append(Change(where, what, show(before), show(now)))

    data, before = comparison.scraps(run, "setup"), comparison.scraps(previous, "setup")
    compare("data", "data fingerprint", before.get("fingerprint"), data.get("fingerprint"), text.short)
    for name in ("rows", "training_rows", "held_out_rows"):
        compare("data", text.label(name).lower(), before.get(name), data.get(name), text.number)
    compare("data", "split", before.get("split"), data.get("split"))
    pairs = [(step, old) for step in run.steps if (old := _counterpart(previous, step)) is not None]
    lines: dict[tuple[str, str, str], list[str]] = {}
    compared = 0
    for step, old in pairs:
        names = [n for n in {**old.parameters, **step.parameters} if _chosen(old, n) and _chosen(step, n)]
        compared += len(names)
        for name in names:
            values = _value(old, name), _value(step, name)
            if values[0] != values[1]:
                lines.setdefault((name, *values), []).append(step.name)
    for (name, old_value, value), steps in lines.items():
        found.append(Change(", ".join(steps), name, old_value, value))
    if not pairs:
        unknown.append("parameters")
    elif not lines:
        same.append(text.count(compared, "parameter"))
    compare("code", "commit", _commit(previous), _commit(run), str)
    compare("code", "dependencies (lock)", previous.lock_digest, run.lock_digest, text.short)
    return Changes(found, same, unknown)


def _counterpart(previous: Run, step: Step) -> Step | None:
    """Return the same step of the other run, if both have got as far as having parameters."""
    other = next((other for other in previous.steps if other.name == step.name), None)
    return other if other is not None and other.executed and step.executed else None


def _chosen(step: Step, name: str) -> bool:
    """Whether a parameter was chosen by somebody: not handed on by an earlier step or the run itself."""
    parameter = step.parameters.get(name)
    if parameter is None or parameter.source.startswith("-p"):
        return True
    scrap = "." in parameter.source and not parameter.source.split(",")[0].endswith((".yml", ".yaml"))
    return not scrap and parameter.source not in ("the run", "pipeline.yml")


def _value(step: Step, name: str) -> str:
    parameter = step.parameters.get(name)
    return "notebook default" if parameter is None else text.value(parameter.value)


def _commit(run: Run) -> str:
    return text.short(run.commit) + (" with uncommitted changes" if run.dirty else "")
