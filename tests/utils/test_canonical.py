"""The canonical bytes: equal for equal values, whatever stored them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from utils import canonical

MIDNIGHT = pd.Timestamp("2020-01-01")


def same_cells(one: Any, other: Any, *, exact: bool = False) -> bool:
    return np.array_equal(
        canonical.cells(pd.Series(one), exact=exact), canonical.cells(pd.Series(other), exact=exact)
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [1.0, 2.0]),
        ([1, -2], np.array([1, -2], dtype="int8")),
        ([0.0], [-0.0]),
        ([True, False], [1, 0]),
        ([0.1], np.array([0.1], dtype="float64").astype(object)),
        (pd.array([1, None], dtype="Int64"), [1.0, np.nan]),
        (pd.array([1.5, None], dtype="Float64"), [1.5, np.nan]),
        (pd.array([True, None], dtype="boolean"), pd.Series([True, None], dtype=object)),
        (pd.Series([1, None], dtype=pd.ArrowDtype(pa.int64())), [1.0, np.nan]),
        (pd.Series([True, None], dtype=pd.ArrowDtype(pa.bool_())), [1.0, np.nan]),
        (pd.Series([Decimal("7"), Decimal("0.5")], dtype=object), [7, 0.5]),
        (np.array([2**63 + 5, 3], dtype="uint64"), pd.Series([2**63 + 5, 3], dtype=object)),
        ([2.0**63], np.array([2**63], dtype="uint64")),
        (pd.arrays.SparseArray([0.0, 1.0]), [0, 1]),
        (["7", "-3"], [7, -3]),
        (["a", None], pd.Series(["a", np.nan], dtype="category")),
        ([3, 1], pd.Series([3, 1], dtype="category")),
        (["é"], ["e\u0301"]),
        ([MIDNIGHT, pd.NaT], pd.Series([datetime.date(2020, 1, 1), None], dtype=object)),
        (pd.Series([MIDNIGHT]).astype("datetime64[ns]"), pd.Series([MIDNIGHT]).astype("datetime64[s]")),
        ([MIDNIGHT.tz_localize("UTC")], [pd.Timestamp("2020-01-01 01:00", tz="Europe/Berlin")]),
        ([pd.Timedelta("1s")], pd.Series([datetime.timedelta(seconds=1)], dtype=object)),
        ([None], [np.nan]),
        ([pd.NA], [pd.NaT]),
    ],
)
def test_equal_values_have_equal_cells(one: Any, other: Any) -> None:
    assert same_cells(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], [2]),
        ([1.5], [1.25]),
        ([np.inf], [-np.inf]),
        (["a"], ["b"]),
        (["07"], [7]),
        ([""], [None]),
        (["a"], pd.Series([b"a"], dtype=object)),
        ([2**53], [2**53 + 1]),
        ([-1], np.array([2**64 - 1], dtype="uint64")),
        ([MIDNIGHT], [MIDNIGHT + pd.Timedelta("1ns")]),
        ([MIDNIGHT], [MIDNIGHT.tz_localize("UTC")]),
        (pd.Series([datetime.time(1)], dtype=object), pd.Series([datetime.time(2)], dtype=object)),
        ([10**30], [10**30 + 10**20]),
    ],
)
def test_other_values_have_other_cells(one: Any, other: Any) -> None:
    assert not same_cells(one, other)


def test_exact_cells_tell_apart_texts_that_look_alike() -> None:
    assert not same_cells(["é"], ["e\u0301"], exact=True)
    assert not same_cells(["7"], [7], exact=True)


@pytest.mark.parametrize("values", [[[1, 2]], [object()], [1j]])
def test_values_without_a_canonical_form_are_refused(values: list[object]) -> None:
    with pytest.raises(canonical.UnsupportedValueError, match="'odd'"):
        canonical.cells(pd.Series(values, name="odd"))


def test_row_digests_do_not_depend_on_the_order_of_columns_nor_on_the_other_rows() -> None:
    frame = pd.DataFrame({"b": [1, 2, 3], "a": ["x", "y", "x"]})
    digests = canonical.row_digests(frame, ["a", "b"])
    assert digests.dtype == np.uint64
    np.testing.assert_array_equal(digests, canonical.row_digests(frame[["a", "b"]], ["b", "a"]))
    np.testing.assert_array_equal(digests[1:], canonical.row_digests(frame.iloc[1:], ["a", "b"]))
    assert len(set(digests.tolist())) == 3


def test_row_digests_stay_what_they_are_between_versions() -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", "é"], "c": [MIDNIGHT, pd.NaT]})
    expected = [2024949162183356143, 13214289254960375173]
    assert canonical.row_digests(frame, ["a", "b", "c"]).tolist() == expected


def test_rows_beyond_one_block_of_work_hash_as_they_do_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": range(10), "b": pd.Series(list("abcdeabcde"), dtype="category")})
    whole = canonical.row_digests(frame, ["a", "b"])
    monkeypatch.setattr(canonical, "_CHUNK", 3)
    np.testing.assert_array_equal(whole, canonical.row_digests(frame, ["a", "b"]))


def test_a_fingerprint_changes_with_values_names_dtypes_and_order_only() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    original = canonical.fingerprint(frame)
    assert canonical.fingerprint(frame.set_index(pd.Index([5, 6]))) == original
    others = [
        frame.assign(a=[1, 3]),
        frame.assign(a=[1.0, 2.0]),
        frame.assign(b=["x", ""]),
        frame.rename(columns={"a": "c"}),
        frame[["b", "a"]],
        frame.iloc[::-1],
        frame.iloc[:1],
        frame.assign(b=frame["b"].astype("category")),
        frame.assign(b=frame["b"].astype(pd.CategoricalDtype(["x", "y"]))),
        frame.assign(b=frame["b"].astype(pd.CategoricalDtype(["x"], ordered=True))),
        frame.assign(b=pd.Series([MIDNIGHT, None])),
        frame.assign(b=pd.Series([MIDNIGHT, None]).dt.tz_localize("UTC")),
    ]
    fingerprints = [canonical.fingerprint(other) for other in others]
    assert len({original, *fingerprints}) == len(others) + 1
