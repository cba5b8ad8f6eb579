"""Loading data from wherever it is, and the snapshot that a run works on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from utils import canonical, data, files, project, splits
from utils.data import DataError
from utils.splits import SplitPlan


@pytest.fixture
def frame() -> pd.DataFrame:
    """Sixty rows with every kind of column, missing values among them."""
    rng = np.random.default_rng(0)
    rows = 60
    blank = rng.random(rows) < 0.1
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "height": pd.Series(rng.normal(size=rows)).mask(blank),
            "name": pd.Series(rng.choice(["ada", "", "é"], rows)).mask(blank, None),
            "smoker": rng.random(rows) < 0.5,
            "maybe": pd.Series(rng.random(rows) < 0.5, dtype=object).mask(blank, None),
            "count": pd.array(rng.integers(0, 9, rows), dtype="Int64"),
            "size": pd.Categorical(rng.choice(["s", "m", "l"], rows), ["s", "m", "l"], ordered=True),
            "born": pd.Series([datetime.date(2000, 1, 1 + i % 28) for i in range(rows)], dtype=object),
            "seen": pd.Series(pd.date_range("2026-01-01", periods=rows)).mask(blank),
            "heard": pd.date_range("2026-01-01", periods=rows, tz="Europe/Berlin"),
            "void": pd.Series([None] * rows, dtype=object),
            "clinic": rng.integers(0, 20, rows),
            "y": rng.normal(size=rows),
        }
    )


@pytest.fixture
def memory() -> Iterator[Any]:
    """An address that is neither a local file nor a server."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def take(frame: pd.DataFrame, folder: Path, **plan: Any) -> data.Snapshot:
    return data.take_snapshot(
        frame, source="sklearn:toy", target="y", plan=SplitPlan(**plan), run_folder=folder
    )


def test_every_bundled_table_loads_without_the_network() -> None:
    shapes = {
        name: data.load(f"sklearn:{name}", target).shape
        for name, target in [
            ("diabetes", "target"),
            ("breast_cancer", "target"),
            ("iris", "target"),
            ("wine", "target"),
            ("linnerud", "Pulse"),
        ]
    }
    assert shapes["diabetes"] == (442, 11)
    assert shapes["breast_cancer"] == (569, 31)
    assert shapes["linnerud"] == (20, 6)


def test_bundled_columns_are_named_in_words_joined_by_underscores() -> None:
    assert "mean_radius" in data.load("sklearn:breast_cancer", "target").columns
    assert "sepal_length_cm" in data.load("sklearn:iris", "target").columns


@pytest.mark.parametrize("name", ["diabets", "fetch_california_housing", "california_housing", "", "files"])
def test_an_unknown_bundled_name_is_refused_and_never_fetched(name: str) -> None:
    with pytest.raises(DataError, match=r"brings no data set called .*(did you mean|there are)"):
        data.load(f"sklearn:{name}", "target")


def test_a_nearly_right_bundled_name_gets_the_right_one() -> None:
    with pytest.raises(DataError, match="did you mean 'diabetes'"):
        data.load("sklearn:diabets", "target")


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz"])
def test_numbers_survive_a_csv_file_to_the_last_digit(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=500) * 10.0 ** rng.integers(-9, 9, 500), "y": 1.5})
    frame.to_csv(tmp_path / name, index=False)
    pd.testing.assert_frame_equal(data.load(str(tmp_path / name), "y"), frame)


def test_a_relative_path_is_relative_to_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    assert data.load("a.csv", "y").shape == (1, 2)
    with pytest.raises(DataError, match=rf"There is no file b\.csv in {tmp_path}"):
        data.load("b.csv", "y")


def test_parquet_keeps_dtypes_and_a_named_index_becomes_a_column(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.set_index("id").to_parquet(tmp_path / "a.parquet")
    loaded = data.load(str(tmp_path / "a.parquet"), "y")
    assert list(loaded.columns) == list(frame.columns)
    assert canonical.fingerprint(loaded) == canonical.fingerprint(frame.infer_objects())


def test_any_fsspec_address_will_do(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/a.csv", b"x,y\n1,2\n")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert data.load("memory://bucket/a.csv", "y").shape == (1, 2)
    assert data.load(f"file://{tmp_path}/a.csv", "y").shape == (1, 2)


def test_dropped_columns_are_left_out() -> None:
    assert "s1" not in data.load("sklearn:diabetes", "target", ["s1"]).columns


@pytest.mark.parametrize(
    ("content", "target", "drop", "told"),
    [
        ("x,y\n1,2\n", "z", [], r"no column 'z' \(target\); it has x, y"),
        ("x,label\n1,2\n", "lable", [], "did you mean 'label'"),
        ("x,y\n1,2\n", "y", ["xx"], r"no column 'xx' \(drop\); did you mean 'x'"),
        ("x,y\n1,2\n", "y", ["y"], "can't be dropped"),
        ("x,y\n1,2\n", "y", ["x"], "no column but the target 'y'"),
        ("x,y\n", "y", [], "has no rows"),
        ("", "y", [], "EmptyDataError"),
        ('x,y\n"1,2\n', "y", [], "ParserError"),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, content: str, target: str, drop: list[str], told: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=told):
        data.load(str(tmp_path / "a.csv"), target, drop)


def test_columns_of_the_same_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([[1], [2], [3]], names=["x", "x", "y"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="Multiple matches"):
        data.load(str(tmp_path / "a.parquet"), "y")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither sklearn:NAME, nor"):
        data.load("a.xlsx", "y")
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="can't be read"):
        data.load(str(tmp_path / "a.parquet"), "y")
    with pytest.raises(DataError, match="There is no file"):
        data.load(str(tmp_path / "b.parquet"), "y")


def test_a_file_system_that_is_not_installed_is_told() -> None:
    with pytest.raises(DataError, match=r"nosuchsystem://b/a\.csv can't be"):
        data.load("nosuchsystem://b/a.csv", "y")
    with pytest.raises(DataError, match=r"gs://b/a\.csv can't be opened: .*install"):
        data.load("gs://b/a.csv", "y")


@pytest.mark.parametrize("source", ["memory://me:secret@b/a.csv", "memory://b/a.csv?token=secret"])
def test_credentials_are_neither_in_messages_nor_in_the_record(
    memory: Any, tmp_path: Path, frame: pd.DataFrame, source: str
) -> None:
    with pytest.raises(DataError) as refusal:
        data.load(source, "y")
    assert "secret" not in str(refusal.value)
    data.take_snapshot(frame, source=source, target="y", plan=SplitPlan(), run_folder=tmp_path)
    assert "secret" not in (tmp_path / data.RECORD).read_text()
    assert b"secret" not in (tmp_path / data.SNAPSHOT).read_bytes()


def test_an_error_that_may_repeat_credentials_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: str, *_: object, **__: object) -> None:
        raise OSError(f"cannot reach {address}")

    monkeypatch.setattr(fsspec, "open", fail)
    with pytest.raises(DataError, match="withheld") as refusal:
        data.load("ftp://me:secret@host/a.csv", "y")
    assert "secret" not in str(refusal.value)
    with pytest.raises(DataError, match="cannot reach ftp://host"):
        data.load("ftp://host/a.csv", "y")


def test_a_snapshot_opens_as_it_was_taken(tmp_path: Path, frame: pd.DataFrame) -> None:
    taken = take(frame, tmp_path, key=("id",), seed=3)
    opened = data.open_snapshot(tmp_path)
    pd.testing.assert_frame_equal(opened.frame, taken.frame)
    pd.testing.assert_frame_equal(opened.frame, frame)
    np.testing.assert_array_equal(opened.held_out_rows, taken.held_out_rows)
    np.testing.assert_array_equal(opened.row_hashes, taken.row_hashes)
    assert opened.record == taken.record == files.read_json(tmp_path / data.RECORD)
    assert opened.split == SplitPlan(key=("id",), seed=3)


def test_a_snapshot_tells_training_from_held_out_rows(tmp_path: Path, frame: pd.DataFrame) -> None:
    snapshot = take(frame, tmp_path, held_out_share=0.4)
    (x, y), (x_held_out, y_held_out) = snapshot.training, snapshot.held_out
    assert "y" not in x.columns
    assert y.name == y_held_out.name == "y"
    assert set(x.index) | set(x_held_out.index) == set(range(len(frame)))
    assert not set(x.index) & set(x_held_out.index)
    assert snapshot.record["training_rows"] == len(x) == len(y)
    assert snapshot.record["held_out_rows"] == len(x_held_out) == len(y_held_out)


def test_what_splits_the_data_is_no_feature_unless_it_was_asked_for(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    snapshot = take(frame, tmp_path, group="clinic")
    assert "clinic" not in snapshot.training[0].columns
    assert snapshot.groups is not None
    assert snapshot.groups.tolist() == frame["clinic"].tolist()
    kept = data.take_snapshot(
        frame,
        source="",
        target="y",
        plan=SplitPlan(group="clinic"),
        run_folder=tmp_path,
        keep=["clinic"],
    )
    assert "clinic" in kept.features
    assert data.open_snapshot(tmp_path).features == kept.features
    assert take(frame, tmp_path).groups is None


def test_the_split_has_no_part_in_the_fingerprint(tmp_path: Path, frame: pd.DataFrame) -> None:
    assert take(frame, tmp_path).fingerprint == take(frame, tmp_path, seed=5).fingerprint


def test_training_and_held_out_rows_have_no_hash_in_common(tmp_path: Path, frame: pd.DataFrame) -> None:
    snapshot = take(pd.concat([frame, frame], ignore_index=True), tmp_path)
    hashes, sides = snapshot.row_hashes, snapshot.held_out_rows
    assert hashes.dtype == np.uint64
    assert not set(hashes[sides]) & set(hashes[~sides])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"y": 0.0}, "is not the data that was taken"),
        ({data.SIDE: False}, "column of held-out rows"),
        ({"new": 1}, "is not the data that was taken"),
    ],
)
def test_a_snapshot_changed_afterwards_is_refused(
    tmp_path: Path, frame: pd.DataFrame, changed: dict[str, Any], told: str
) -> None:
    take(frame, tmp_path)
    stored = pd.read_parquet(tmp_path / data.SNAPSHOT)
    stored.assign(**changed).to_parquet(tmp_path / data.SNAPSHOT, index=False)
    with pytest.raises(DataError, match=told):
        data.open_snapshot(tmp_path)


def test_the_bytes_may_change_where_the_content_does_not(tmp_path: Path, frame: pd.DataFrame) -> None:
    before = take(frame, tmp_path)
    stored = pd.read_parquet(tmp_path / data.SNAPSHOT)
    stored.to_parquet(tmp_path / data.SNAPSHOT, index=False, compression="gzip")
    assert data.open_snapshot(tmp_path).fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target", "nothing"),
        ("target", "height"),
        ("features", ["nothing"]),
        ("rows", 1),
        ("held_out_rows", 1),
        ("fingerprint", "0" * 64),
        ("split", {}),
    ],
)
def test_a_record_that_does_not_fit_the_data_is_refused(
    tmp_path: Path, frame: pd.DataFrame, key: str, value: Any
) -> None:
    take(frame, tmp_path)
    record = files.read_json(tmp_path / data.RECORD)
    files.write_json(tmp_path / data.RECORD, {**record, key: value})
    with pytest.raises(DataError, match="run setup again"):
        data.open_snapshot(tmp_path)


def test_a_missing_or_unreadable_snapshot_is_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"no snapshot\.json in .*run setup again"):
        data.open_snapshot(tmp_path)
    take(frame, tmp_path)
    (tmp_path / data.SNAPSHOT).write_bytes(b"half a fi")
    with pytest.raises(DataError, match="can't be read"):
        data.open_snapshot(tmp_path)
    (tmp_path / data.SNAPSHOT).unlink()
    with pytest.raises(DataError, match=r"no snapshot\.parquet"):
        data.open_snapshot(tmp_path)
    (tmp_path / data.RECORD).write_text(json.dumps([]))
    with pytest.raises(DataError, match="run setup again"):
        data.open_snapshot(tmp_path)


@pytest.mark.parametrize(
    ("columns", "plan", "told"),
    [
        ({data.SIDE: 1}, {}, "needs for itself"),
        ({"odd": pd.Series([1, "a"] * 30, dtype=object)}, {}, "can't be stored as Parquet"),
        ({"odd": [[1]] * 60}, {"key": ("id",)}, "can't be stored as Parquet.*'odd'"),
        ({"odd": pd.arrays.SparseArray([0.0, 1.0] * 30)}, {}, "Parquet"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused_and_leave_nothing_behind(
    tmp_path: Path, frame: pd.DataFrame, columns: dict[str, Any], plan: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        take(frame.assign(**columns), tmp_path, **plan)
    assert not list(tmp_path.glob("data/*"))


def test_a_column_that_would_come_back_as_another_is_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    # Parquet keeps categories of texts, but turns those of numbers into plain numbers.
    grades = frame.assign(grade=pd.Categorical([1, 2] * 30))
    with pytest.raises(DataError, match="would not come back as it is; convert grade to"):
        take(grades, tmp_path)
    assert not list(tmp_path.glob("data/*"))


def test_a_snapshot_needs_a_feature_and_a_split(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(50), "y": range(50)})
    with pytest.raises(DataError, match="leave no feature"):
        take(frame, tmp_path, key=("id",))
    with pytest.raises(DataError, match="keep names y"):
        data.take_snapshot(frame, source="", target="y", plan=SplitPlan(), run_folder=tmp_path, keep=["y"])
    with pytest.raises(splits.SplitError, match="no column 'clinic'"):
        take(frame, tmp_path, group="clinic")
