"""What a step's result depends on, and in words how two of them differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci.declarations import Declaration
from ci.parameters import HYPERPARAMETERS, Value
from ci.pipeline import CHAMPION, Pipeline
from ci.reuse import digests, modules, results
from ci.runs import Key, Run, Step
from utils import files, platforms, project, sources
from utils.platforms.protocol import PlatformError

# Another folder for each run, which is what the runs have apart from their results.
_RUN_FOLDER = "run_dir"
_NAMED_AT_MOST = 3
_SHOWN_AT_MOST = 60


class UnknownError(RuntimeError):
    """Nobody can tell whether a step would have the same result; the message says why."""


def build(chain: Pipeline, run: Run, step: Step, values: Mapping[str, Value]) -> Key:
    """Return what a step's result depends on now.

    Parameters
    ----------
    values : mapping
        What the step is given beside its notebook's defaults.

    Raises
    ------
    UnknownError
        If nobody can tell.
    """
    declared = chain.steps[step.name]
    known = {
        name: values[name].value if name in values else declaration.default
        for name, declaration in chain.declarations[step.notebook].items()
        if name != _RUN_FOLDER
    }
    handed = {
        name for name, address in declared.takes.items() if name in values and values[name].source == address
    }
    try:
        cells = files.read_json(chain.notebook(step.name))
        code = [_source(cell) for cell in cells["cells"] if cell["cell_type"] == "code"]
        return Key(
            notebook=_notebook(cells),
            gives=digests.of_value(declared.gives),
            parameters={name: digests.of_value(known[name]) for name in known if name not in handed},
            sources=modules.closure(code, project.root(), platform=run.platform, values=known.values()),
            lock=project.lock_digest(),
            python=".".join(map(str, sys.version_info[:3])),
            upstream={name: _made(chain, run, step, name) for name in chain.beneath(step.name)},
            reads={name: _read(run, name, known) for name in declared.reads},
            history=_history(run),
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnknownError(f"what it depends on can't be read ({type(error).__name__})") from error


def differences(
    before: Step, key: Key, values: Mapping[str, Value], declarations: Mapping[str, Declaration]
) -> list[str]:
    """Say what has changed since an earlier step, which has a key.

    Parameters
    ----------
    before : Step
        The earlier one.
    key : Key
        What the step depends on now.
    values : mapping
        What it is given now.
    declarations : mapping
        Its notebook's, for the defaults.
    """
    old = before.key
    if old is None or old == key:
        return []
    changed = _changed(old.parameters, key.parameters)
    found = [words for name in changed for words in _parameter(name, before, old, values, declarations)]
    if old.notebook != key.notebook:
        found.append("the notebook changed")
    if changed_files := _changed(old.sources, key.sources):
        found.append(f"{_listed(changed_files, 'file')} changed")
    for name in _changed(old.reads, key.reads):
        if name == CHAMPION:
            versions = (f"version {version}" if version else "none" for version in map(_champion, (old, key)))
            found.append(f"the champion changed: {' → '.join(versions)}")
        elif name not in changed:
            found.append(f"the {name} changed")
    if old.lock != key.lock:
        found.append("requirements.lock changed")
    if old.python != key.python:
        found.append(f"Python changed {old.python} → {key.python}")
    if steps := _changed(old.upstream, key.upstream):
        found.append(f"what {_listed(steps, 'step')} made changed")
    if old.gives != key.gives:
        found.append("what pipeline.yml lets it give changed")
    if old.history != key.history:
        found.append("the run history is another one")
    return found


def joined(parts: list[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _notebook(content: Any) -> str:
    kernel = content["metadata"].get("kernelspec", {}).get("name", "")
    # Tags decide where parameters go, and whether a cell runs and may fail.
    cells = [
        [cell["cell_type"], _source(cell), cell["metadata"].get("tags", [])] for cell in content["cells"]
    ]
    return digests.of_value([kernel, cells])


def _source(cell: Mapping[str, Any]) -> str:
    return "".join(cell["source"])


def _made(chain: Pipeline, run: Run, step: Step, name: str) -> str:
    """Digest what an earlier step hands on: its files as they are now, and the scraps taken from it."""
    made = run.step(name).made
    if made is None:
        raise UnknownError(f"what {name} made is not on record")
    try:
        found = {
            path: digests.of(run.folder / path) for path in sorted(made) if path != results.notebook(name)
        }
    except OSError as error:
        gone = Path(str(error.filename)).name
        raise UnknownError(f"what {name} made can't be read: {gone}") from error
    taken = sorted(address for address in chain.steps[step.name].takes.values())
    scraps = {
        address: run.step(name).scraps[address.partition(".")[2]]
        for address in taken
        if address.partition(".")[0] == name
    }
    return digests.of_value([found, scraps])


def _read(run: Run, name: str, known: Mapping[str, Any]) -> str | None:
    try:
        if name == CHAMPION:
            return platforms.get(run.platform).registry.champion_version(run.scenario)
        return sources.content(known[name])
    except (PlatformError, sources.SourceError) as error:
        # A server's own words may be long, and are no reason for anything.
        why = f": {error}" if isinstance(error, sources.SourceError) else ""
        raise UnknownError(f"nobody can tell whether the {name} changed{why}") from error


def _history(run: Run) -> str | None:
    try:
        return platforms.get(run.platform).history.identity()
    except PlatformError as error:
        raise UnknownError("nobody can tell whether the run history is the same") from error


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs, or is in one alone."""
    missing = object()
    return [name for name in {**now, **before} if before.get(name, missing) != now.get(name, missing)]


def _champion(key: Key) -> str | None:
    return key.reads.get(CHAMPION)


def _parameter(
    name: str, step: Step, key: Key, values: Mapping[str, Value], declarations: Mapping[str, Declaration]
) -> Iterator[str]:
    """Say how a parameter changed, with both values as far as the earlier one is known."""
    if name not in declarations:
        return  # nor has the notebook any more: it changed
    default = declarations[name].default
    before = step.parameters[name].value if name in step.parameters else default
    now = values[name].value if name in values else default
    if key.parameters.get(name) != digests.of_value(before):
        yield f"{name} changed"
    elif name == HYPERPARAMETERS and isinstance(before, dict) and isinstance(now, dict):
        for inner in _changed(before, now):
            yield _from_to(inner, *(side.get(inner) for side in (before, now)))
    else:
        yield _from_to(name, before, now)


def _from_to(name: str, before: Any, now: Any) -> str:
    old, new = _shown(before), _shown(now)
    return f"{name} changed {old} → {new}" if old != new else f"{name} changed"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = sources.redact(value) if isinstance(value, str) else sources.redact(str(value))
    return text if len(text) <= _SHOWN_AT_MOST else text[: _SHOWN_AT_MOST - 1] + "…"


def _listed(names: list[str], noun: str) -> str:
    more = len(names) - _NAMED_AT_MOST
    if more <= 0:
        return joined(names)
    return f"{', '.join(names[:_NAMED_AT_MOST])} and {more} more {noun}{'s' if more > 1 else ''}"
