"""Which rows a model may learn from, and which are held out to judge it.

A row's side depends on its own key, group, time or content, and on the plan:
never on which other rows there are, nor on their order. So the same held-out
rows meet champion and challenger, and neither was trained on any of them, also
after the data has grown. Where a hash decides, the share that is held out is
met on average, not exactly.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator

from utils import canonical

Method = Literal["group", "time", "key", "content"]
Name = Annotated[str, StringConstraints(min_length=1)]

# Above it, not every whole number is a floating-point number of 64 bits.
_EXACT = 2.0**53


class SplitError(ValueError):
    """A plan that the data can't follow; the message says what to change."""


class SplitPlan(BaseModel):
    """How to tell training rows from held-out ones.

    At most one of `group`, `time` and `key` is given; with none of them the
    content decides: all columns but the target, so that duplicates and
    relabelled rows stay together.

    Attributes
    ----------
    key : tuple of str
        Columns that name a row for good.
    group : str
        A column whose equal values stay on one side.
    time : str
        A column of dates or ISO 8601 texts, or of numbers such as years.
    time_cutoff : str
        Rows on or after it are held out. An absolute date (or number), so that
        no row changes sides as the data grows. Times without zone are UTC.
    seed : int
        Chooses among the possible splits; has no effect with `time`.
    held_out_share : float
        The expected share of held-out rows (of groups, with `group`), between
        0 and 1; has no effect with `time`. A greater share keeps all rows held
        out that a smaller one holds out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: tuple[Name, ...] = ()
    group: str = ""
    time: str = ""
    time_cutoff: str = ""
    seed: StrictInt = 0
    held_out_share: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_way_only(self) -> Self:
        given = [name for name in ("group", "time", "key") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given, but only one of them can split the data.")
        if bool(self.time) != bool(self.time_cutoff):
            raise ValueError("time and time_cutoff go together, but only one of them is given.")
        if self.time and not (_is_number(self.time_cutoff) or _is_date(self.time_cutoff)):
            raise ValueError(
                f"time_cutoff {self.time_cutoff!r} is no date such as 2026-03-31, nor a number such as 2026."
            )
        if len(set(self.key)) < len(self.key):
            raise ValueError("key names a column twice.")
        return self

    @property
    def method(self) -> Method:
        """What decides a row's side."""
        if self.group:
            return "group"
        if self.time:
            return "time"
        return "key" if self.key else "content"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that decide; none where the content does."""
        return tuple(name for name in (self.group, self.time, *self.key) if name)


def held_out(frame: pd.DataFrame, plan: SplitPlan, target: str) -> NDArray[np.bool_]:
    """Tell which rows are held out.

    Parameters
    ----------
    frame : DataFrame, shape (n, any)
        All columns, the target among them.
    plan : SplitPlan
    target : str
        It never has an influence on the side.

    Returns
    -------
    array of bool, shape (n,)

    Raises
    ------
    SplitError
        If a column of the plan isn't there, is the target or can't be used, or
        if one side would be empty.
    """
    if plan.method == "time":
        _check_columns(frame, plan, target)
        sides = _on_or_after(frame[plan.time], plan.time_cutoff)
    else:
        hashes = row_hashes(frame, plan, target, key=b"side %d" % plan.seed)
        # A share of all 64-bit numbers, rounded to one of them.
        sides = hashes < np.uint64(min(int(plan.held_out_share * 2**64), 2**64 - 1))
    if sides.all() or not sides.any():
        empty = "training" if sides.all() else "held-out"
        setting = "another time_cutoff" if plan.method == "time" else "another held_out_share or seed"
        raise SplitError(
            f"The split by {plan.method} leaves no {empty} row of {len(frame)}; take {setting}, or more data."
        )
    return sides


def row_hashes(frame: pd.DataFrame, plan: SplitPlan, target: str, *, key: bytes = b"") -> NDArray[np.uint64]:
    """Hash what makes a row itself under a plan, to find it again in other data.

    It is the row's key or group, or all of it but the target (with `time` and
    where the content decides). Rows of equal hash are always on the same side.
    The seed has no part in it, so that trainings under another seed compare.

    Returns
    -------
    array of uint64, shape (n,)

    Raises
    ------
    SplitError
        As `held_out` does for the plan's columns.
    """
    _check_columns(frame, plan, target)
    names = [name for name in frame.columns if name != target]
    if plan.method in ("key", "group"):
        names = list(plan.columns)
        for name in names:
            _check_exact(frame[name])
    if not names:
        raise SplitError(f"The data has no column but its target {target!r}, so nothing can tell rows apart.")
    try:
        return canonical.row_digests(frame, names, key=key)
    except canonical.UnsupportedValueError as error:
        raise SplitError(f"{error} Drop that column, or name a key.") from None


def moments(column: pd.Series) -> pd.Series:
    """Read a column of times: numbers as they are, all else as dates, in UTC.

    Raises
    ------
    SplitError
        If it holds what is no date in ISO 8601.
    """
    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        return column
    if not types.is_datetime64_any_dtype(column.dtype):
        column = column.astype(str)
    try:
        return pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, OverflowError) as error:
        raise SplitError(_no_date(column, error)) from None


def describe(plan: SplitPlan) -> dict[str, Any]:
    """Return a plan as a record.

    Returns
    -------
    dict
        method, columns, seed, held_out_share, time_cutoff ("" unless by time).
    """
    return {
        "method": plan.method,
        "columns": list(plan.columns),
        "seed": plan.seed,
        "held_out_share": plan.held_out_share,
        "time_cutoff": plan.time_cutoff,
    }


def restore(record: Mapping[str, Any]) -> SplitPlan:
    """Return the plan that `describe` recorded.

    Raises
    ------
    SplitError
        If the record is damaged or of another version.
    """
    try:
        rest = dict(record)
        method, columns = rest.pop("method"), rest.pop("columns")
        way = {"content": {}, "key": {"key": columns}}.get(method, {method: "".join(columns)})
        plan = SplitPlan(**way, **rest)
    except (KeyError, TypeError, ValueError) as error:
        raise SplitError(f"The recorded split can't be read: {error}") from None
    if describe(plan) != dict(record):
        raise SplitError(f"The recorded split contradicts itself: {dict(record)}.")
    return plan


def same(one: SplitPlan | Mapping[str, Any], other: SplitPlan | Mapping[str, Any]) -> bool:
    """Tell whether two plans, or records of plans, put every row on the same side.

    Raises
    ------
    SplitError
        If a record can't be read.
    """
    return _essence(one) == _essence(other)


def _essence(plan: SplitPlan | Mapping[str, Any]) -> tuple[object, ...]:
    plan = plan if isinstance(plan, SplitPlan) else restore(plan)
    if plan.method == "time":
        return plan.method, plan.time, plan.time_cutoff
    return plan.method, frozenset(plan.columns), plan.seed, plan.held_out_share


def _check_columns(frame: pd.DataFrame, plan: SplitPlan, target: str) -> None:
    names = [str(name) for name in frame.columns]
    for name in plan.columns:
        if name == target:
            raise SplitError(f"{name!r} is the target, so it can't also be the {plan.method} that splits.")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f": it has {', '.join(names)}."
            raise SplitError(f"The data has no column {name!r} to split by {plan.method}{hint}")


def _check_exact(column: pd.Series) -> None:
    if types.is_float_dtype(column.dtype) and (column.abs() > _EXACT).any():
        raise SplitError(
            f"Column {column.name!r} was read as floating-point numbers too large to be exact (a missing "
            "value among long numbers does that), so rows would be mistaken for each other; store it as text."
        )


def _on_or_after(column: pd.Series, cutoff: str) -> NDArray[np.bool_]:
    if column.isna().any():
        raise SplitError(
            f"{int(column.isna().sum())} rows have no {column.name!r}, so they can't be split by time; "
            "remove them or give them one."
        )
    found = moments(column)
    if not types.is_datetime64_any_dtype(found.dtype):
        if not _is_number(cutoff):
            raise SplitError(f"{column.name!r} holds numbers, but time_cutoff is {cutoff!r}: give a number.")
        return (found >= float(cutoff)).to_numpy(dtype=bool)
    try:
        limit = pd.to_datetime(cutoff, utc=True, format="ISO8601")
    except (ValueError, OverflowError) as error:
        raise SplitError(_no_date(column, error)) from None
    return (found >= limit).to_numpy(dtype=bool)


def _no_date(column: pd.Series, error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(".")
    return f"{column.name!r} can't be read as dates in ISO 8601: {reason}."


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    # pandas also takes words such as "today", which would move rows as days go by.
    try:
        return text[:1].isdigit() and not pd.isna(pd.to_datetime(text, utc=True, format="ISO8601"))
    except (ValueError, OverflowError):
        return False
