"""What a sweep searches: from `-p NAME a,b,c`, or from the key `sweep` of the scenario's file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from ci.declarations import ParameterError
from ci.texts import read_file

if TYPE_CHECKING:
    from ci.parameters import Parameters
    from ci.pipeline import Pipeline

KEY = "sweep"
FOLDS, SCORE = "folds", "validation"  # the parameter and the scrap that make a step fit to be swept
MOST = 10_000  # trials
_HYPERPARAMETERS = "hyperparameters"


_M = TypeVar("_M", bound=BaseModel)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Range(_Model):
    """All numbers from `low` to `high`, both included.

    Attributes
    ----------
    log : bool
        Whether their logarithms are spread evenly, not they themselves.
    step : number, optional
        The distance from one to the next; only those are tried.
    """

    low: int | FiniteFloat
    high: int | FiniteFloat
    log: bool = False
    step: int | FiniteFloat | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}: low has to be the lesser.")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, and it is {self.low}.")
        if self.step is not None and (self.log or self.step <= 0):
            raise ValueError("step has to be above 0, and doesn't go with log.")
        return self


class Space(_Model):
    """What is searched and how: the content of the key `sweep` in a scenario's file.

    Attributes
    ----------
    method : str
        grid (every combination of the values listed) or optuna (values chosen by how those
        before have done).
    parameters : dict
        For each name a list of values, or, by optuna, a range.
    trials : int or None
        How many to run by optuna; a grid has as many as it has combinations.
    seed : int
        Makes what optuna tries repeatable, as far as the order in which trials end allows.
    """

    method: Literal["grid", "optuna"] = "grid"
    parameters: dict[str, list[Any] | Range] = Field(min_length=1)
    trials: int | None = Field(default=None, ge=1, le=MOST)
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, values in self.parameters.items():
            if values == []:
                raise ValueError(f"{name} has no values.")
            if isinstance(values, list) and any(
                value in values[:place] for place, value in enumerate(values)
            ):
                raise ValueError(f"{name} has a value twice: {', '.join(map(str, values))}.")
            if self.method == "grid" and isinstance(values, Range):
                raise ValueError(f"{name} is a range; a grid needs a list of values, or take method: optuna.")
        if self.method == "grid" and self.trials is not None:
            raise ValueError("trials goes with method: optuna; a grid has a trial for each combination.")
        if self.method == "optuna" and self.trials is None:
            raise ValueError("method: optuna needs trials, how many to run.")
        if self.count > MOST:
            raise ValueError(f"these are {self.count:,} trials, and {MOST:,} are the most.")
        return self

    @property
    def count(self) -> int:
        """How many trials there are in all."""
        lists = [values for values in self.parameters.values() if isinstance(values, list)]
        return self.trials if self.trials is not None else math.prod(map(len, lists))

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield a grid's values, the last parameter changing fastest."""
        lists = [values for values in self.parameters.values() if isinstance(values, list)]
        for values in itertools.product(*lists):
            yield dict(zip(self.parameters, values, strict=True))


class Sweep(Space):
    """A sweep as a run's record has it.

    Attributes
    ----------
    step : str
        Whose notebook is executed for each trial.
    folds : int
        Of the cross-validation by which trials are compared.
    jobs : int or None
        How many trials run at once; None for as many as there are processors.
    winner : int or None
        The number of the trial that was taken.
    best : dict
        Its values.
    """

    step: str
    folds: int = Field(ge=2)
    jobs: int | None = Field(default=None, ge=1)
    winner: int | None = None
    best: dict[str, Any] = Field(default_factory=dict)

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a trial with these values gives to its notebook, stronger than all other sources."""
        return {FOLDS: self.folds, **values}


def part(words: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Part what `-p` gave into values for the whole run and lists of values to search.

    Raises
    ------
    ParameterError
        If a name is given twice.
    """
    fixed: list[tuple[str, str]] = []
    searched: dict[str, list[str]] = {}
    names = [name for name, _ in words]
    for name, text in words:
        if names.count(name) > 1:
            raise ParameterError(f"-p {name} is given twice; give all its values at once: -p {name} a,b,c")
        values = split(text)
        if len(values) > 1:
            searched[name] = values
        else:
            fixed.append((name, text))
    return fixed, searched


def split(text: str) -> list[str]:
    """Split a word of the command line at its commas, but not within brackets, braces and quotes."""
    try:
        node = yaml.compose(f"[{text}]", Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        node = None
    if not isinstance(node, yaml.SequenceNode) or not node.value or text.rstrip().endswith(","):
        return text.split(",")
    return [
        # Quotes are there to keep a comma; the value is what they hold, as in a shell.
        item.value
        if isinstance(item, yaml.ScalarNode) and item.style in ("'", '"')
        else text[item.start_mark.index - 1 : item.end_mark.index - 1]
        for item in node.value
    ]


def plan(
    chain: Pipeline,
    parameters: Parameters,
    scenario: Path,
    searched: Mapping[str, Sequence[str]],
    jobs: int | None,
) -> Sweep:
    """Return the sweep that is asked for, all its values checked as `-p` would check them.

    Parameters
    ----------
    parameters : Parameters
        The values of the run itself.
    scenario : Path
        Its file, whose key `sweep` counts where the command line searches nothing.
    searched : mapping
        Values from the command line.
    jobs : int or None
        As `Sweep` has it.

    Raises
    ------
    ParameterError
        If nothing is searched, a value is refused, or no step can be swept by these parameters.
    """
    where = "-p"
    content: Any = {"parameters": {name: list(values) for name, values in searched.items()}}
    if not searched:
        where = f"{scenario.parent.name}/{scenario.name}: {KEY}"
        content = read_file(scenario).get(KEY)
        if content is None:
            raise ParameterError(
                f"There is nothing to search: give several values, such as -p alpha 0.01,0.1,1, or write "
                f"{KEY}: into {scenario.parent.name}/{scenario.name}."
            )
    asked = _validated(Space, content, where)
    typed, problems = {}, []
    for name, values in asked.parameters.items():
        if name in parameters.overrides:
            problems.append(f"{where}: {name} is searched, and -p {name} fixes it; leave one of them out.")
        try:
            typed[name] = _typed(parameters, name, values, from_words=bool(searched))
        except ParameterError as error:
            problems += [
                line.replace("-p", where, 1) if not searched else line for line in str(error).splitlines()
            ]
    if problems:
        raise ParameterError("\n".join(problems))
    step = _step(chain, parameters, list(typed))
    return _validated(
        Sweep,
        {
            **asked.model_dump(),
            "parameters": {n: v.model_dump() if isinstance(v, Range) else v for n, v in typed.items()},
            "step": step,
            "folds": _folds(parameters, chain.steps[step].notebook),
            "jobs": jobs,
        },
        where,
    )


def _validated(model: type[_M], content: Any, where: str) -> _M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"] if "[" not in str(part) and part != "Range")
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(": ".join(filter(None, (where, place, message))))
        raise ParameterError("\n".join(dict.fromkeys(lines))) from None


def _typed(
    parameters: Parameters, name: str, values: list[Any] | Range, *, from_words: bool
) -> list[Any] | Range:
    if isinstance(values, Range):
        ends = {end: parameters.check(name, getattr(values, end), typed=True) for end in ("low", "high")}
        if not all(_number(value) for value in (*ends.values(), parameters.example(name))):
            raise ParameterError(f"-p {name}: it is no number, so that it can't be searched by a range.")
        if isinstance(parameters.example(name), float):
            # Whole numbers as the ends of a range of any numbers.
            ends = {end: float(value) for end, value in ends.items()}
        return values.model_copy(update=ends)
    return [parameters.check(name, value, typed=not from_words) for value in values]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _step(chain: Pipeline, parameters: Parameters, names: Sequence[str]) -> str:
    """Return the step whose notebook takes what is searched, and no other notebook does."""
    problems = []
    if FOLDS in names:
        problems.append(f"{FOLDS} can't be searched: scores of other folds don't compare.")
    asked = {name if name in parameters.names else _HYPERPARAMETERS for name in names}
    whole = _HYPERPARAMETERS in names or _HYPERPARAMETERS in parameters.overrides
    if whole and any(name not in parameters.names for name in names):
        problems.append(
            f"{_HYPERPARAMETERS} is given as a whole, so that entries of it can't be searched beside it."
        )
    takers = {name: {n for n, declared in chain.declarations.items() if name in declared} for name in asked}
    for name, notebooks in takers.items():
        if len(notebooks) > 1:
            problems.append(
                f"{name} can't be searched: {', '.join(sorted(notebooks))} take it, and all have to be given "
                "the same value."
            )
    fitting = [
        name for name, step in chain.steps.items() if all({step.notebook} == n for n in takers.values())
    ]
    if not problems and len(fitting) != 1:
        problems.append(f"{' and '.join(names)} can't be searched together: no one step takes them alone.")
    if not problems:
        step = chain.steps[fitting[0]]
        if step.gives.get(SCORE) != "dict" or FOLDS not in chain.declarations[step.notebook]:
            problems.append(
                f"{' and '.join(names)} can't be searched: the step {fitting[0]} can't be swept, since its "
                f"notebook would have to take {FOLDS} and to glue {SCORE} (docs/architecture.md, Sweeps)."
            )
    if problems:
        raise ParameterError("\n".join(problems))
    return fitting[0]


def _folds(parameters: Parameters, notebook: str) -> int:
    given = parameters.of(notebook, {}).get(FOLDS)
    if given is None:
        return 5
    if not isinstance(given.value, int) or given.value < 2:
        raise ParameterError(
            f"{given.source}: {FOLDS} is {given.value}, but a sweep chooses by cross-validation, "
            "which needs 2 or more."
        )
    return given.value
