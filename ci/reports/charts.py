"""Drawings as inline SVG; see `ci.reports.svg` for what they are made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ci.reports import text
from ci.reports.svg import Scale, at, figure, tag, tick_places
from ci.reports.svg import ticks as ticks


def difference(
    *,
    estimate: float,
    low: float,
    high: float,
    lower_is_better: bool,
    metric: str,
    opponent: str,
    minimum: float | None,
    confidence: str,
    places: int,
) -> Markup:
    """Draw the interval of the difference between challenger and opponent.

    Parameters
    ----------
    estimate, low, high : float
        Challenger minus opponent, in the metric's own units.
    lower_is_better : bool
        Which side of zero is the good one.
    metric, opponent, confidence : str
        In words, such as "root mean squared error", "champion version 3", "95 %".
    minimum : float or None
        The improvement that the scenario demands, as a positive number in the metric's units.
    places : int
        Decimals of the numbers beside the interval.
    """
    needed = None if not minimum else (-abs(minimum) if lower_is_better else abs(minimum))
    shown = [estimate, low, high, 0.0] + ([] if needed is None else [needed])
    scale = Scale.around(shown, 0.16)
    zero = scale(0.0)
    good_from, good_to = (0.0, scale(needed or 0.0)) if lower_is_better else (scale(needed or 0.0), 1.0)
    better, worse = ("left", "right") if lower_is_better else ("right", "left")
    sides = {"left": ("0", "start", "← challenger {}"), "right": ("100%", "end", "challenger {} →")}
    parts = [tag("rect", x=at(good_from), y=24, width=at(good_to - good_from), height=72, class_="good-side")]
    for side, word in ((better, "better"), (worse, "worse")):
        x, anchor, pattern = sides[side]
        parts.append(tag("text", pattern.format(word), x=x, y=14, text_anchor=anchor, class_="side"))
    marks = ticks(scale.low, scale.high, 5)
    for tick in marks:
        x = at(scale(tick))
        parts.append(tag("line", x1=x, x2=x, y1=96, y2=101, class_="axis"))
        if 0.03 < scale(tick) < 0.97:
            name = text.number(tick, tick_places(marks), sign=True)
            parts.append(tag("text", name, x=x, y=115, text_anchor="middle", class_="tick"))
    parts.append(tag("line", x1="0", x2="100%", y1=96, y2=96, class_="axis"))
    parts.append(tag("line", x1=at(zero), x2=at(zero), y1=52, y2=96, class_="zero"))
    if needed is not None:
        x = at(scale(needed))
        parts.append(tag("line", x1=x, x2=x, y1=52, y2=96, class_="needed"))
    a, b, middle = scale(low), scale(high), scale(estimate)
    parts += [
        tag("line", x1=at(a), x2=at(b), y1=62, y2=62, class_="interval"),
        *(tag("line", x1=at(x), x2=at(x), y1=55, y2=69, class_="interval-end") for x in (a, b)),
        tag("circle", cx=at(middle), cy=62, r=6.5, class_="estimate"),
        _label(middle, 45, text.number(estimate, places, sign=True), "value"),
    ]
    # The ends are labelled inwards, away from the lines that lie outside, where there is room for both.
    if b - a > 0.34:
        parts += [
            tag("text", text.number(end, places, sign=True), x=at(x), y=84, text_anchor=side, class_="bound")
            for end, x, side in ((low, a, "start"), (high, b, "end"))
        ]
    words = (
        f"The difference in {metric}, challenger minus {opponent}, "
        f"is {text.number(estimate, places, sign=True)} with a {confidence} interval "
        f"from {text.interval(low, high, places)}. "
        f"{'Below' if lower_is_better else 'Above'} zero the challenger is better."
    )
    if needed is not None:
        words += f" The scenario asks for {text.number(needed, places, sign=True)} or better."
    return figure(
        parts,
        height=122,
        title=f"Difference in {metric}, {confidence} interval",
        description=words,
        css="difference",
        name="difference",
    )


def _label(x: float, y: int, content: str, css: str) -> Markup:
    anchor = "start" if x < 0.08 else "end" if x > 0.92 else "middle"
    return tag("text", content, x=at(x), y=y, text_anchor=anchor, class_=css)


def deviation(value: float, largest: float, *, good: bool | None) -> Markup:
    """Draw one difference as a bar to the left or right of a centre line; its number stands beside it."""
    share = 0.5 * min(1.0, abs(value) / largest) if largest else 0.0
    css = "even" if good is None else "good" if good else "bad"
    return tag(
        "svg",
        tag("rect", x=at(0.5 if value > 0 else 0.5 - share), y=3, width=at(share), height=8, class_=css),
        tag("line", x1="50%", x2="50%", y1=0, y2=14, class_="axis"),
        aria_hidden="true",
        class_="chart deviation",
        width="100%",
        height=14,
    )


@dataclass(frozen=True)
class Point:
    """One run in the history of a metric.

    Attributes
    ----------
    when, name : str
        Its day, and what a pointer resting on it shows.
    kind : str
        released, waiting or other; each has a shape of its own.
    challenger : float
        The metric of the trained model.
    opponent : float or None
        That of the model it met; None where there was none.
    """

    when: str
    name: str
    kind: str
    challenger: float
    opponent: float | None


def history(points: Sequence[Point], *, metric: str, direction: str, name: str) -> Markup:
    """Draw the metric of each run's challenger, oldest first, and of the model that it met.

    Parameters
    ----------
    points : sequence of Point
        At least two, each with a challenger's metric.
    metric, direction : str
        In words, such as "accuracy" and "higher is better".
    name : str
        An id for the drawing, of its own on the page.
    """
    values = [v for p in points for v in (p.challenger, p.opponent) if v is not None]
    top, bottom, height = 12, 178, 204
    scale = Scale.around(values, 0.12)
    marks = ticks(scale.low, scale.high, 4)
    places = tick_places(marks)

    def x(index: int) -> str:
        return at(0.015 + 0.97 * index / (len(points) - 1))

    def y(value: float) -> str:
        return f"{bottom - scale(value) * (bottom - top):.1f}"

    numbers, parts = [], []
    for tick in marks:
        parts.append(tag("line", x1="0", x2="100%", y1=y(tick), y2=y(tick), class_="grid"))
        text_ = text.number(tick, places)
        numbers.append(tag("text", text_, x="100%", y=y(tick), dy=4, text_anchor="end", class_="tick"))
    for css, series in (
        ("line-opponent", [p.opponent for p in points]),
        ("line-challenger", [p.challenger for p in points]),
    ):
        known = [(x(i), y(v)) for i, v in enumerate(series) if v is not None]
        for (x1, y1), (x2, y2) in itertools.pairwise(known):
            parts.append(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css))
    for index, point in enumerate(points):
        if point.opponent is not None:
            parts.append(tag("circle", cx=x(index), cy=y(point.opponent), r=2.5, class_="mark-opponent"))
    for index, point in enumerate(points):
        mark = tag("svg", _shape(point.kind), x=x(index), y=y(point.challenger), overflow="visible")
        parts.append(tag("g", tag("title", point.name), mark))
    for index in (0, len(points) - 1):
        anchor = "start" if index == 0 else "end"
        when = points[index].when
        parts.append(tag("text", when, x=x(index), y=height - 4, text_anchor=anchor, class_="tick"))
    words = (
        f"{metric} of the challenger in {text.count(len(points), 'run')}, oldest first"
        f"{'; ' if direction else ''}{direction}. The newest has {text.number(points[-1].challenger)}. "
        "The table below has all the values."
    )
    # Two drawings side by side, since the plot's places are percentages and the numbers' column is pixels.
    axis = tag("svg", *numbers, aria_hidden="true", class_="chart numbers", width=56, height=height)
    plot = figure(
        parts, height=height, title=f"{metric}, run by run", description=words, css="history", name=name
    )
    return tag("div", axis, plot, class_="plot")


def _shape(kind: str) -> Markup:
    """Return a mark around the origin: a filled circle, a diamond or a ring."""
    if kind == "released":
        return tag("circle", r=6, class_="mark-released")
    if kind == "waiting":
        return tag("path", d="M0-7 7 0 0 7-7 0Z", class_="mark-waiting")
    return tag("circle", r=4.5, class_="mark-other")


def key(kind: str) -> Markup:
    """Return a mark of `history` for its legend; kind may be "opponent" too."""
    shape = tag("circle", r=2.5, class_="mark-opponent") if kind == "opponent" else _shape(kind)
    inner = tag("svg", shape, x=8, y=8, overflow="visible")
    return tag("svg", inner, aria_hidden="true", class_="chart key", width=16, height=16)
