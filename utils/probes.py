"""Probes: random rows that fit a schema, to tell whether two forms of a model answer alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NEAR, FAR, EXTREME = 2_000, 1_000, 1_000
ROWS = NEAR + FAR + EXTREME

_MISSING = 0.1  # of the values in a column that may lack some
_UNUSUAL = 0.4  # of the values in a row that isn't near
_FACTORS = (3.0, 1e2, 1e4, 1e6)  # how many times its width a column is left behind
# scikit-learn's trees refuse what single precision can't hold, so nothing is larger than this.
_EXTREMES = (0.0, -0.0, 1.0, -1.0, 1e-300, -1e-12, 1e9, -1e9, 2.0**53, -(2.0**62), 1e12, -1e30, 1e30)
_LARGEST_INTEGER = 2.0**62
_TEXTS = ("never seen", " ", "0", "nan", "None", "\U0001f9ea", "a\tb\n", 'quo"ted', "x" * 1_000)


def rows(known: pd.DataFrame, schema: Mapping[str, Any], *, seed: int = 0) -> pd.DataFrame:
    """Draw rows as a service may be sent them, as `utils.columns.prepare` would bring them into form.

    Half of them lie among the known rows: their values, the middles between neighbours (where trees
    part) and anything between. In others some values lie beyond, up to a million times the column's
    width. In the rest one value is extreme, a zero or a tiny or huge number: were there several in a
    row, they could cancel each other, and nothing but rounding would be left to compare. Texts are
    known and unknown ones. What may be missing is so at times.

    Parameters
    ----------
    known : DataFrame, shape (any, features or more)
        Prepared rows that tell the range of each column.

    Returns
    -------
    DataFrame, shape (ROWS, features)
    """
    random = np.random.default_rng(seed)
    extreme = random.integers(0, len(schema["inputs"]), ROWS)
    return pd.DataFrame(
        {
            column["name"]: _column(known, column, random, extreme == place)
            for place, column in enumerate(schema["inputs"])
        }
    )


def _column(
    known: pd.DataFrame, column: Mapping[str, Any], random: np.random.Generator, extreme: NDArray[np.bool_]
) -> NDArray[Any]:
    values = known[column["name"]]
    if column["type"] == "string":
        return _texts(values, column["nullable"], random)
    if column["type"] == "boolean":
        drawn = random.integers(0, 2, ROWS).astype(np.float64)
    else:
        drawn = _numbers(values.dropna().to_numpy(np.float64), random, extreme)
        if column["type"] == "integer":
            drawn = np.clip(np.round(drawn), -_LARGEST_INTEGER, _LARGEST_INTEGER)
    if column["nullable"]:
        drawn[random.random(ROWS) < _MISSING] = np.nan
    return drawn


def _numbers(
    known: NDArray[np.float64], random: np.random.Generator, extreme: NDArray[np.bool_]
) -> NDArray[np.float64]:
    found = np.unique(known[np.isfinite(known)])
    if not len(found):
        found = np.array([0.0, 1.0])
    middles = (found[1:] + found[:-1]) / 2
    low, high = found[0], found[-1]
    near = np.where(
        random.random(ROWS) < 0.5,
        random.choice(np.concatenate([found, middles]), ROWS),
        random.uniform(low, high, ROWS),
    )
    width = (high - low) or 1.0
    far = low + width * (0.5 + random.uniform(-1, 1, ROWS) * random.choice(_FACTORS, ROWS))
    place = np.arange(ROWS)
    extremes = random.choice(_EXTREMES, ROWS)
    beyond = (place >= NEAR) & (place < NEAR + FAR) & (random.random(ROWS) < _UNUSUAL)
    return np.where(extreme & (place >= NEAR + FAR), extremes, np.where(beyond, far, near))


def _texts(known: pd.Series[Any], nullable: bool, random: np.random.Generator) -> NDArray[Any]:
    found = sorted({text for text in known if text})
    others = {changed for text in found for changed in (text.swapcase(), f"{text} ", text[:-1])}
    others |= {unicodedata.normalize("NFD", text) for text in found} | set(_TEXTS)
    usual = random.choice(np.array([*found, *([""] if nullable else []), _TEXTS[0]], dtype=object), ROWS)
    unusual = random.choice(np.array(sorted(others - {""}), dtype=object), ROWS)
    drawn: NDArray[Any] = np.where(random.random(ROWS) < _UNUSUAL / 2, unusual, usual)
    return drawn
