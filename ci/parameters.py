"""Typed parameters: which value each step gets, and from where."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.declarations import Declaration, ParameterError
from ci.texts import nearest, read_file, read_literal

HYPERPARAMETERS = "hyperparameters"

# A password in an address, or a signed address. Parameters are written into notebooks and records.
_SECRET = re.compile(
    r"://[^/@\s]*:[^/@\s]*@|[?&](sig|signature|x-amz-signature|x-goog-signature|token|key|secret|password)=",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Value:
    """A value and where it came from, in words for a person."""

    value: Any
    source: str


class Parameters:
    """The values that a run's notebooks get, weakest source first.

    Notebook defaults, the scenario's file, the platform's file, upstream
    scraps (per step, when it starts), `-p`.

    Parameters
    ----------
    notebooks : mapping of str to mapping
        For each notebook its declarations.
    scenario, platform : Path
        The two files.
    overrides : sequence of (str, str)
        What `-p` gave, as typed on the command line.
    stored : mapping, optional
        Overrides validated earlier, as a run's record has them; `overrides` are stronger.
    fixed : set of str
        Names that the pipeline itself sets, so that nobody else may.

    Raises
    ------
    ParameterError
        With one line for each name that no notebook takes and each value of
        a wrong type.
    """

    def __init__(
        self,
        notebooks: Mapping[str, Mapping[str, Declaration]],
        scenario: Path,
        platform: Path,
        overrides: Iterable[tuple[str, str]] = (),
        stored: Mapping[str, Any] | None = None,
        fixed: Iterable[str] = (),
    ) -> None:
        self._notebooks = notebooks
        self._fixed = set(fixed)
        self._problems: list[str] = []
        # What a sweep searches is for `ci.sweeps` to read, and how a platform serves for the platform itself.
        self._layers: list[dict[str, Value]] = [
            self._file(scenario, but=("sweep",)),
            self._file(platform, but=("serving", "azureml")),
        ]
        self._swept: set[str] = set()
        self.overrides: dict[str, Any] = {}
        base = self.hyperparameters
        for name, value in (stored or {}).items():
            self._override(name, value, base, typed=True)
        for name, text in overrides:
            self._override(name, text, base, typed=False)
        if self._problems:
            raise ParameterError("\n".join(self._problems))

    def of(self, notebook: str, scraps: Mapping[str, Value]) -> dict[str, Value]:
        """Return the values for a notebook's parameters that aren't its defaults.

        Parameters
        ----------
        notebook : str
            Its name.
        scraps : mapping
            What upstream steps glued for it, by parameter.
        """
        declarations = self._notebooks[notebook]
        values: dict[str, Value] = {}
        for layer in (*self._layers, scraps):
            values.update({name: value for name, value in layer.items() if name in declarations})
        given = {
            name: Value(value, "the sweep" if name in self._swept else "-p")
            for name, value in self.overrides.items()
            if name in declarations
        }
        if HYPERPARAMETERS in declarations and not given.keys() & {HYPERPARAMETERS}:
            given |= self._merged(values.get(HYPERPARAMETERS), declarations[HYPERPARAMETERS])
        return values | given

    @property
    def names(self) -> set[str]:
        """The names that notebooks take."""
        return set(self._names())

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The estimator's keyword arguments before `-p`, which each can be given by its own name."""
        merged: dict[str, Any] = {}
        for _, declaration in self._names().get(HYPERPARAMETERS, []):
            merged = declaration.default
        for layer in self._layers:
            if HYPERPARAMETERS in layer and isinstance(layer[HYPERPARAMETERS].value, dict):
                merged = layer[HYPERPARAMETERS].value
        return merged

    def check(self, name: str, given: Any, *, typed: bool) -> Any:
        """Return a value as `-p` would take it.

        Parameters
        ----------
        typed : bool
            Whether it has its type already; otherwise it is a word of the command line.

        Raises
        ------
        ParameterError
            As for an override.
        """
        alone = copy.copy(self)
        alone._problems, alone.overrides = [], {}
        alone._override(name, given, self.hyperparameters, typed=typed)
        if alone._problems:
            raise ParameterError("\n".join(alone._problems))
        return alone.overrides[name]

    def example(self, name: str) -> Any:
        """Return the value of a parameter, or of an entry of hyperparameters, before `-p`."""
        if name not in self.names:
            return self.hyperparameters[name]
        value = self._names()[name][0][1].default
        for layer in self._layers:
            value = layer[name].value if name in layer else value
        return value

    def varied(self, values: Mapping[str, Any]) -> Parameters:
        """Return the same parameters but for some values of a sweep, which have been checked before."""
        other = copy.copy(self)
        other.overrides, other._swept = {**self.overrides, **values}, {*self._swept, *values}
        return other

    def _merged(self, base: Value | None, declaration: Declaration) -> dict[str, Value]:
        known = self._names()
        single = {name: value for name, value in self.overrides.items() if name not in known}
        if not single:
            return {}
        start = base.value if base else declaration.default
        origin = base.source if base else "notebook default"
        given = ", ".join(name for name in single if name not in self._swept)
        swept = ", ".join(name for name in single if name in self._swept)
        words = [f"-p {given}"] * bool(given) + [f"{swept} of the sweep"] * bool(swept)
        return {HYPERPARAMETERS: Value({**start, **single}, f"{origin}, with {' and '.join(words)}")}

    def _names(self) -> dict[str, list[tuple[str, Declaration]]]:
        names: dict[str, list[tuple[str, Declaration]]] = {}
        for notebook, declarations in self._notebooks.items():
            for declaration in declarations.values():
                names.setdefault(declaration.name, []).append((notebook, declaration))
        return names

    def _file(self, path: Path, but: tuple[str, ...] = ()) -> dict[str, Value]:
        known, layer = self._names(), {}
        where = f"{path.parent.name}/{path.name}"
        for name, value in read_file(path).items():
            if name in but or (name == "scenario" and value == path.stem):
                continue  # said there for stock papermill, which takes the same file and nothing else
            if name in self._fixed:
                self._problems.append(f"{where}: {name} is set by the pipeline itself; remove it there.")
            elif name not in known:
                self._problems.append(f"{where}: no notebook takes a parameter {name}{nearest(name, known)}")
            else:
                layer[name] = Value(self._checked(name, value, known[name], where), where)
        return layer

    def _override(self, name: str, given: Any, base: Mapping[str, Any], *, typed: bool) -> None:
        known = self._names()
        if name in self._fixed:
            self._problems.append(f"-p {name}: it is set by the pipeline itself and can't be given.")
        elif name in known:
            value = given
            if not typed:
                # The words of a command line have no type: the declaration says what they mean.
                value = given if known[name][0][1].annotation == "str" else read_literal(given)
            self.overrides[name] = self._checked(name, value, known[name], "-p")
        elif name in base:
            value = given if typed or isinstance(base[name], str) else read_literal(given)
            if not _alike(value, base[name]):
                expected = "a number" if _number(base[name]) else type(base[name]).__name__
                self._problems.append(
                    f"-p {name}: {given!r} is not of the expected type, {expected}, "
                    f"as hyperparameters has it ({name}: {base[name]!r})."
                )
            self.overrides[name] = value
        else:
            self._problems.append(
                f"-p {name}: no notebook takes a parameter {name}, and the scenario's hyperparameters "
                f"have none of that name{nearest(name, [*known, *base])}"
            )

    def _checked(self, name: str, value: Any, takers: list[tuple[str, Declaration]], where: str) -> Any:
        checked = value
        if _SECRET.search(str(value)):
            self._problems.append(
                f"{where}: {name} is an address with a secret in it, and parameters are kept in notebooks "
                "and records; give credentials by the environment instead."
            )
        for notebook, declaration in takers:
            try:
                checked = declaration.check(value)
            except ValueError as error:
                self._problems.append(
                    f"{where}: {name} = {value!r}: {error} ({notebook}: {name} is {declaration.help})."
                )
                break
        return checked


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _alike(value: Any, example: Any) -> bool:
    """Whether a hyperparameter's new value is of the kind of the scenario's."""
    if _number(example):
        return _number(value) and abs(value) < float("inf")
    return example is None or isinstance(value, type(example))
