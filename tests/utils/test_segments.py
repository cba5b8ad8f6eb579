"""Segments divide the rows by what the columns hold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from utils import metrics, segments


def test_numbers_are_divided_in_thirds_and_everything_else_by_value() -> None:
    numbers = dict(segments.parts(pd.Series([*np.arange(30.0), np.nan], name="age")))
    assert {name: int(rows.sum()) for name, rows in numbers.items()} == {
        "age is missing": 1,
        "age ≤ 9.67": 10,
        "9.67 < age ≤ 19.3": 10,
        "age > 19.3": 10,
    }
    texts = dict(segments.parts(pd.Series(["a", "b", None, "a"], name="kind")))
    assert {name: rows.tolist() for name, rows in texts.items()} == {
        "kind is missing": [False, False, True, False],
        "kind = a": [True, False, False, True],
        "kind = b": [False, True, False, False],
    }
    few = dict(segments.parts(pd.Series([1, 2, 2], name="level")))
    assert sorted(few) == ["level = 1", "level = 2"]


def test_small_segments_and_those_without_a_difference_are_left_out() -> None:
    table = pd.DataFrame({"town": ["Ulm"] * 9 + ["Bonn"] * 20 + ["Kiel"] * 20})
    truth = np.zeros(49)
    challenger = np.r_[np.full(9, 5.0), np.full(20, 1.0), np.full(20, 2.0)]
    opponent = np.r_[np.full(9, 0.0), np.full(20, 1.0), np.full(20, 3.0)]
    found = segments.differing(metrics.find("mean_absolute_error"), table, truth, challenger, opponent)
    assert found == [
        {
            "segment": "town = Kiel",
            "rows": 20,
            "challenger": 2.0,
            "opponent": 3.0,
            "metric": "mean_absolute_error",
        }
    ]
