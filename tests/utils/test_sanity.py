"""The sanity checks: each catches its own kind of damage, leaves the others', and rarely errs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from utils import data, drift, profiles, sanity
from utils.sanity import Check, SanityError

ORDER = ["schema", "missing values", "range", "distribution", "duplicates", "leakage"]


def patients(seed: int = 0, rows: int = 500) -> pd.DataFrame:
    """Return random rows of every kind of column, always from the same population."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"p{seed}-{row}" for row in range(rows)],
            "height": rng.normal(170, 10, rows),
            "visits": rng.poisson(3, rows),
            "blood": rng.choice(["A", "B", "0"], rows, p=[0.4, 0.2, 0.4]),
            "smoker": rng.random(rows) < 0.3,
            "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D"),
            "y": rng.normal(size=rows),
        }
    )


@pytest.fixture(scope="module")
def profile() -> profiles.Profile:
    return profiles.make(patients(), "y")


def failures(
    frame: pd.DataFrame, profile: profiles.Profile, target: str = "y", **settings: Any
) -> set[tuple[str, str]]:
    settings = {"identifiers": ["id"], **settings}
    checks = sanity.check(frame, profile, target, **settings)
    return {(each.check, each.column) for each in sanity.failed(checks)}


def damaged(**columns: Any) -> pd.DataFrame:
    """Return new patients with some columns replaced, each by a function of the data."""
    return patients(1).assign(**columns)


def test_new_data_of_the_same_population_passes(profile: profiles.Profile) -> None:
    for seed in range(1, 6):
        assert failures(patients(seed), profile) == set()


def test_the_reference_itself_passes_in_the_order_of_checks_then_columns(profile: profiles.Profile) -> None:
    checks = sanity.check(patients(), profile, "y", identifiers=["id"])
    assert sanity.failed(checks) == []
    assert list(dict.fromkeys(each.check for each in checks)) == ORDER
    for name in ("schema", "missing values"):
        assert [each.column for each in checks if each.check == name] == list(patients().columns)
    assert [each.column for each in checks if each.check == "duplicates"] == [""]


@pytest.mark.parametrize(
    ("frame", "failing"),
    [
        (damaged().drop(columns="height"), {("schema", "height")}),
        (damaged(weight=1.0), {("schema", "weight")}),
        (damaged().rename(columns={"y": "why"}), {("schema", "y"), ("schema", "why")}),
        (damaged(visits=lambda d: d["visits"].astype(str)), {("schema", "visits")}),
        (damaged(smoker=lambda d: d["smoker"].astype(int)), {("schema", "smoker")}),
        (damaged(seen=lambda d: d["seen"].astype(str)), {("schema", "seen")}),
        (damaged(visits=lambda d: d["visits"].astype(object).mask(d.index == 3, "")), {("schema", "visits")}),
        (damaged(blood=[["A"]] * 500), {("schema", "blood")}),
        (damaged(height=lambda d: d["height"].mask(d.index % 5 == 0)), {("missing values", "height")}),
        (damaged(visits=lambda d: d["visits"].mask(d.index % 5 == 0)), {("missing values", "visits")}),
        (damaged(smoker=lambda d: d["smoker"].mask(d.index % 5 == 0)), {("missing values", "smoker")}),
        (damaged(blood=lambda d: d["blood"].mask(d.index % 5 == 0)), {("missing values", "blood")}),
        (damaged(seen=lambda d: d["seen"].mask(d.index % 5 == 0)), {("missing values", "seen")}),
        (damaged(height=None), {("missing values", "height")}),
        (damaged(y=lambda d: d["y"].mask(d.index == 0)), {("missing values", "y")}),
        (damaged(height=lambda d: d["height"].mask(d.index == 7, -1)), {("range", "height")}),
        (damaged(height=lambda d: d["height"].mask(d.index == 7, np.inf)), {("range", "height")}),
        (damaged(blood=lambda d: d["blood"].mask(d.index == 7, "C")), {("range", "blood")}),
        (damaged(height=lambda d: d["height"] + 6), {("distribution", "height")}),
        (damaged(visits=lambda d: d["visits"].clip(upper=2)), {("distribution", "visits")}),
        (damaged(smoker=lambda d: d["smoker"] | (d.index % 2 == 0)), {("distribution", "smoker")}),
        (damaged(blood=lambda d: d["blood"].mask(d.index % 2 == 0, "B")), {("distribution", "blood")}),
        (damaged(y=lambda d: d["y"] / 3), {("distribution", "y")}),
        (pd.concat([damaged(), damaged().iloc[:50]], ignore_index=True), {("duplicates", "")}),
    ],
)  # fmt: skip
def test_each_kind_of_damage_fails_its_own_check_and_no_other(
    profile: profiles.Profile, frame: pd.DataFrame, failing: set[tuple[str, str]]
) -> None:
    assert failures(frame, profile) == failing


def test_storage_that_holds_the_same_is_no_change_of_schema(profile: profiles.Profile) -> None:
    stored = patients(1).astype(
        {"visits": "Int64", "blood": "category", "smoker": "boolean", "height": "Float64"}
    )
    assert failures(stored, profile) == set()


def test_the_order_of_columns_does_not_matter(profile: profiles.Profile) -> None:
    assert failures(patients(1)[list(reversed(patients(1).columns))], profile) == set()


def test_identifiers_and_dates_may_move_on(profile: profiles.Profile) -> None:
    later = patients(1).assign(seen=lambda d: d["seen"] + pd.Timedelta("900D"))
    assert failures(later, profile) == set()
    numbered = patients().assign(id=range(500))
    reference = profiles.make(numbered, "y")
    grown = patients(1).assign(id=range(5000, 5500))
    assert failures(grown, reference) == set()
    assert failures(grown, reference, identifiers=[]) == {("range", "id"), ("distribution", "id")}


def test_a_column_that_was_empty_in_the_reference_may_hold_anything() -> None:
    reference = profiles.make(patients().assign(void=None), "y")
    assert failures(patients(1).assign(void=1.5), reference) == set()


def test_few_rows_are_not_tested_for_distribution(profile: profiles.Profile) -> None:
    checks = sanity.check(patients(1, rows=5), profile, "y", identifiers=["id"])
    drifts = [each for each in checks if each.check == "distribution"]
    assert {each.observed for each in drifts} == {"not tested: too few values"}
    assert all(each.passed for each in drifts)


def test_huge_data_does_not_alarm_over_a_difference_below_the_floor(profile: profiles.Profile) -> None:
    huge = patients(1, rows=20_000).assign(height=lambda d: d["height"] + 1)
    reference = profiles.make(patients(2, rows=20_000), "y")
    assert failures(huge, reference) == set()
    assert failures(huge, reference, effect_floor=0.0) == {("distribution", "height")}


@pytest.mark.parametrize(
    ("leak", "told"),
    [
        (lambda d: d["y"], "equal to the target"),
        (lambda d: d["y"].astype(int).astype(str), "equal to the target"),
        (lambda d: (3 - d["y"] / 7).round(1), "a linear copy"),
        (lambda d: d["y"].mask(d.index % 2 == 0), "equal to the target"),
    ],
)
def test_a_feature_that_copies_a_number_is_found_out(leak: Any, told: str) -> None:
    frame = patients().assign(y=lambda d: (d["y"] * 1000).round()).assign(leak=leak)
    checks = sanity.failed(sanity.check(frame, profiles.make(frame, "y"), "y", identifiers=["id"]))
    assert [(each.check, each.column) for each in checks] == [("leakage", "leak")]
    assert told in checks[0].observed


@pytest.mark.parametrize(
    "leak",
    [
        lambda d: d["y"],
        lambda d: d["y"].map({"A": "type a", "B": "type b", "0": "type 0"}),
        lambda d: d["y"].map({"A": 7, "B": 3, "0": 5}),
        lambda d: d["y"].astype("category"),
    ],
)
def test_a_feature_that_stands_for_a_class_is_found_out(leak: Any) -> None:
    frame = patients().drop(columns="y").rename(columns={"blood": "y"}).assign(leak=leak)
    assert failures(frame, profiles.make(frame, "y")) == {("leakage", "leak")}


def test_a_good_predictor_and_unique_values_are_no_leak() -> None:
    rng = np.random.default_rng(0)
    frame = patients().assign(
        good=lambda d: d["y"] + rng.normal(0, 0.05, 500),
        number=lambda d: rng.permutation(len(d)).astype(str),
        constant=1,
        rare=lambda d: d["y"].where(d.index < sanity.LEAST_ROWS - 1),
    )
    assert failures(frame, profiles.make(frame, "y"), identifiers=[]) == set()


def test_a_constant_target_is_not_said_to_leak() -> None:
    frame = patients().assign(y=1)
    assert failures(frame, profiles.make(frame, "y")) == set()


def test_a_profile_of_another_target_is_refused(profile: profiles.Profile) -> None:
    with pytest.raises(SanityError, match="target 'y', not 'height'"):
        sanity.check(patients(), profile, "height")


def test_the_summary_and_the_refusal_name_what_failed(profile: profiles.Profile) -> None:
    good = sanity.check(patients(), profile, "y")
    assert sanity.summary(good) == f"All {len(good)} sanity checks passed."
    sanity.demand(good)
    bad = [
        *good,
        Check("range", "height", False, "-1 to 200", "120 to 210"),
        Check("range", "visits", False, "-1 to 2", "0 to 10"),
        Check("duplicates", "", False, "9.00% repeated rows", "at most 1.00%"),
    ]
    assert sanity.summary(bad) == (
        f"3 of {len(bad)} sanity checks failed: range (height, visits); duplicates (all columns)."
    )
    with pytest.raises(SanityError) as refusal:
        sanity.demand(bad)
    assert "- range of height: observed -1 to 200; expected 120 to 210" in str(refusal.value)
    assert "- duplicates: observed 9.00% repeated rows; expected at most 1.00%" in str(refusal.value)


def test_records_are_plain_values(profile: profiles.Profile) -> None:
    records = sanity.records(sanity.check(patients(1), profile, "y"))
    assert json.loads(json.dumps(records)) == records
    assert set(records[0]) == {"check", "column", "passed", "observed", "expected"}
    assert {type(each["passed"]) for each in records} == {bool}


def test_the_table_has_a_line_for_each_check_and_each_failure(profile: profiles.Profile) -> None:
    good = sanity.check(patients(), profile, "y", identifiers=["id"])
    assert sanity.table(good)["check"].tolist() == ORDER
    assert sanity.table(good)["passed"].all()
    bad = sanity.table([*good, Check("range", "height", False, "-1 to 200", "120 to 210")])
    failing = bad[~bad["passed"]]
    assert failing["column"].tolist() == ["(all)", "height"]
    assert failing["observed"].tolist() == ["5 of 6 passed", "-1 to 200"]
    assert sanity.table([]).empty


def test_the_family_false_alarm_rate_holds_on_resamples_of_real_data() -> None:
    # Reference and new data are resamples of the same patients; without the floor only the test decides.
    # A column fails at a rate if its adjusted p-value is not above it.
    frame = data.load("sklearn:diabetes", "target")[["age", "sex", "bmi", "s4", "target"]]
    rng = np.random.default_rng(0)
    trials, alarms = 300, {0.2: 0, 0.001: 0}
    for _ in range(trials):
        reference = profiles.make(frame.iloc[rng.integers(0, len(frame), len(frame))], "target")
        resample = frame.iloc[rng.integers(0, len(frame), 300)]
        results = [
            drift.homogeneity(np.array(column.counts), profiles.counts(resample[name], column))
            for name, column in reference.columns.items()
        ]
        least = min(drift.holm([result[0] for result in results if result is not None]))
        for rate in alarms:
            alarms[rate] += least <= rate
    # Three standard deviations of a binomial count above the stated rate.
    for rate, count in alarms.items():
        assert count <= trials * rate + 3 * np.sqrt(trials * rate * (1 - rate))
    # Nor is it so strict as to find nothing: well over half of the stated rate is used.
    assert alarms[0.2] >= trials * 0.05
