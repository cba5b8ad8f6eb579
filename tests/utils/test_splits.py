"""The split: a row's side depends on the row and the plan alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from utils import splits
from utils.splits import SplitError, SplitPlan

SEEDS = range(10)


def data(seed: int, rows: int = 300) -> pd.DataFrame:
    """Return random data with every kind of column."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows) + 1000 * seed,
            "name": rng.choice(["ada", "grace", "alan", "edsger"], rows),
            "height": rng.normal(170, 10, rows),
            "count": rng.integers(0, 50, rows),
            "clinic": rng.integers(0, 40, rows),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D"),
            "y": rng.normal(size=rows),
        }
    )


PLANS = [
    SplitPlan(),
    SplitPlan(key=("id",)),
    SplitPlan(key=("id", "name")),
    SplitPlan(group="clinic"),
    SplitPlan(time="day", time_cutoff="2026-03-01"),
]
each_plan = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "+".join(plan.columns) or "content")


@each_plan
@pytest.mark.parametrize("seed", SEEDS)
def test_a_row_never_changes_sides_when_the_data_grows(plan: SplitPlan, seed: int) -> None:
    grown = pd.concat([data(seed), data(seed + 100)], ignore_index=True)
    before = splits.held_out(data(seed), plan, "y")
    after = splits.held_out(grown, plan, "y")
    np.testing.assert_array_equal(before, after[: len(before)])


@each_plan
@pytest.mark.parametrize("seed", SEEDS)
def test_a_row_keeps_its_side_whatever_the_order_of_rows_and_columns(plan: SplitPlan, seed: int) -> None:
    frame = data(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))
    shuffled = frame.iloc[order][list(rng.permutation(frame.columns))]
    np.testing.assert_array_equal(
        splits.held_out(frame, plan, "y")[order], splits.held_out(shuffled, plan, "y")
    )


@each_plan
@pytest.mark.parametrize("seed", SEEDS)
def test_duplicates_and_relabelled_rows_fall_on_one_side(plan: SplitPlan, seed: int) -> None:
    frame = data(seed)
    relabelled = frame.assign(y=-frame["y"])
    sides = splits.held_out(pd.concat([frame, frame, relabelled], ignore_index=True), plan, "y")
    first, second, third = sides.reshape(3, -1)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


@pytest.mark.parametrize("plan", PLANS[:4], ids=lambda plan: "+".join(plan.columns) or "content")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_column_turned_float_by_a_missing_value_leaves_the_other_rows_where_they_were(
    plan: SplitPlan, seed: int
) -> None:
    frame = data(seed)
    newcomer = data(seed + 100, rows=1).assign(id=np.nan, count=np.nan, clinic=np.nan)
    grown = pd.concat([frame, newcomer], ignore_index=True)
    assert grown["id"].dtype == "float64"
    np.testing.assert_array_equal(splits.held_out(frame, plan, "y"), splits.held_out(grown, plan, "y")[:-1])


def test_a_key_of_numbers_that_turns_into_text_leaves_the_other_rows_where_they_were() -> None:
    frame = data(0)
    texts = frame.assign(id=frame["id"].astype(str))
    plan = SplitPlan(key=("id",))
    np.testing.assert_array_equal(splits.held_out(frame, plan, "y"), splits.held_out(texts, plan, "y"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_keeps_the_side_of_a_row_whose_other_columns_were_corrected(seed: int) -> None:
    frame, plan = data(seed), SplitPlan(key=("id",))
    corrected = frame.assign(height=0, name=None)
    np.testing.assert_array_equal(splits.held_out(frame, plan, "y"), splits.held_out(corrected, plan, "y"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_group_is_never_torn_apart(seed: int) -> None:
    frame = data(seed)
    frame["held_out"] = splits.held_out(frame, SplitPlan(group="clinic", seed=seed), "y")
    assert (frame.groupby("clinic")["held_out"].nunique() == 1).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_greater_share_keeps_every_row_that_a_smaller_one_holds_out(seed: int) -> None:
    frame = data(seed)
    small, large = (
        splits.held_out(frame, SplitPlan(seed=seed, held_out_share=share), "y") for share in (0.2, 0.4)
    )
    assert large[small].all()
    assert large.sum() > small.sum()


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_share_is_met_on_average_and_another_seed_splits_independently(share: float) -> None:
    frame = data(0, rows=5000)
    one, other = (splits.held_out(frame, SplitPlan(seed=seed, held_out_share=share), "y") for seed in (1, 2))
    spread = np.sqrt(share * (1 - share) / len(frame))
    assert abs(one.mean() - share) < 5 * spread
    assert abs((one & other).mean() - share**2) < 5 * spread


def test_the_sides_stay_what_they_are_between_versions() -> None:
    frame = pd.DataFrame({"id": range(20), "y": 0})
    sides = splits.held_out(frame, SplitPlan(key=("id",), seed=7, held_out_share=0.4), "y")
    assert np.flatnonzero(sides).tolist() == [1, 5, 7, 9, 11, 13, 15, 18, 19]


@pytest.mark.parametrize(
    ("column", "cutoff"),
    [
        (["2026-01-01", "2026-02-01", "2026-02-02"], "2026-02-01"),
        (["2026-01-31T23:59:59", "2026-02-01T00:00:00", "2026-02-02T00:00:00"], "2026-02-01"),
        (["2026-02-01T00:30:00+01:00", "2026-02-01T00:00:00+00:00", "2026-02-01"], "2026-02-01T00:00:00Z"),
        (pd.to_datetime(["2026-01-01", "2026-02-01", "2026-02-02"]), "2026-02-01"),
        (pd.to_datetime(["2026-01-01", "2026-02-01", "2026-02-02"]).date, "2026-02-01"),
        (pd.to_datetime(["2026-01-01", "2026-02-01", "2026-02-02"]).tz_localize("UTC"), "2026-02-01"),
        ([2024, 2025, 2026], "2025"),
        ([1.5, 2.5, 3.5], "2.5"),
    ],
)
def test_rows_on_or_after_the_cutoff_are_held_out(column: Any, cutoff: str) -> None:
    frame = pd.DataFrame({"when": column, "y": 0})
    sides = splits.held_out(frame, SplitPlan(time="when", time_cutoff=cutoff), "y")
    assert sides.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("column", "cutoff", "told"),
    [
        (["2026-01-01", None], "2026-02-01", "1 rows have no 'when'"),
        (["2026-01-01", "soon"], "2026-02-01", "can't be read as dates"),
        ([1, 2], "2026-02-01", "holds numbers"),
        (["2026-01-01", "2026-01-02"], "2026-02-01", "no held-out row of 2; take another time_cutoff"),
        (["2026-01-01", "2026-01-02"], "2025-02-01", "no training row of 2"),
    ],
)
def test_a_time_column_that_cannot_split_is_refused(column: Any, cutoff: str, told: str) -> None:
    frame = pd.DataFrame({"when": column, "y": 0})
    with pytest.raises(SplitError, match=told):
        splits.held_out(frame, SplitPlan(time="when", time_cutoff=cutoff), "y")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"key": ["id"], "group": "clinic"}, "group and key are given"),
        ({"key": ["id"], "time": "day", "time_cutoff": "2026-01-01"}, "time and key are given"),
        ({"group": "g", "time": "day", "time_cutoff": "2026-01-01"}, "group and time are given"),
        ({"time": "day"}, "go together"),
        ({"time_cutoff": "2026-01-01"}, "go together"),
        ({"time": "day", "time_cutoff": "today"}, "no date"),
        ({"time": "day", "time_cutoff": "1/2/2026"}, "no date"),
        ({"time": "day", "time_cutoff": "2026-13-01"}, "no date"),
        ({"key": ["id", "id"]}, "twice"),
        ({"key": [""]}, "at least 1 character"),
        ({"key": "id"}, "valid tuple"),
        ({"held_out_share": 0}, "greater than 0"),
        ({"held_out_share": 1.0}, "less than 1"),
        ({"seed": 0.5}, "valid integer"),
        ({"sede": 1}, "not permitted"),
    ],
)
def test_a_plan_that_is_not_exactly_one_way_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SplitPlan(**values)


def test_a_plan_cannot_be_changed() -> None:
    plan = SplitPlan()
    with pytest.raises(ValidationError, match="frozen"):
        plan.seed = 1  # type: ignore[misc]


def test_an_unknown_column_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SplitError, match="no column 'clinik' to split by group; did you mean 'clinic'"):
        splits.held_out(data(0), SplitPlan(group="clinik"), "y")
    with pytest.raises(SplitError, match="it has id, name"):
        splits.held_out(data(0), SplitPlan(group="zzz"), "y")


def test_the_target_cannot_split() -> None:
    with pytest.raises(SplitError, match="'y' is the target"):
        splits.held_out(data(0), SplitPlan(key=("y",)), "y")


def test_an_empty_side_is_refused() -> None:
    constant = pd.DataFrame({"x": [1, 1, 1], "y": [1, 2, 3]})
    with pytest.raises(SplitError, match=r"leaves no (training|held-out) row of 3"):
        splits.held_out(constant, SplitPlan(), "y")


def test_data_with_nothing_but_the_target_is_refused() -> None:
    with pytest.raises(SplitError, match="no column but its target"):
        splits.held_out(pd.DataFrame({"y": [1, 2]}), SplitPlan(), "y")


def test_values_that_cannot_be_hashed_are_refused() -> None:
    frame = pd.DataFrame({"x": [[1], [2]], "y": [1, 2]})
    with pytest.raises(SplitError, match=r"'x'.*Drop that column"):
        splits.held_out(frame, SplitPlan(), "y")


def test_long_keys_that_lost_their_last_digits_are_refused() -> None:
    frame = pd.DataFrame({"id": [2.0**60, np.nan], "y": [1, 2]})
    with pytest.raises(SplitError, match="too large to be exact"):
        splits.held_out(frame, SplitPlan(key=("id",)), "y")


@each_plan
def test_rows_of_equal_hash_share_a_side_under_every_seed(plan: SplitPlan) -> None:
    frame = pd.concat([data(0), data(0)], ignore_index=True)
    hashes = splits.row_hashes(frame, plan, "y")
    for seed in SEEDS:
        sides = splits.held_out(frame, plan.model_copy(update={"seed": seed}), "y")
        assert not set(hashes[sides]) & set(hashes[~sides])


@each_plan
def test_a_plan_survives_its_record(plan: SplitPlan) -> None:
    record = splits.describe(plan)
    assert set(record) == {"method", "columns", "seed", "held_out_share", "time_cutoff"}
    assert splits.restore(record) == plan
    assert splits.same(plan, record)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"method": "magic", "columns": ["a"], "seed": 1, "held_out_share": 0.2, "time_cutoff": ""},
        {"method": "content", "columns": ["a"], "seed": 1, "held_out_share": 0.2, "time_cutoff": ""},
        {"method": "key", "columns": [], "seed": 1, "held_out_share": 0.2, "time_cutoff": ""},
        {"method": "key", "columns": None, "seed": 1, "held_out_share": 0.2, "time_cutoff": ""},
    ],
)
def test_a_damaged_record_of_a_plan_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(SplitError, match="recorded split"):
        splits.restore(record)


def test_plans_are_the_same_where_they_put_every_row_on_the_same_side() -> None:
    by_day = {"time": "day", "time_cutoff": "2026-03-01"}
    assert splits.same(SplitPlan(**by_day, seed=1), SplitPlan(**by_day, seed=2))
    assert splits.same(SplitPlan(key=("a", "b")), SplitPlan(key=("b", "a")))
    others = [
        SplitPlan(),
        SplitPlan(seed=1),
        SplitPlan(held_out_share=0.3),
        SplitPlan(key=("a",)),
        SplitPlan(group="a"),
        SplitPlan(**by_day),
        SplitPlan(time="day", time_cutoff="2026-03-02"),
    ]
    for place, plan in enumerate(others):
        assert [splits.same(plan, other) for other in others].count(True) == 1, place
