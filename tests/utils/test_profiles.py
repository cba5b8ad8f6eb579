"""Reference profiles: what they hold, that they survive their file, and the command that makes them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from utils import data, files, profiles, project
from utils.profiles import ColumnProfile, ProfileError


@pytest.fixture
def frame() -> pd.DataFrame:
    """A hundred rows with every kind of column."""
    rows = np.arange(100)
    return pd.DataFrame(
        {
            "x": np.where(rows == 0, np.nan, rows),
            "dose": rows % 3,
            "name": np.where(rows < 60, "ada", np.where(rows < 90, "grace", "alan")),
            "code": [f"c{row}" for row in rows],
            "smoker": rows % 2 == 0,
            "seen": pd.date_range("2026-01-01", periods=100),
            "void": pd.Series([None] * 100, dtype=object),
            "y": rows / 2,
        }
    )


def test_a_profile_says_what_each_column_held(frame: pd.DataFrame) -> None:
    profile = profiles.make(frame, "y")
    columns = profile.columns
    assert (profile.rows, profile.target, profile.duplicates) == (100, "y", 0.0)
    assert {name: column.kind for name, column in columns.items()} == {
        "x": "number",
        "dose": "number",
        "name": "text",
        "code": "text",
        "smoker": "boolean",
        "seen": "date",
        "void": "empty",
        "y": "number",
    }
    assert (columns["x"].minimum, columns["x"].maximum, columns["x"].missing) == (1.0, 99.0, 0.01)
    assert len(columns["x"].counts) == 10
    assert sum(columns["x"].counts) == 99
    assert columns["dose"].edges == (0.5, 1.5)
    assert columns["dose"].counts == (34, 33, 33)
    assert columns["name"].categories == ("ada", "grace", "alan")
    assert columns["name"].counts == (60, 30, 10, 0)
    assert columns["smoker"].counts == (50, 50, 0)
    assert (columns["code"].complete, columns["name"].complete) == (False, True)
    assert columns["void"].missing == 1.0


def test_deciles_hold_about_a_tenth_of_the_values_each() -> None:
    values = np.random.default_rng(0).lognormal(size=1000)
    column = profiles.make(pd.DataFrame({"x": values, "y": 1}), "y").columns["x"]
    assert len(column.edges) == 9
    np.testing.assert_allclose(column.counts, 100, atol=2)


def test_infinite_values_are_counted_but_give_no_range() -> None:
    column = profiles.make(pd.DataFrame({"x": [1.0, 2.0, np.inf], "y": 1}), "y").columns["x"]
    assert (column.minimum, column.maximum, sum(column.counts)) == (1.0, 2.0, 3)
    column = profiles.make(pd.DataFrame({"x": [np.inf, -np.inf], "y": 1}), "y").columns["x"]
    assert column.minimum is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.array([1, None], dtype="Int64"), "number"),
        ([1.5, None], "number"),
        (pd.Series([1, 2.5, None], dtype=object), "number"),
        (pd.Series([Decimal("1.5"), None], dtype=object), "number"),
        (pd.Categorical([1, 2]), "number"),
        (pd.Categorical(["a", None]), "text"),
        (pd.Series([True, None], dtype=object), "boolean"),
        (pd.Series([datetime.date(2026, 1, 1), None], dtype=object), "date"),
        (pd.date_range("2026-01-01", periods=2, tz="UTC"), "date"),
        ([None, None], "empty"),
        (pd.Series([1, "a"], dtype=object), None),
        ([[1], [2]], None),
    ],
)
def test_the_kind_of_a_column_does_not_depend_on_its_storage(values: Any, kind: str | None) -> None:
    assert profiles.kind(pd.Series(values)) == kind


@pytest.mark.parametrize("kind", ["Int64", "category", object])
def test_numbers_are_counted_however_they_are_stored(kind: Any) -> None:
    plain = pd.DataFrame({"x": np.arange(30) % 7, "y": 1})
    stored = plain.astype({"x": kind})
    assert profiles.make(stored, "y").columns["x"].counts == profiles.make(plain, "y").columns["x"].counts


def test_repeated_rows_are_counted_and_missing_values_are_equal() -> None:
    assert profiles.duplicates(pd.DataFrame({"x": [1.0, np.nan, np.nan, 2.0], "y": [1, 2, 2, 1]})) == 0.25
    assert profiles.duplicates(pd.DataFrame({"x": []})) == 0.0


def test_a_profile_survives_its_file_which_has_one_line_for_each_column(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    profile = profiles.make(frame, "y")
    path = profiles.save(profile, tmp_path / "a.json")
    assert profiles.load(path) == profile
    lines = path.read_text().splitlines()
    assert sum(line.strip().startswith('"dose"') for line in lines) == 1
    assert len(lines) < len(frame.columns) + 10


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (pd.DataFrame({"x": [1]}), "no column 'y'; it has x"),
        (pd.DataFrame({"x": [], "y": []}), "no rows"),
        (pd.DataFrame({"x": [1, 2], "y": [1, None]}), "missing values"),
        (pd.DataFrame({"x": pd.Series([1, "a"], dtype=object), "y": 1}), "'x' holds neither"),
        (pd.DataFrame({"x": [[1], [2]], "y": 1}), "'x'"),
    ],
)
def test_data_that_cannot_be_a_reference_is_refused(frame: pd.DataFrame, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        profiles.make(frame, "y")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": 0}, "damaged at 'rows'"),
        ({"surprise": 1}, "damaged at 'surprise'"),
        ({"columns": {"x": {"kind": "colour"}}}, r"damaged at 'columns\.x\.kind'"),
        ({"columns": {"x": {"kind": "number", "counts": [1], "edges": [1, 2]}}}, "one more than"),
        ({"columns": {"x": {"kind": "number", "edges": [2, 1]}}}, "ascend"),
        ({"columns": {"x": {"kind": "number", "minimum": 2, "maximum": 1}}}, "exceed"),
    ],
)
def test_a_damaged_profile_is_refused_with_the_place(
    tmp_path: Path, frame: pd.DataFrame, change: dict[str, Any], told: str
) -> None:
    path = profiles.save(profiles.make(frame, "y"), tmp_path / "a.json")
    files.write_json(path, files.read_json(path) | change)
    with pytest.raises(ProfileError, match=told):
        profiles.load(path)


def test_a_missing_or_unreadable_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"make one with python -m utils\.profiles"):
        profiles.load(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ProfileError, match="can't be read"):
        profiles.load(tmp_path / "a.json")


def test_counts_of_a_column_without_bins_are_empty() -> None:
    dates = pd.Series(pd.date_range("2026-01-01", periods=2))
    assert profiles.counts(dates, ColumnProfile(kind="date")).size == 0


def test_the_command_makes_a_profile(tmp_path: Path) -> None:
    output = tmp_path / "a.json"
    words = [
        "sklearn:diabetes",
        "--target",
        "target",
        "--drop",
        "s1",
        "--drop",
        "s2",
        "--output",
        str(output),
    ]
    answer = CliRunner().invoke(profiles.main, words)
    assert answer.exit_code == 0
    assert "442 rows, 9 columns of sklearn:diabetes" in answer.output
    assert "s1" not in profiles.load(output).columns


def test_the_command_refuses_in_a_sentence(tmp_path: Path) -> None:
    output = tmp_path / "a.json"
    answer = CliRunner().invoke(
        profiles.main, ["sklearn:diabets", "--target", "target", "--output", str(output)]
    )
    assert answer.exit_code == 1
    assert "did you mean 'diabetes'" in answer.output
    assert not output.exists()


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer"])
def test_the_committed_profiles_are_what_the_command_makes_of_the_bundled_data(name: str) -> None:
    committed = profiles.load(project.root() / "parameters" / f"{name}.profile.json")
    made = profiles.make(data.load(f"sklearn:{name}", "target"), "target")
    assert (committed.rows, committed.duplicates) == (made.rows, made.duplicates)
    assert list(committed.columns) == list(made.columns)
    for column, facts in made.columns.items():
        # Another processor may differ in a value's last digit.
        np.testing.assert_allclose(committed.columns[column].edges, facts.edges)
        assert committed.columns[column].kind == facts.kind
