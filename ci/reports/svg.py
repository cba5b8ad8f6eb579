"""What drawings are made of: elements, scales, marks on an axis.

Drawings have no viewBox: places are percentages, sizes are pixels, so that a
drawing takes the width it is given while its text stays as large as the text
around it, on a phone too. Colours come from the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element. Children and attributes are escaped unless they are Markup."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(content))}"'
        for key, content in attributes.items()
    )
    inside = Markup("").join(children)
    return Markup(f"<{name}{given}>{inside}</{name}>")  # noqa: S704 - each part is escaped above


def at(fraction: float) -> str:
    """Return a place in the drawing as a percentage."""
    return f"{fraction * 100:.2f}%"


def figure(
    parts: Sequence[Markup], *, height: int, title: str, description: str, css: str, name: str
) -> Markup:
    """Return a drawing as wide as its place, with a title and a description for those who can't see it."""
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *parts,
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-desc",
        class_=f"chart {css}",
        width="100%",
        height=height,
    )


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) that lie within a range."""
    if not high > low:
        return [low]
    raw = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_places(marks: Sequence[float]) -> int:
    """Return the decimals that tell the marks of an axis apart."""
    return max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9)) if len(marks) > 1 else 2


@dataclass(frozen=True)
class Scale:
    """Where a number lies between the ends of an axis, as a fraction of the drawing."""

    low: float
    high: float
    start: float = 0.0
    end: float = 1.0

    @classmethod
    def around(cls, values: Sequence[float], margin: float, start: float = 0.0, end: float = 1.0) -> Scale:
        """Return the scale that shows all values with a margin (a share of their range)."""
        low, high = min(values), max(values)
        room = (high - low) * margin or abs(high) * margin or 1.0
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """Return the place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
