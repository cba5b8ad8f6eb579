"""What a sweep is asked to search: by `-p NAME a,b,c`, or by the key `sweep` of the scenario's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ci.declarations import ParameterError
from ci.sweeps.space import FOLDS, SCORE, Range, Space, Sweep
from ci.texts import read_file

if TYPE_CHECKING:
    from ci.parameters import Parameters
    from ci.pipeline import Pipeline

KEY = "sweep"
_HYPERPARAMETERS = "hyperparameters"

_M = TypeVar("_M", bound=BaseModel)


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
