"""What the platform's compute is asked for: steps, parameters and sources, as the platform gets them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci.parameters import Parameters
from ci.pipeline import Pipeline, PipelineError, default_file
from ci.remote import source
from utils.platforms.protocol import Stint


def demand(chain: Pipeline, scenario: str) -> None:
    """Refuse a pipeline that can't go elsewhere.

    Raises
    ------
    PipelineError
        If it has no remote steps, or it or the scenario's file isn't one that other machines have too.
    """
    if not chain.remote:
        raise PipelineError(f"{chain.file.name}: no step has 'remote: true', so that none can run elsewhere.")
    if chain.file.resolve() != default_file().resolve():
        raise PipelineError(
            f"{chain.file}: on a platform's own compute steps go by parameters/{default_file().name} alone; "
            "change that file, or choose --platform local."
        )
    if chain.parameter_file(scenario).parent != chain.folder:
        raise PipelineError(f"{scenario}: put it into {chain.folder.name}/, which other machines get too.")


@contextmanager
def prepared(chain: Pipeline, scenario: str, given: Parameters) -> Iterator[Stint]:
    """Copy the project aside, for as long as the context lasts, and say what is to be run.

    Raises
    ------
    PipelineError
        See `demand`.
    """
    demand(chain, scenario)
    with tempfile.TemporaryDirectory(prefix="project-") as folder:
        steps, parameters = chain.remote, settable(chain, given)
        content = json.dumps([source.copy(Path(folder)), steps, parameters])
        yield Stint(
            steps=steps,
            parameters=parameters,
            digest=hashlib.sha256(content.encode()).hexdigest(),
            scenario=Path(scenario).stem,
            source=Path(folder),
        )


def settable(chain: Pipeline, given: Parameters) -> list[str]:
    """Return the names that whoever starts a job may give values to, as -p does, in order.

    These are the parameters of the notebooks up to the last remote step that the pipeline neither fixes nor
    hands on, and the scenario's hyperparameters.
    """
    steps = [chain.steps[name] for name in chain.select(None, chain.remote[-1])]
    names = {name for step in steps for name in chain.declarations[step.notebook]}
    handed = {name for step in steps for name in step.takes}
    return sorted((names - handed - chain.fixed) | set(given.hyperparameters))


def texts(given: Parameters, names: Sequence[str]) -> dict[str, str]:
    """Return what -p gave for these names, each as a text that -p reads as the same value."""
    return {name: _text(given, name, value) for name, value in given.overrides.items() if name in names}


def overrides(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return texts as -p has them, without those that are empty: they stand for what the files say."""
    return tuple((name, text) for name, text in values.items() if text)


def _text(given: Parameters, name: str, value: Any) -> str:
    written = json.dumps(value)
    plain = isinstance(value, str) and given.check(name, value, typed=False) == value
    return str(value) if plain else written
