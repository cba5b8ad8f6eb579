"""Where two models differ most: parts of the held-out rows in which one does better than the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from utils import columns
from utils.metrics import Metric

LEAST_ROWS = 10
FEW_VALUES = 5
MOST_VALUES = 20

Segment = dict[str, Any]


def differing(
    metric: Metric,
    X: pd.DataFrame,
    truth: NDArray[Any],
    challenger: NDArray[Any],
    opponent: NDArray[Any],
    most: int = 5,
) -> list[Segment]:
    """Find the segments in which the metric differs most between two models.

    Segments are the thirds of each column of numbers and the values of each other one. They overlap and
    were sought out: they show where to look, and prove nothing.

    Parameters
    ----------
    metric : Metric
        One that is a mean over rows, or the root of one (see `utils.metrics.Metric.rows`).
    X : DataFrame, shape (rows, features)
    truth, challenger, opponent : ndarray, shape (rows,) or (rows, classes)
        As the metric gives them.
    most : int
        How many segments at most.

    Returns
    -------
    list of dict
        {segment, rows, challenger, opponent, metric}: its name, its rows (at least 10), and the
        metric of both; the largest difference first.
    """
    found: list[Segment] = []
    for name in X.columns:
        for label, rows in parts(X[name]):
            counts = rows.astype(np.int64)[None, :]
            if counts.sum() < LEAST_ROWS:
                continue
            values = [float(metric.resampled(truth, each, counts)[0]) for each in (challenger, opponent)]
            if np.isfinite(values).all() and values[0] != values[1]:
                found.append(
                    {
                        "segment": label,
                        "rows": int(counts.sum()),
                        "challenger": values[0],
                        "opponent": values[1],
                        "metric": metric.name,
                    }
                )
    return sorted(found, key=lambda each: -abs(each["challenger"] - each["opponent"]))[:most]


def parts(column: pd.Series[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Divide rows by a column: its name and value, and which rows have it."""
    name, missing = column.name, column.isna().to_numpy(dtype=bool)
    if missing.any():
        yield f"{name} is missing", missing
    values = column[~missing]
    if columns.kind(column) in ("string", "boolean") or values.nunique() <= FEW_VALUES:
        for value in values.value_counts().index[:MOST_VALUES]:
            yield f"{name} = {value}", ~missing & (column == value).fillna(False).to_numpy(dtype=bool)
        return
    numbers = column.astype("float64").to_numpy()
    low, high = np.quantile(numbers[~missing], [1 / 3, 2 / 3])
    yield f"{name} ≤ {low:.3g}", numbers <= low
    yield f"{low:.3g} < {name} ≤ {high:.3g}", (numbers > low) & (numbers <= high)
    yield f"{name} > {high:.3g}", numbers > high
