"""The scores of a sweep's trials against the values that were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ci.reports import text
from ci.reports.svg import Scale, at, figure, tag, tick_places, ticks

_TOP, _BOTTOM = 14, 176
_MARKS = 6  # on the axis of a parameter, so that their names have room on a phone
_TRIALS_TO_CUT, _FAR = 8, 6.0  # of so many trials those so many times worse than most are cut off
_MANY = 100  # trials, which are drawn smaller
_CLOSE = 0.09  # names of marks nearer to each other would overlap
_DECADES = 50  # from the least to the greatest as much: then logarithms are spread evenly


_SHAPES = {
    "best": tag("circle", r=6.5, class_="mark-released"),
    "trial": tag("circle", r=4, class_="mark-trial"),
    "many": tag("circle", r=2.5, class_="mark-trial-of-many"),
    "failed": tag("path", d="M-4-4 4 4M4-4-4 4", class_="mark-failed"),
}


@dataclass(frozen=True)
class Point:
    """A trial.

    Attributes
    ----------
    values : mapping
        By parameter.
    mean, error : float or None
        Its score and the standard error; None for one that failed.
    name : str
        What a pointer resting on it shows.
    """

    values: dict[str, Any]
    mean: float | None
    error: float | None
    name: str
    best: bool = False


@dataclass(frozen=True)
class Drawing:
    """All panels, one for each parameter.

    Attributes
    ----------
    beyond : int
        How many trials are so bad that they lie beyond the axis.
    many : bool
        Whether there are so many that they are drawn smaller.
    """

    panels: list[Markup]
    beyond: int
    many: bool


def draw(
    points: Sequence[Point], names: Sequence[str], *, metric: str, lower_is_better: bool
) -> Drawing | None:
    """Draw the score against each parameter; one parameter alone gets error bars.

    Parameters
    ----------
    points : sequence of Point
    names : sequence of str
        The parameters.
    metric : str
        In words.

    Returns
    -------
    Drawing or None
        None if no trial has a score.
    """
    scored = [point for point in points if point.mean is not None]
    if not scored:
        return None
    scale, limit = _scores(scored, lower_is_better=lower_is_better, bars=len(names) == 1)
    sign = 1.0 if lower_is_better else -1.0
    beyond = sum(sign * (point.mean or 0.0) > sign * limit for point in scored)
    panels = [
        _panel(points, name, place, scale, metric=metric, bars=len(names) == 1)
        for place, name in enumerate(names)
    ]
    return Drawing(panels, beyond, len(points) > _MANY)


def _scores(points: Sequence[Point], *, lower_is_better: bool, bars: bool) -> tuple[Scale, float]:
    """Return the scale of the scores, and the worst that is drawn: a few far off would flatten all others."""
    sign = 1.0 if lower_is_better else -1.0
    losses = sorted(sign * point.mean for point in points if point.mean is not None)
    best, usual, worst = losses[0], losses[3 * (len(losses) - 1) // 4], losses[-1]
    if len(losses) >= _TRIALS_TO_CUT and usual > best:
        worst = max(loss for loss in losses if loss <= best + _FAR * (usual - best))
    ends = [best, worst]
    if bars:
        shown = [p for p in points if p.mean is not None and sign * p.mean <= worst]
        ends += [
            sign * p.mean + side * (p.error or 0.0) for p in shown for side in (-1, 1) if p.mean is not None
        ]
    return Scale.around([sign * end for end in ends], 0.07), sign * worst


def _panel(
    points: Sequence[Point], name: str, place: int, scale: Scale, *, metric: str, bars: bool
) -> Markup:
    axis = _Axis([point.values[name] for point in points])
    height = _BOTTOM + 44

    def y(value: float) -> str:
        share = min(max(scale(value), 0.0), 1.0)
        return f"{_BOTTOM - share * (_BOTTOM - _TOP):.1f}"

    marks = ticks(scale.low, scale.high, 4)
    numbers, parts = [], []
    for mark in marks:
        parts.append(tag("line", x1="0", x2="100%", y1=y(mark), y2=y(mark), class_="grid"))
        number = text.number(mark, tick_places(marks))
        numbers.append(tag("text", number, x="100%", y=y(mark), dy=4, text_anchor="end", class_="tick"))
    parts.append(tag("line", x1="0", x2="100%", y1=_BOTTOM, y2=_BOTTOM, class_="axis"))
    for where, label in axis.marks():
        x = at(where)
        parts.append(tag("line", x1=x, x2=x, y1=_BOTTOM, y2=_BOTTOM + 5, class_="axis"))
        parts.append(tag("text", label, x=x, y=_BOTTOM + 19, text_anchor="middle", class_="tick"))
    parts.append(tag("text", axis.title(name), x="50%", y=height - 5, text_anchor="middle", class_="side"))
    parts += _marks(points, name, axis, y, bars=bars)
    scored = sum(point.mean is not None for point in points)
    drawing = figure(
        parts,
        height=height,
        title=f"{metric} against {name}",
        description=f"{metric} of {text.count(scored, 'trial')} against {name}; values are in the table.",
        css="trials",
        name=f"trials-{place}",
    )
    scores = tag("svg", *numbers, aria_hidden="true", class_="chart numbers", width=56, height=height)
    heading = tag("p", metric, class_="axis-name")
    return tag("div", heading, tag("div", scores, drawing, class_="plot"))


def key(kind: str) -> Markup:
    """Return a mark for the legend: best, trial, many or failed."""
    inner = tag("svg", _SHAPES[kind], x=8, y=8, overflow="visible")
    return tag("svg", inner, aria_hidden="true", class_="chart key", width=16, height=16)


def _marks(points: Sequence[Point], name: str, axis: _Axis, y: Any, *, bars: bool) -> list[Markup]:
    """Return error bars, then all trials, the best one last and so above the others."""
    lines, circles = [], []
    usual = (4.0, "mark-trial") if len(points) <= _MANY else (2.5, "mark-trial-of-many")
    for point in sorted(points, key=lambda point: point.best):
        x = at(axis(point.values[name]))
        if point.mean is None:
            mark = tag("svg", _SHAPES["failed"], x=x, y=_BOTTOM, overflow="visible")
        else:
            if bars and point.error:
                ends = {"y1": y(point.mean - point.error), "y2": y(point.mean + point.error)}
                lines.append(tag("line", x1=x, x2=x, **ends, class_="error-bar"))
            radius, css = (6.5, "mark-released") if point.best else usual
            mark = tag("circle", cx=x, cy=y(point.mean), r=radius, class_=css)
        circles.append(tag("g", tag("title", point.name), mark) if point.name else mark)
    return [*lines, *circles]


class _Axis:
    """Where a parameter's values lie: numbers by their size or its logarithm, all else side by side."""

    def __init__(self, values: Sequence[Any]) -> None:
        numeric = all(text.is_number(value) for value in values)
        self._names: list[str] = []
        self._log = False
        self._values: list[float] = sorted(set(values)) if numeric else []
        if not numeric:
            self._names = list(dict.fromkeys(text.value(value, 24) for value in values))
            self._scale = Scale(-0.5, len(self._names) - 0.5)
            return
        low, high = self._values[0], self._values[-1]
        self._log = low > 0 and high / low >= _DECADES
        self._scale = Scale.around([self._place(low), self._place(high)], 0.06)

    def _place(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def __call__(self, value: Any) -> float:
        """Return the place of a value, as a fraction of the axis."""
        return self._scale(self._names.index(text.value(value, 24)) if self._names else self._place(value))

    def title(self, name: str) -> str:
        """Return the axis' name."""
        return f"{name} (logarithmic)" if self._log else name

    def marks(self) -> list[tuple[float, str]]:
        """Return places and names of the marks: of the values themselves where they are few."""
        found: list[tuple[float, str]] = []
        for where, name in self._marks():
            # A mark without room keeps its line.
            close = any(label and where - other < _CLOSE for other, label in found)
            found.append((where, "" if close else name))
        return found

    def _marks(self) -> list[tuple[float, str]]:
        if self._names:
            shown = _some(self._names)
            return [(self(name), name if len(name) < 16 else f"…{name[-14:]}") for name in shown]
        if len(self._values) <= _MARKS or (self._log and len(self._values) <= 2 * _MARKS):
            return [(self(value), text.value(float(value))) for value in _some(self._values)]
        low, high = self._scale.low, self._scale.high
        if self._log:
            powers = range(math.ceil(low), math.floor(high) + 1)
            if len(powers) > 1:
                return [(self._scale(power), text.value(10.0**power)) for power in _some(list(powers))]
            return [(self(value), text.value(float(value))) for value in _some(self._values)]
        found = ticks(low, high, _MARKS - 1)
        return [(self._scale(mark), text.number(mark, tick_places(found))) for mark in found]


def _some(items: Sequence[Any]) -> list[Any]:
    """Return as many items as have room, evenly spread, the first and the last among them."""
    if len(items) <= _MARKS:
        return list(items)
    return [items[round(place * (len(items) - 1) / (_MARKS - 1))] for place in range(_MARKS)]
