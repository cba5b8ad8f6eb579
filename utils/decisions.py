"""The decision whether a challenger replaces what it was compared with: a pure function of the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from utils import metrics
from utils.comparison import Difference
from utils.metrics import Metric

Outcome = Literal["promote", "not_better", "blocked"]


def _finite(value: object) -> float | None:
    """Turn whatever isn't a finite number into None, which blocks where the number is needed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


Value = Annotated[float | None, BeforeValidator(_finite)]


class Policy(BaseModel):
    """What a challenger has to show.

    Attributes
    ----------
    metric : str
        scikit-learn's name of the metric that decides.
    direction : str
        "maximize" or "minimize"; "" for the metric's own.
    minimum_improvement : float
        In the metric's units; the least by which the challenger has to be better.
    confidence : float
        Of the interval of the difference, which has to exclude zero.
    minimum_rows : int
        Fewer held-out rows are no evidence.
    thresholds : dict
        For each metric named, the worst value that is acceptable, whatever the opponent has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    direction: Literal["", "maximize", "minimize"] = ""
    minimum_improvement: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    minimum_rows: int = Field(default=30, ge=1)
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)


class Evidence(BaseModel):
    """All that the decision depends on, as evaluation.json keeps it.

    Attributes
    ----------
    rows : int
        Held-out rows that both were judged on.
    challenger, opponent_metrics : dict
        Values by the metrics' names, in their natural sign; None for what is undefined or not finite.
    opponent : str
        "champion version 3" or "baseline"; "" if there was nothing to compare with.
    difference : Difference or None
        Of the policy's metric, challenger minus opponent.
    problems : list of str
        Why the evidence can't be trusted, each a sentence; empty if it can.
    digest : str
        The SHA-256 of the challenger's model file; "" if it was judged before it was saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy
    rows: int
    challenger: dict[str, Value]
    opponent: str
    opponent_metrics: dict[str, Value]
    difference: Difference | None
    problems: list[str] = Field(default_factory=list)
    digest: str = ""


class Decision(NamedTuple):
    """An outcome and its reason in a sentence, without full stop."""

    outcome: Outcome
    reason: str


def decide(evidence: Evidence) -> Decision:
    """Decide by the policy; anything unexpected blocks.

    Returns
    -------
    Decision
        blocked if the evidence has problems, lacks a number or has too few rows; not_better if a threshold is
        missed, the improvement is too small, or the interval doesn't exclude zero; promote otherwise.
    """
    try:
        return _decide(evidence)
    except Exception as error:  # whatever it is, it must not promote
        return Decision("blocked", f"The evidence can't be read ({type(error).__name__}: {error})")


def _decide(evidence: Evidence) -> Decision:
    policy = evidence.policy
    metric = metrics.find(policy.metric, policy.direction)
    doubt = _doubt(evidence, metric)
    difference = evidence.difference
    if doubt is not None or difference is None:
        return Decision("blocked", doubt or "The evidence has a problem without a name")
    for name, worst in policy.thresholds.items():
        other = metric if name == metric.name else metrics.find(name)
        value = _number(evidence.challenger, name)
        if other.gain(value - worst) < 0:
            return Decision(
                "not_better",
                f"{_sentence(other.label)} {value:.4g} misses the threshold of {worst:g} "
                f"on {evidence.rows:,} held-out rows",
            )
    comparison = describe(evidence, metric)
    gain = metric.gain(difference.estimate)
    sure = difference.low > 0 if metric.direction == "maximize" else difference.high < 0
    if gain == 0 and difference.low == difference.high:
        return Decision("not_better", f"{comparison}: no difference")
    if not sure:
        return Decision("not_better", f"{comparison}: the interval does not exclude zero on the better side")
    if not gain >= policy.minimum_improvement:
        return Decision(
            "not_better",
            f"{comparison}: the improvement is less than the {policy.minimum_improvement:g} asked for",
        )
    return Decision("promote", comparison)


def _doubt(evidence: Evidence, metric: Metric) -> str | None:
    """Return why the evidence can't be trusted, or None if it can."""
    policy, difference = evidence.policy, evidence.difference
    if evidence.problems:
        return "; ".join(problem.rstrip(".") for problem in evidence.problems)
    if not evidence.opponent:
        return "There was no opponent to compare with"
    if not evidence.rows >= policy.minimum_rows:
        asked = f"the policy asks for {policy.minimum_rows:,}"
        return f"{evidence.rows:,} held-out rows are too few to decide by: {asked}"
    for name in {metric.name: metric, **policy.thresholds}:
        label = _sentence((metric if name == metric.name else metrics.find(name)).label)
        if _finite(evidence.challenger.get(name)) is None:
            return f"{label} of the challenger is missing or not finite"
        if name == metric.name and _finite(evidence.opponent_metrics.get(name)) is None:
            return f"{label} of the {evidence.opponent} is missing or not finite"
    if difference is None:
        return "There is no interval of the difference"
    if any(_finite(value) is None for value in (difference.estimate, difference.low, difference.high)):
        return "The interval of the difference is not finite"
    expected = _number(evidence.challenger, metric.name) - _number(evidence.opponent_metrics, metric.name)
    if not math.isclose(difference.estimate, expected, rel_tol=1e-6, abs_tol=1e-9):
        return "The difference recorded is not that of the metrics recorded"
    if difference.low > difference.high or difference.confidence != policy.confidence:
        return "The interval recorded is not that of the policy"
    return None


def _number(values: Mapping[str, Any], name: str) -> float:
    value = _finite(values.get(name))
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def describe(evidence: Evidence, metric: Metric) -> str:
    """Say how the two compare: "RMSE 53.1 against 54.4 of champion version 3 on the same 89 rows, …"."""
    difference = evidence.difference
    values = [_number(which, metric.name) for which in (evidence.challenger, evidence.opponent_metrics)]
    opponent = "the baseline" if evidence.opponent == "baseline" else evidence.opponent
    said = f"{_sentence(metric.label)} {{}} against {{}} of {opponent} "
    said += f"on the same {evidence.rows:,} rows"
    if difference is None or difference.high == difference.low:
        return said.format(*(f"{value:.4g}" for value in values))
    # As many decimals as two digits of the interval's width need: more would be noise.
    decimals = max(0, 1 - math.floor(math.log10(difference.high - difference.low)))
    low, high = (_rounded(value, decimals) for value in (difference.low, difference.high))
    said += f", {difference.confidence * 100:g} % interval of the difference {low} to {high}"
    return said.format(*(_rounded(value, decimals) for value in values))


def _rounded(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    # Never "0.0" for a bound that isn't zero: which side of it the bound is on is what counts.
    return f"{value:.1g}" if value and not float(text.replace(",", "")) else text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
