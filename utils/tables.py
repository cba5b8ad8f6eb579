"""Tables to look at in a notebook and on its page: numbers rounded, digests cut short, no idle columns."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

NONE = "–"
_DIGEST = re.compile(r"[0-9a-f]{32,64}")
_SHOWN = 12  # digits of a digest, as git shows some
_LONGEST = 160  # characters in one of many cells; all of them are in its title


class Table:
    """A table that a notebook shows as HTML, with its looks in the cells, so that any page keeps them.

    Parameters
    ----------
    columns : sequence of str
        The headings; all empty for a table of facts, which has none.
    rows : sequence of sequence
        The values, as `shown` writes them.
    caption : str
        A sentence above it.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> None:
        self.columns = list(columns)
        self.rows = [list(row) for row in rows]
        self.caption = caption

    def __repr__(self) -> str:
        if not self.rows:
            return self.caption or NONE
        lines = [[shown(value) for value in row] for row in self.rows]
        table = pd.DataFrame(lines, columns=self.columns)
        return table.to_string(index=False, header=any(self.columns))

    def _repr_html_(self) -> str:
        sides = [_side(row[place] for row in self.rows) for place in range(len(self.columns))]
        parts = ['<table border="0">']
        if self.caption:
            look = "text-align: left; white-space: nowrap"
            parts.append(f'<caption style="{look}">{html.escape(self.caption)}</caption>')
        if any(self.columns):
            heads = zip(self.columns, sides, strict=True)
            cells = [
                f'<th scope="col" style="text-align: {side}">{html.escape(name)}</th>' for name, side in heads
            ]
            parts.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
        parts.append("<tbody>")
        for row in self.rows:
            cells = [
                _cell(value, side, head=not place, limit=_LONGEST if any(self.columns) else 0)
                for place, (value, side) in enumerate(zip(row, sides, strict=True))
            ]
            parts.append(f"<tr>{''.join(cells)}</tr>")
        return "\n".join([*parts, "</tbody>", "</table>"])


def rows(
    records: pd.DataFrame | Iterable[Mapping[str, Any]],
    columns: Mapping[str, str] | Sequence[str] = (),
    caption: str = "",
) -> Table:
    """Show records, one in each row.

    Parameters
    ----------
    records : DataFrame or iterable of mapping
        An index isn't shown: what counts belongs into a column.
    columns : mapping or sequence of str
        Which to show, in this order; a mapping gives them headings. All of them if empty.
    caption : str
        A sentence above the table.
    """
    found = records.to_dict("records") if isinstance(records, pd.DataFrame) else [*records]
    names = list(columns) or [str(name) for name in (found[0] if found else ())]
    heads = [columns[name] for name in names] if isinstance(columns, Mapping) else names
    return Table(
        [str(head) for head in heads],
        ([_marked(name, row.get(name)) for name in names] for row in found),
        caption,
    )


def facts(about: Mapping[str, Any], caption: str = "") -> Table:
    """Show names and what they are, one in each row."""
    return Table(["", ""], ([name, value] for name, value in about.items()), caption)


def shown(value: Any) -> str:
    """Write a value for a person: four significant digits, thousands apart, yes and no, lists with commas."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if _is(value, bool):
        return "yes" if value else "no"
    if _is(value, int):
        return f"{value:,}"
    if _is(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items()) or NONE
    if isinstance(value, list | tuple | set):
        return ", ".join(shown(item) for item in value) or NONE
    text = str(value)
    return f"{text[:_SHOWN]}…" if _DIGEST.fullmatch(text) else text or NONE


def _is(value: Any, kind: type) -> bool:
    """Whether a value is a bool, int or float, numpy's among them."""
    found = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    return type(found) is kind


def _marked(name: str, value: Any) -> Any:
    """Say whether a check has passed by a sign as well as by a word."""
    return ("✓ yes" if value else "✗ no") if name == "passed" and _is(value, bool) else value


def _side(values: Iterable[Any]) -> str:
    """Numbers stand right, so that their digits line up; all else left."""
    known = [value for value in values if shown(value) != NONE]
    return "right" if known and all(_is(value, int) or _is(value, float) for value in known) else "left"


def _cell(value: Any, side: str, *, head: bool, limit: int) -> str:
    text, tag = shown(value), "th" if head else "td"
    scope = ' scope="row"' if head else ""
    whole = value if isinstance(value, str) and _DIGEST.fullmatch(value) else text
    if limit and len(text) > limit:
        text = f"{text[: limit - 1]}…"
    title = f' title="{html.escape(whole)}"' if whole != text else ""
    # Prose wraps; what is short, or is a number, stays in one line.
    space = "normal" if len(text) > 40 else "nowrap"
    return (
        f'<{tag}{scope}{title} style="text-align: {side}; white-space: {space}">{html.escape(text)}</{tag}>'
    )
