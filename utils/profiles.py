"""Reference profiles: what a scenario's data looked like when it was last looked at and found good.

Make one of your data, read it, correct it where you know better (such as the
range of an age), and keep it beside the scenario::

    python -m utils.profiles data/houses.csv --target price --output parameters/houses.profile.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils import canonical, data, files, sources

Kind = Literal["number", "boolean", "text", "date", "empty"]

BINS = 10
MOST_CATEGORIES = 50

_KINDS: dict[str, Kind] = {
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "boolean": "boolean",
    "string": "text",
    "datetime64": "date",
    "datetime": "date",
    "date": "date",
    "empty": "empty",
}


class ProfileError(ValueError):
    """A profile that can't be made or read; the message says why and what to do next."""


class Record(BaseModel):
    """A part of a profile. Unknown keys are refused: they are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnProfile(Record):
    """What one column held.

    Attributes
    ----------
    kind : str
        number, boolean, text or date; "empty" if all of it was missing.
    dtype : str
        How pandas stored it; for information.
    missing : float
        The share of missing values, 0 to 1.
    minimum, maximum : float or None
        The range of finite numbers.
    edges : tuple of float
        Where the bins of numbers meet: deciles, or half-way between values where there are few.
        A value on an edge belongs to the bin above.
    categories : tuple of str
        The most frequent texts, in that order; "False" and "True" for booleans.
    complete : bool
        Whether `categories` are all that there were.
    counts : tuple of int
        How many values fell into each bin; after the categories' counts comes one for all others.
    """

    kind: Kind
    dtype: str = ""
    missing: float = Field(default=0.0, ge=0, le=1)
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    complete: bool = False
    counts: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _counts_fit_bins(self) -> Self:
        if self.counts and len(self.counts) != len(self.edges or self.categories) + 1:
            raise ValueError("counts must be one more than edges or categories")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges must ascend")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise ValueError("minimum must not exceed maximum")
        return self


class Profile(Record):
    """What a data set held.

    Attributes
    ----------
    target : str
        The column to predict.
    rows : int
    duplicates : float
        The share of rows that repeat an earlier one, 0 to 1.
    columns : dict
        By name, in their order, the target among them.
    """

    target: str
    rows: int = Field(gt=0)
    duplicates: float = Field(default=0.0, ge=0, le=1)
    columns: dict[str, ColumnProfile]


def make(frame: pd.DataFrame, target: str) -> Profile:
    """Describe a data set that is known to be good.

    Parameters
    ----------
    frame : DataFrame, shape (n, any)
    target : str

    Raises
    ------
    ProfileError
        If the target isn't there or has missing values, there are no rows, or
        a column holds what is neither number, boolean, text nor date.
    """
    if target not in frame.columns:
        raise ProfileError(f"The data has no column {target!r}; it has {', '.join(map(str, frame.columns))}.")
    if frame.empty:
        raise ProfileError("The data has no rows, so it can't serve as a reference.")
    if frame[target].isna().any():
        raise ProfileError(f"The target {target!r} has missing values; remove those rows from the reference.")
    return Profile(
        target=target,
        rows=len(frame),
        duplicates=duplicates(frame),
        columns={str(name): _column(frame[name]) for name in frame.columns},
    )


def save(profile: Profile, path: Path) -> Path:
    """Write a profile as JSON with one line for each column, so that changes are easy to review."""
    record = profile.model_dump(mode="json", exclude_defaults=True)
    columns = record.pop("columns")
    head = [f"  {_json(key)}: {_json(value)}" for key, value in record.items()]
    lines = [f"    {_json(name)}: {_json(column)}" for name, column in columns.items()]
    text = ",\n".join([*head, '  "columns": {\n' + ",\n".join(lines) + "\n  }"])
    return files.write_text(path, "{\n" + text + "\n}\n")


def load(path: Path) -> Profile:
    """Read a profile.

    Raises
    ------
    ProfileError
        If there is none, or it is damaged.
    """
    try:
        return Profile.model_validate(files.read_json(path))
    except FileNotFoundError:
        raise ProfileError(
            f"There is no reference profile {path}; make one with python -m utils.profiles --help."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ProfileError(f"The reference profile {path} is damaged at {place!r}: {first['msg']}.") from None
    except (ValueError, OSError) as error:
        raise ProfileError(f"The reference profile can't be read: {error}.") from None


def kind(column: pd.Series[Any]) -> Kind | None:
    """Tell what a column holds beside missing values, however it is stored; None if it is none of `Kind`.

    Whole numbers and fractions are one kind, as a missing value turns the first into the second.
    """
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna()
    return _KINDS.get(pd.api.types.infer_dtype(values, skipna=True))


def counts(column: pd.Series[Any], profile: ColumnProfile) -> NDArray[np.int64]:
    """Count a column's values in the bins of a profile.

    Parameters
    ----------
    column : Series
        Of the profile's kind; missing values are not counted.
    profile : ColumnProfile

    Returns
    -------
    array of int, shape (bins,)
        Empty for dates and for empty columns, which have no bins.
    """
    if profile.kind == "number":
        places = np.searchsorted(np.array(profile.edges, dtype=float), numbers(column), side="right")
        return np.bincount(places, minlength=len(profile.edges) + 1).astype(np.int64)
    if profile.kind in ("text", "boolean"):
        found = texts(column).value_counts()
        known = [int(found.get(name, 0)) for name in profile.categories]
        return np.array([*known, int(found.sum()) - sum(known)], dtype=np.int64)
    return np.array([], dtype=np.int64)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Return a column's numbers without the missing ones."""
    return np.asarray(column.dropna().astype("float64"), dtype=np.float64)


def texts(column: pd.Series[Any]) -> pd.Series[str]:
    """Return a column's values as texts, without the missing ones."""
    return column.dropna().astype(object).map(str)


def duplicates(frame: pd.DataFrame) -> float:
    """Return the share of rows that repeat an earlier one, missing values being equal.

    Raises
    ------
    ProfileError
        If a column holds values that can't be compared, such as lists.
    """
    try:
        digests = canonical.row_digests(frame, list(frame.columns))
    except canonical.UnsupportedValueError as error:
        raise ProfileError(f"{error} Drop that column.") from None
    return 1 - len(np.unique(digests)) / len(frame) if len(frame) else 0.0


def _column(column: pd.Series[Any]) -> ColumnProfile:
    found = kind(column)
    if found is None:
        raise ProfileError(
            f"Column {column.name!r} holds neither numbers, booleans, texts nor dates alone; "
            "convert it, or drop it."
        )
    facts: dict[str, Any] = {
        "kind": found,
        "dtype": str(column.dtype),
        "missing": float(column.isna().mean()),
    }
    if found == "number":
        values = numbers(column)
        values = values[np.isfinite(values)]
        if len(values):
            facts |= {"minimum": values.min(), "maximum": values.max(), "edges": _edges(values)}
    elif found in ("text", "boolean"):
        frequent = texts(column).value_counts()
        # Equal counts would come in no order of their own.
        names = sorted(map(str, frequent.index), key=lambda name: (-int(frequent[name]), name))
        facts |= {
            "categories": tuple(names[:MOST_CATEGORIES]),
            "complete": len(names) <= MOST_CATEGORIES,
        }
    plain = ColumnProfile(**facts)
    return plain.model_copy(update={"counts": tuple(counts(column, plain).tolist())})


def _edges(values: NDArray[np.float64]) -> tuple[float, ...]:
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        edges = (distinct[:-1] + distinct[1:]) / 2
    else:
        edges = np.quantile(values, np.arange(1, BINS) / BINS)
    # Ten digits are enough to tell bins apart, and easier to read.
    return tuple(sorted({float(f"{edge:.10g}") for edge in edges if edge > distinct[0]}))


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


@click.command(help="Describe the good data of SOURCE, as the reference that later data is checked against.")
@click.argument("source")
@click.option("--target", required=True, help="The column to predict.")
@click.option("--drop", multiple=True, help="A column to leave out; may be repeated.")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False))
def main(source: str, target: str, drop: Sequence[str], output: Path) -> None:
    """Make a reference profile on the command line."""
    try:
        profile = make(data.load(source, target, drop), target)
        save(profile, output)
    except (data.DataError, ProfileError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output}: {profile.rows} rows, {len(profile.columns)} columns of {sources.redact(source)}")


if __name__ == "__main__":
    main()
