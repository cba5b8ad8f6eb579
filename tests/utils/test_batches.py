"""Batch scoring: every row of a file by a package, in bounded memory, resumable, complete or absent."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.utils.conftest import mixed_rows, save_model
from utils import batches, files, formats, models, packaging
from utils.batches import BatchError, Scored
from utils.formats import Converted

ROOT = Path(__file__).resolve().parents[2]
ROWS = mixed_rows(3_000).assign(key=np.arange(3_000) + 1)
FORMATS = ("onnx", "skops")


class Known(NamedTuple):
    package: Path
    model: Any


def _packed(folder: Path, estimator: str, y: pd.Series, form: str = "onnx") -> Known:
    X = mixed_rows(len(y))
    model = models.load(save_model(folder / "model", estimator, X, y) / "model.skops")
    with pytest.MonkeyPatch.context() as patch:
        if form == "skops":
            patch.setattr(formats, "convert", lambda *_: Converted("skops", "A test asks for it."))
        built = packaging.build(
            folder / "model", folder / "package", name="demo", version="3", golden_rows=X.head(20), lineage={}
        )
    assert built.manifest.format.name == form
    return Known(built.folder, model)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Known]:
    X = mixed_rows()
    y = pd.Series(X["bmi"] * 2 + X["age"] + X["smoker"] * 5, name="progression")
    return {
        form: _packed(tmp_path_factory.mktemp(form), "sklearn.linear_model.Ridge", y, form)
        for form in FORMATS
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    ROWS.to_parquet(path)
    return path


@pytest.fixture
def run(packed: dict[str, Known], source: Path, tmp_path: Path) -> Callable[..., Scored]:
    """Score the source by the package in ONNX, in chunks of 500 rows."""

    def running(
        package: Path | None = None, rows: Path = source, output: Path | None = None, **others: Any
    ) -> Scored:
        output = output or tmp_path / "scored.parquet"
        return batches.score(package or packed["onnx"].package, rows, output, **{"chunk_rows": 500, **others})

    return running


def _write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def _left(folder: Path) -> list[str]:
    """What hidden files there are."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# ------------------------------------------------------------------ every row


@pytest.mark.parametrize("out", ["parquet", "csv"])
@pytest.mark.parametrize("into", ["parquet", "csv"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_row_gets_the_models_own_prediction(
    packed: dict[str, Known], tmp_path: Path, form: str, into: str, out: str
) -> None:
    package, model = packed[form]
    source = _write(ROWS, tmp_path / f"rows.{into}")
    output = tmp_path / f"scored.{out}"
    done = batches.score(package, source, output, chunk_rows=700, keep=["key", "note"])
    assert (done.rows, done.resumed, done.format) == (3_000, 0, form)
    assert done.digest == files.sha256(package / "manifest.json")
    found = _read(output)
    assert found.columns.tolist() == ["key", "note", "prediction"]
    assert found["key"].astype(int).tolist() == ROWS["key"].tolist()
    assert found["prediction"].tolist() == pytest.approx(models.predict(model, ROWS), rel=1e-12)
    assert _left(tmp_path) == []


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("target", ["text", "boolean", "integer"])
def test_classes_are_those_of_the_schema(tmp_path: Path, form: str, target: str) -> None:
    high = mixed_rows(300)["bmi"] > 25
    labels = {"text": np.where(high, "hoch", "tief"), "boolean": high, "integer": np.where(high, 3, -1)}
    y = pd.Series(labels[target], name="risk")
    package, model = _packed(tmp_path, "sklearn.ensemble.RandomForestClassifier", y, form)
    _write(ROWS, tmp_path / "rows.parquet")
    batches.score(package, tmp_path / "rows.parquet", tmp_path / "scored.parquet")
    found = pq.read_table(tmp_path / "scored.parquet")["prediction"]
    assert found.type == {"text": pa.string(), "boolean": pa.bool_(), "integer": pa.int64()}[target]
    assert found.to_pylist() == models.predict(model, ROWS).tolist()


@pytest.mark.parametrize("chunk_rows", [1, 499, 3_000, 100_000])
def test_the_size_of_the_chunks_changes_nothing(
    run: Callable[..., Scored], packed: dict[str, Known], tmp_path: Path, chunk_rows: int
) -> None:
    few = _write(ROWS.head(40), tmp_path / "few.parquet") if chunk_rows == 1 else tmp_path / "rows.parquet"
    found = _read(run(rows=few, chunk_rows=chunk_rows).output)["prediction"]
    expected = models.predict(packed["onnx"].model, ROWS.head(len(found)))
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_small_row_groups_are_joined_and_types_are_widened(
    run: Callable[..., Scored], packed: dict[str, Known], tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(ROWS, preserve_index=False)
    place = table.schema.get_field_index
    table = table.set_column(place("age"), "age", table["age"].cast(pa.int8()))
    table = table.set_column(place("region"), "region", table["region"].dictionary_encode())
    pq.write_table(table, tmp_path / "groups.parquet", row_group_size=90)
    done = run(rows=tmp_path / "groups.parquet")
    expected = models.predict(packed["onnx"].model, ROWS)
    assert _read(done.output)["prediction"].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_file_without_rows_gives_one_without_rows(run: Callable[..., Scored], tmp_path: Path) -> None:
    schema = pa.Schema.from_pandas(ROWS, preserve_index=False)
    pq.write_table(schema.empty_table(), tmp_path / "none.parquet")
    done = run(rows=tmp_path / "none.parquet")
    assert done.rows == 0
    assert pq.read_table(done.output).schema.names == ["prediction"]


def test_a_csv_file_is_read_as_for_training(
    run: Callable[..., Scored], packed: dict[str, Known], tmp_path: Path
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(
        "note,smoker,region,pressure,bmi,age,extra\n"
        '"a, or ""b""\nor c",True,north,NA, 21.5,40,x\n'
        "NaN,false,Zürich,,2e1,41.0,y\n"
    )
    frame = pd.read_csv(path)
    assert frame["note"].isna().tolist() == [False, True]
    expected = models.predict(packed["onnx"].model, frame)
    done = run(rows=path, keep=["extra", "note"])
    assert _read(done.output)["prediction"].tolist() == pytest.approx(expected, rel=1e-12)
    assert _read(done.output)["note"].tolist() == ['a, or "b"\nor c', "NaN"]


# ------------------------------------------------------------------ what is refused


def _changed(column: str, value: object, row: int = 1_234) -> pd.DataFrame:
    values = ROWS[column].astype(object).copy()
    values.iloc[row - 1] = value
    return ROWS.assign(**{column: values})


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("bmi", None, "'bmi' is missing in row 1,234 (the first is 1): it must be a finite number"),
        (
            "pressure",
            np.inf,
            "'pressure' is inf in row 1,234 (the first is 1): it must be a finite number or ",
        ),
        (
            "age",
            40.5,
            "'age' is 40.5 in row 1,234 (the first is 1): it must be an integer of at most 64 bits",
        ),
        ("region", None, "'region' is missing in row 1,234 (the first is 1): it must be a text"),
        ("region", "", "'region' is missing in row 1,234 (the first is 1): it must be a text"),
        ("smoker", None, "'smoker' is missing in row 1,234 (the first is 1): it must be true or false"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_column_and_row(
    run: Callable[..., Scored], tmp_path: Path, column: str, value: object, words: str
) -> None:
    path = _write(_changed(column, value), tmp_path / "wrong.parquet")
    with pytest.raises(BatchError) as refused:
        run(rows=path)
    assert words in str(refused.value)
    assert not (tmp_path / "scored.parquet").exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("bmi", "heavy", "'bmi' is 'heavy' in row 1,234 (the first is 1): it must be a finite number"),
        ("age", "4O", "'age' is '4O' in row 1,234 (the first is 1): it must be an integer"),
        ("smoker", "ja", "'smoker' is 'ja' in row 1,234 (the first is 1): it must be true or false"),
        ("bmi", "inf", "'bmi' is inf in row 1,234"),
    ],
)
def test_a_text_in_a_csv_file_that_does_not_fit_is_named_with_its_column_and_row(
    run: Callable[..., Scored], tmp_path: Path, column: str, value: object, words: str
) -> None:
    path = _write(_changed(column, value), tmp_path / "wrong.csv")
    with pytest.raises(BatchError) as refused:
        run(rows=path)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("bmi", ROWS["bmi"].astype(str), "Column 'bmi' is '"),
        (
            "bmi",
            ROWS["smoker"],
            "Column 'bmi' is False in row 1 (the first is 1): it must be a finite number",
        ),
        ("smoker", ROWS["age"], "in row 1 (the first is 1): it must be true or false"),
        ("region", ROWS["age"], "in row 1 (the first is 1): it must be a text"),
    ],
)
def test_a_column_of_another_type_is_named_with_its_first_row(
    run: Callable[..., Scored], tmp_path: Path, column: str, values: pd.Series, words: str
) -> None:
    path = _write(ROWS.assign(**{column: values}), tmp_path / "wrong.parquet")
    with pytest.raises(BatchError) as refused:
        run(rows=path)
    assert words in str(refused.value)
    assert "in row 1 (the first is 1)" in str(refused.value)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_missing_column_is_named(run: Callable[..., Scored], tmp_path: Path, suffix: str) -> None:
    path = _write(ROWS.drop(columns="age"), tmp_path / f"short{suffix}")
    with pytest.raises(BatchError, match="has no column 'age'; it has: bmi, pressure"):
        run(rows=path)
    with pytest.raises(BatchError, match="no column 'colour'"):
        run(keep=["colour"])
    with pytest.raises(BatchError, match="named twice, or 'prediction'"):
        run(keep=["prediction"])


def test_paths_that_cannot_be_are_refused(run: Callable[..., Scored], source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.parquet").symlink_to(source)
    before = source.read_bytes()
    refused: dict[str, dict[str, Any]] = {
        "The output is the input": {"output": source, "force": True},
        "output is the input": {"output": tmp_path / "link.parquet", "force": True},
        "There is no file": {"rows": tmp_path / "absent.parquet"},
        "There is no folder": {"output": tmp_path / "absent" / "scored.csv"},
        "must end in .parquet or .csv": {"output": tmp_path / "scored.json"},
        "can't be read as Parquet": {"rows": _damaged(tmp_path)},
    }
    for words, others in refused.items():
        with pytest.raises(BatchError, match=words):
            run(**others)
    assert source.read_bytes() == before


def _damaged(folder: Path) -> Path:
    (folder / "damaged.parquet").write_bytes(b"PAR1 nothing more")
    return folder / "damaged.parquet"


def test_an_output_is_replaced_only_by_force(run: Callable[..., Scored], tmp_path: Path) -> None:
    output = tmp_path / "scored.parquet"
    output.write_text("mine")
    with pytest.raises(BatchError, match="exists already: name another file, or add --force"):
        run()
    assert output.read_text() == "mine"
    assert len(_read(run(force=True).output)) == 3_000


def test_a_package_that_was_touched_is_refused(
    run: Callable[..., Scored], packed: dict[str, Known], tmp_path: Path
) -> None:
    shutil.copytree(packed["onnx"].package, tmp_path / "touched")
    model = tmp_path / "touched" / "model.onnx"
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(BatchError, match=r"model\.onnx was changed"):
        run(package=tmp_path / "touched")


def test_a_model_that_answers_otherwise_here_is_refused(
    run: Callable[..., Scored], packed: dict[str, Known], tmp_path: Path
) -> None:
    other = shutil.copytree(packed["onnx"].package, tmp_path / "other")
    golden = files.read_json(other / "golden.json")
    golden["expected"][3] += 0.1
    files.write_json(other / "golden.json", golden)
    manifest = files.read_json(other / "manifest.json")
    manifest["files"]["golden.json"] = files.sha256(other / "golden.json")
    files.write_json(other / "manifest.json", manifest)
    with pytest.raises(BatchError, match="doesn't answer its golden rows here"):
        run(package=other)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_prediction_that_is_no_number_is_refused(tmp_path: Path) -> None:
    y = pd.Series(mixed_rows()["bmi"], name="bmi")
    package, _ = _packed(tmp_path, "sklearn.linear_model.PoissonRegressor", y)
    path = _write(pd.concat([_changed("bmi", 1e9), _changed("bmi", -1e9)]), tmp_path / "far.parquet")
    with pytest.raises(BatchError, match=r"The prediction for row (1|4),234 is not a finite number"):
        batches.score(package, path, tmp_path / "scored.parquet")


def test_an_input_that_changes_meanwhile_is_refused(run: Callable[..., Scored], source: Path) -> None:
    def touch(rows: int, share: float) -> None:
        os.utime(source, (1, 1))

    with pytest.raises(BatchError, match="was changed while it was read"):
        run(watch=touch)
    assert not source.with_name("scored.parquet").exists()


# ------------------------------------------------------------------ interrupted, and gone on with


class _Stop:
    """Interrupts once so many rows are done, as Ctrl-C does."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __call__(self, rows: int, share: float) -> None:
        if rows >= self.rows:
            raise KeyboardInterrupt


@pytest.mark.parametrize("into", ["parquet", "csv"])
@pytest.mark.parametrize("out", ["parquet", "csv"])
def test_what_was_interrupted_goes_on_where_it_was(
    run: Callable[..., Scored], packed: dict[str, Known], tmp_path: Path, into: str, out: str
) -> None:
    source, output = _write(ROWS, tmp_path / f"rows.{into}"), tmp_path / f"scored.{out}"
    with pytest.raises(KeyboardInterrupt):
        run(rows=source, output=output, watch=_Stop(1_500))
    assert not output.exists()
    assert _left(tmp_path) == [f".scored.{out}.parts"]
    told: list[int] = []
    # Chunks of another size go on as well: each part says how many rows it has.
    done = run(rows=source, output=output, chunk_rows=400, watch=lambda rows, share: told.append(rows))
    assert (done.rows, done.resumed) == (3_000, 1_500)
    assert told[:3] == [500, 1_000, 1_500]
    assert told[-1] == 3_000
    assert all(0 < later - sooner <= 400 for sooner, later in pairwise(told[2:]))
    expected = models.predict(packed["onnx"].model, ROWS)
    assert _read(output)["prediction"].tolist() == pytest.approx(expected, rel=1e-12)
    assert _left(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from utils import batches
def kill(rows, share):
    if rows >= 2000:
        os.kill(os.getpid(), signal.SIGKILL)
package, source, output = map(Path, sys.argv[1:])
batches.score(package, source, output, chunk_rows=500, watch=kill)
"""


def test_what_was_killed_goes_on_from_its_parts(
    run: Callable[..., Scored], packed: dict[str, Known], source: Path, tmp_path: Path
) -> None:
    words = [str(path) for path in (packed["onnx"].package, source, tmp_path / "scored.parquet")]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "scored.parquet").exists()
    done = run()
    # The last part may have been in the writing.
    assert done.resumed in (1_500, 2_000)
    assert _read(done.output)["prediction"].tolist() == pytest.approx(
        models.predict(packed["onnx"].model, ROWS), rel=1e-12
    )


@pytest.mark.parametrize("what", ["input", "package", "keep"])
def test_other_rows_or_another_package_begin_anew(
    run: Callable[..., Scored], packed: dict[str, Known], source: Path, what: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(watch=_Stop(1_500))
    others: dict[str, Any] = {}
    if what == "input":
        _write(ROWS.assign(bmi=ROWS["bmi"] + 1), source)
    else:
        others = {"package": packed["skops"].package} if what == "package" else {"keep": ["key"]}
    assert run(**others).resumed == 0


def test_a_part_that_is_damaged_is_scored_again(run: Callable[..., Scored], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(watch=_Stop(1_500))
    part = tmp_path / ".scored.parquet.parts" / "00000001.arrow"
    part.write_bytes(part.read_bytes()[:100])
    done = run()
    assert (done.rows, done.resumed) == (3_000, 500)
    assert len(_read(done.output)) == 3_000


def test_two_at_once_are_refused(run: Callable[..., Scored]) -> None:
    def again(rows: int, share: float) -> None:
        with pytest.raises(BatchError, match="is being written by another process"):
            run()

    assert run(watch=again).rows == 3_000


def test_a_refusal_before_the_first_row_leaves_nothing(run: Callable[..., Scored], tmp_path: Path) -> None:
    path = _write(_changed("bmi", None, row=1), tmp_path / "wrong.parquet")
    with pytest.raises(BatchError, match="row 1 "):
        run(rows=path)
    assert _left(tmp_path) == []


# ------------------------------------------------------------------ memory

PEAK = """
import re, sys
from pathlib import Path
from utils import batches
package, source, output = map(Path, sys.argv[1:])
print(batches.score(package, source, output).rows)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_bounded_where_one_row_group_is_the_whole_file(tmp_path: Path) -> None:
    X = mixed_rows(200)[["bmi", "age"]].astype(float)
    X = X.assign(**{f"x{place}": X["bmi"] + place for place in range(14)})
    y = pd.Series(X["bmi"] * 2, name="y")
    save_model(tmp_path / "model", "sklearn.linear_model.Ridge", X, y)
    built = packaging.build(
        tmp_path / "model", tmp_path / "package", name="demo", version="1", golden_rows=X.head(9), lineage={}
    )
    assert built.manifest.format.name == "onnx"
    rows = 2_000_000  # 256 MB of numbers
    column = np.random.default_rng(0).normal(size=rows)
    table = pa.table(dict.fromkeys(X.columns, column))
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=rows, use_dictionary=False)
    words = [str(path) for path in (built.folder, tmp_path / "rows.parquet", tmp_path / "scored.parquet")]
    printed = subprocess.run(
        [sys.executable, "-c", PEAK, *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(printed[0]) == rows
    assert int(printed[1]) * 1024 < 300e6
