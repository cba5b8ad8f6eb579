"""What a sweep searches, as a scenario's file and a run's record have it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

FOLDS, SCORE = "folds", "validation"  # the parameter and the scrap that make a step fit to be swept
MOST = 10_000  # trials


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
