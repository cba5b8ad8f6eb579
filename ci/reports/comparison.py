"""Champion against challenger, as the evaluate step of a run left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from ci.reports import charts, text
from ci.runs import Run, Step

_IN_WORDS = {"minimize": "lower is better", "maximize": "higher is better"}


@dataclass(frozen=True)
class Metric:
    """One line of the table of metrics, ready to be shown.

    Attributes
    ----------
    better : str
        "challenger", "opponent", or "" where they are equal or nobody knows which direction is good.
    limit : str
        The scenario's absolute demand on the challenger, in words; "" if it has none.
    """

    name: str
    main: bool
    direction: str
    challenger: str
    opponent: str
    difference: str
    better: str
    limit: str


@dataclass(frozen=True)
class Segment:
    """One line of the table of segments, ready to be shown."""

    name: str
    rows: str
    challenger: str
    opponent: str
    difference: str
    better: str
    bar: Markup


@dataclass(frozen=True)
class Comparison:
    """What evaluate found.

    Attributes
    ----------
    outcome : str
        promote, not_better or blocked; "" where evaluate got to none.
    opponent, kind : str
        Such as "champion version 3" and "Champion".
    interval : Markup or None
        The drawing of the difference, if there is one.
    value, opposing, estimate, bounds : str
        The same in words: "53.10", "54.40", "−1.30", "95 % interval −2.40 to −0.10"; "" for what isn't known.
    """

    outcome: str
    reason: str
    metric: str
    direction: str
    opponent: str
    kind: str
    rows: int | None
    challenger_value: float | None
    opponent_value: float | None
    value: str
    opposing: str
    estimate: str
    bounds: str
    method: str
    interval: Markup | None
    metrics: list[Metric] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)

    @property
    def values(self) -> str:
        """Both values of the scenario's metric: "53.10 against 54.40", or ""."""
        return f"{self.value} against {self.opposing}" if self.value else ""

    @property
    def difference(self) -> str:
        """The difference with its interval: "−1.30 (95 % interval −2.40 to −0.10)", or ""."""
        return f"{self.estimate} ({self.bounds})" if self.bounds else self.estimate


def scraps(run: Run, name: str) -> dict[str, Any]:
    """Return what a step glued; {} if it did not yet, or the run has no such step."""
    return next((step.scraps for step in run.steps if step.name == name), {})


def of(run: Run) -> Comparison | None:
    """Return a run's comparison, or None if evaluate has glued nothing."""
    step = next((step for step in run.steps if step.name == "evaluate"), None)
    if step is None or not step.scraps.get("outcome"):
        return None
    found = step.scraps
    metric = str(found.get("metric") or "")
    direction = str(found.get("direction") or text.metric_direction(metric))
    opponent = str(found.get("opponent") or "")
    mine, theirs = _mapping(found, "challenger"), _mapping(found, "opponent_metrics")
    difference = _mapping(found, "difference")
    limits = _mapping(found, "thresholds")
    places = text.decimals([mine.get(metric), theirs.get(metric)])
    names = sorted({**mine, **theirs}, key=lambda name: name != metric)
    return Comparison(
        outcome=str(found["outcome"]),
        reason=str(found.get("reason") or ""),
        metric=text.metric_name(metric),
        direction=_IN_WORDS.get(direction, ""),
        opponent=opponent,
        kind=text.label(opponent.split()[0]) if opponent else "Opponent",
        rows=found.get("rows"),
        challenger_value=_finite(mine.get(metric)),
        opponent_value=_finite(theirs.get(metric)),
        value=text.number(mine[metric], places) if text.is_number(mine.get(metric)) else "",
        opposing=text.number(theirs.get(metric), places),
        estimate=_estimate(difference, places),
        bounds=_bounds(difference, places),
        method=str(difference.get("method") or ""),
        interval=_drawing(difference, metric, direction, opponent, _minimum(step), places),
        metrics=[_metric(name, metric, direction, mine, theirs, limits) for name in names],
        segments=_segments(found.get("segments"), direction),
    )


def better(challenger: Any, opponent: Any, direction: str) -> str:
    """Return which of two values is better: "challenger", "opponent", or "" if neither or unknown."""
    if not (text.is_number(challenger) and text.is_number(opponent)) or direction not in _IN_WORDS:
        return ""
    if challenger == opponent:
        return ""
    return "challenger" if (challenger < opponent) == (direction == "minimize") else "opponent"


def _mapping(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    content = found.get(name)
    return content if isinstance(content, dict) else {}


def _finite(value: Any) -> float | None:
    return float(value) if text.is_number(value) else None


def _minimum(step: Step) -> float | None:
    """Return the improvement that the scenario asks for; None if it leaves that to the notebook's default."""
    given = step.parameters.get("minimum_improvement")
    return _finite(given.value) if given else None


def _estimate(difference: Mapping[str, Any], places: int) -> str:
    estimate = difference.get("estimate")
    return text.number(estimate, places, sign=True) if text.is_number(estimate) else ""


def _bounds(difference: Mapping[str, Any], places: int) -> str:
    low, high = difference.get("low"), difference.get("high")
    if not (text.is_number(low) and text.is_number(high)):
        return ""
    return f"{text.percent(difference.get('confidence'))} interval {text.interval(low, high, places)}"


def _drawing(
    difference: Mapping[str, Any],
    metric: str,
    direction: str,
    opponent: str,
    minimum: float | None,
    places: int,
) -> Markup | None:
    if not all(text.is_number(difference.get(name)) for name in ("estimate", "low", "high")):
        return None
    return charts.difference(
        estimate=difference["estimate"],
        low=difference["low"],
        high=difference["high"],
        lower_is_better=direction != "maximize",
        metric=text.metric_name(metric),
        opponent=opponent or "opponent",
        minimum=minimum,
        confidence=text.percent(difference.get("confidence")),
        places=places,
    )


def _metric(
    name: str,
    main: str,
    direction: str,
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    limits: Mapping[str, Any],
) -> Metric:
    a, b = mine.get(name), theirs.get(name)
    way = direction if name == main else text.metric_direction(name)
    places = text.decimals([a, b])
    limit = limits.get(name)
    word = {"minimize": "at most", "maximize": "at least"}.get(way, "limit")
    return Metric(
        name=text.metric_name(name),
        main=name == main,
        direction=_IN_WORDS.get(way, ""),
        challenger=text.number(a, places),
        opponent=text.number(b, places),
        difference=text.number(_gap(a, b), places, sign=True),
        better=better(a, b, way),
        limit="" if limit is None else f"{word} {text.number(limit)}",
    )


def _gap(a: Any, b: Any) -> float | None:
    return a - b if text.is_number(a) and text.is_number(b) else None


def _segments(found: Any, direction: str) -> list[Segment]:
    lines = [line for line in found if isinstance(line, dict)] if isinstance(found, list) else []
    values = [(line.get("challenger"), line.get("opponent")) for line in lines]
    places = text.decimals([value for pair in values for value in pair])
    gaps = [_gap(a, b) for a, b in values]
    largest = max((abs(gap) for gap in gaps if gap is not None), default=0.0)
    segments = []
    for line, (a, b), gap in zip(lines, values, gaps, strict=True):
        side = better(a, b, direction)
        segments.append(
            Segment(
                name=str(line.get("segment", "")),
                rows=text.number(line.get("rows")),
                challenger=text.number(a, places),
                opponent=text.number(b, places),
                difference=text.number(gap, places, sign=True),
                better=side,
                bar=charts.deviation(gap or 0.0, largest, good=None if not side else side == "challenger"),
            )
        )
    return segments
