"""Scoring: a request is answered rightly, or refused with what is wrong, whichever the model's format."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from utils import models, packaging, project
from utils.packaging import Package
from utils.scoring.scorer import MAX_ROWS, BadRequest, Scorer

GOOD = [24.5, 88.0, 40, True, "north", "a"]


NAMES = ["bmi", "pressure", "age", "smoker", "region", "note"]


@pytest.fixture(scope="module", params=["built", "unconverted"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    """Of a model in ONNX, and of one in scikit-learn's own form."""
    found: Package = request.getfixturevalue(request.param)
    return Scorer(found.folder)


def _request(*rows: Any) -> str:
    return json.dumps({"data": list(rows)})


def _refusal(scorer: Scorer, body: str | bytes) -> tuple[int, str]:
    with pytest.raises(BadRequest) as refused:
        scorer.score(body)
    return refused.value.status, refused.value.message


def _but(**others: Any) -> list[Any]:
    return [others.get(name, value) for name, value in zip(NAMES, GOOD, strict=True)]


# ------------------------------------------------------------------ right answers


def test_rows_are_answered_by_what_the_model_predicts(
    built: Package, regression_folder: Path, rows: pd.DataFrame
) -> None:
    data = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    direct = models.predict(models.load(regression_folder / "model.skops"), rows)
    assert (built.folder / "model.onnx").is_file()
    assert Scorer(built.folder).score(_request(*data)) == pytest.approx(direct.tolist(), rel=1e-9)
    assert Scorer(regression_folder).score(_request(*data)) == pytest.approx(direct.tolist(), rel=1e-12)


def test_a_row_alone_is_answered_as_it_is_among_others(scorer: Scorer) -> None:
    other = _but(bmi=31.25, region="south", note=None)
    alone = scorer.score(_request(GOOD)) + scorer.score(_request(other))
    assert scorer.score(_request(GOOD, other)) == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.array(["low", "high"]), ["high", "low"]),
        (np.array([False, True]), [True, False]),
        (np.array([3, 7]), [7, 3]),
        (np.array([1.0, 2.0]), [2.0, 1.0]),
    ],
)
def test_classes_are_answered_by_their_labels(
    rows: pd.DataFrame, tmp_path: Path, y: Any, expected: list[Any]
) -> None:
    table = rows[["bmi", "age"]]
    target = pd.Series(y[(rows["bmi"] + rows["age"] / 10 > 30).astype(int)], name="risk")
    model = models.fit(models.build("sklearn.tree.DecisionTreeClassifier", {}, table), table, target)
    models.save(model, tmp_path / "model.skops")
    (tmp_path / "schema.json").write_text(json.dumps(models.schema(table, target, model)))
    package = packaging.build(
        tmp_path, tmp_path / "package", name="c", version="1", golden_rows=table.head(4), lineage={}
    )
    for folder in (tmp_path, package.folder):
        answer = Scorer(folder).score(_request([35, 70], [18, 20]))
        assert answer == expected
        assert [type(label) for label in answer] == [type(label) for label in expected]


def test_whole_numbers_may_be_written_either_way(scorer: Scorer) -> None:
    assert scorer.score(_request(_but(age=40))) == scorer.score(_request(_but(age=40.0)))
    assert scorer.score(_request(_but(bmi=25))) == scorer.score(_request(_but(bmi=25.0)))


def test_rows_by_column_name_are_answered_as_those_in_order(scorer: Scorer) -> None:
    other = _but(pressure=None, note=None)
    records = [dict(zip(NAMES, row, strict=True)) for row in (GOOD, other)]
    expected = scorer.score(_request(GOOD, other))
    assert scorer.score(_request(*records)) == expected
    shuffled = [dict(reversed(record.items())) for record in records]
    assert scorer.score(_request(*shuffled)) == expected
    # What may be missing may be left out.
    del records[1]["pressure"], records[1]["note"]
    assert scorer.score(_request(*records)) == expected


def test_of_a_name_that_is_given_twice_the_last_value_counts(scorer: Scorer) -> None:
    twice = (
        '{"data": [[1]], "data": [{"age": 20, ' + json.dumps(dict(zip(NAMES, GOOD, strict=True)))[1:] + "]}"
    )
    assert scorer.score(twice) == scorer.score(_request(GOOD))


def test_an_empty_text_is_a_missing_one_where_it_may_be_missing(scorer: Scorer) -> None:
    assert scorer.score(_request(_but(note=""))) == scorer.score(_request(_but(note=None)))


def test_the_largest_integers_are_taken(scorer: Scorer) -> None:
    assert len(scorer.score(_request(_but(age=2**63 - 1), _but(age=-(2**63))))) == 2


def test_a_word_never_met_before_is_still_answered(scorer: Scorer) -> None:
    assert len(scorer.score(_request(_but(region="東京"), _but(region="\U0001f30d")))) == 2


def test_as_many_rows_as_allowed_are_answered(scorer: Scorer) -> None:
    assert len(scorer.score(_request(*[GOOD] * MAX_ROWS))) == MAX_ROWS


def test_many_threads_at_once_get_the_same_answers(scorer: Scorer) -> None:
    bodies = [_request(_but(bmi=20 + number / 7)) for number in range(40)]
    expected = [scorer.score(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(scorer.score, bodies)) == expected


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "{",
        b"\xff\xfe\xfd",
        '{"data": [[NaN, 88.0, 40, true, "north", "a"]]}',
        '{"data": [[Infinity, 88.0, 40, true, "north", "a"]]}',
        '{"data": [[-Infinity, 88.0, 40, true, "north", "a"]]}',
        "[" * 100_000,
        "[]",
        "null",
        "1",
        '"data"',
        "{}",
        '{"data": null}',
        '{"data": {"bmi": 1}}',
        '{"data": "rows"}',
        '{"rows": [[1]]}',
        '{"data": [[1]], "columns": ["bmi"]}',
    ],
)
def test_a_body_of_another_form_is_a_bad_request(scorer: Scorer, body: str | bytes) -> None:
    status, message = _refusal(scorer, body)
    assert status == 400
    assert message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_but(bmi="25"), ["data[0][0]", "'bmi'", "the string '25'", "must be a number"]),
        (_but(bmi=True), ["'bmi'", "the boolean true", "must be a number"]),
        (_but(bmi=None), ["'bmi'", "null", "must be a number."]),
        (_but(bmi=[1]), ["'bmi'", "the list [1]"]),
        (_but(bmi={"a": 1}), ["'bmi'", "the object"]),
        (_but(bmi=10**400), ["'bmi'", "finite number"]),
        (_but(pressure="high"), ["'pressure'", "must be a number or null"]),
        (_but(age=40.5), ["'age'", "must be an integer"]),
        (_but(age=True), ["'age'", "must be an integer"]),
        (_but(age=2**63), ["'age'", "64 bits"]),
        (_but(age=-(2**63) - 1), ["'age'", "64 bits"]),
        (_but(age=1e300), ["'age'", "64 bits"]),
        (_but(age=None), ["'age'", "must be an integer"]),
        (_but(smoker=1), ["'smoker'", "the number 1", "must be true or false"]),
        (_but(smoker=None), ["'smoker'", "must be true or false"]),
        (_but(region=None), ["'region'", "must be a string"]),
        (_but(region=""), ["'region'", "isn't empty"]),
        (_but(region=3), ["'region'", "must be a string"]),
        (_but(region="\ud800"), ["'region'", "valid Unicode"]),
        (_but(note=False), ["'note'", "must be a string or null"]),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_named(
    scorer: Scorer, row: list[Any], words: list[str]
) -> None:
    status, message = _refusal(scorer, _request(row))
    assert status == 422
    for word in words:
        assert word in message


def test_a_number_that_overflows_is_no_infinity(scorer: Scorer) -> None:
    body = '{"data": [[1e999, 88.0, 40, true, "north", "a"]]}'
    assert _refusal(scorer, body)[0] == 422
    body = '{"data": [[' + "9" * 5000 + ', 88.0, 40, true, "north", "a"]]}'
    assert _refusal(scorer, body)[0] == 422


def test_the_row_at_fault_is_told(scorer: Scorer) -> None:
    _, message = _refusal(scorer, _request(GOOD, GOOD, _but(age="forty")))
    assert "data[2][2] (column 'age')" in message


def test_a_long_value_is_not_echoed_in_full(scorer: Scorer) -> None:
    _, message = _refusal(scorer, _request(_but(bmi="x" * 100_000)))
    assert len(message) < 300


@pytest.mark.parametrize("row", [GOOD[:-1], [*GOOD, 1], []])
def test_another_number_of_columns_is_refused_with_those_expected(scorer: Scorer, row: list[Any]) -> None:
    status, message = _refusal(scorer, _request(GOOD, row))
    assert status == 422
    assert f"data[1] has {len(row)} values" in message
    assert "bmi, pressure, age, smoker, region, note" in message


def test_a_row_that_is_neither_a_list_nor_a_record_is_refused(scorer: Scorer) -> None:
    for row, words in (
        (1, "the number 1"),
        ("a", "the string 'a'"),
        (None, "null"),
    ):
        status, message = _refusal(scorer, _request(row))
        assert status == 422
        assert f"data[0] is {words}: each row" in message


def test_a_record_at_fault_is_told_by_its_row_and_column(scorer: Scorer) -> None:
    good = dict(zip(NAMES, GOOD, strict=True))
    for row, words in (
        ({**good, "age": "forty"}, "data[1] (column 'age') is the string 'forty': it must be an integer."),
        ({**good, "agee": 1}, "data[1] has the column 'agee', which isn't known"),
        ({"bmi": 1}, "data[1] lacks a value for age, smoker, region."),
        (GOOD, "data[1] is the list [24.5, 88.0, 40, True, 'north', 'a'], unlike data[0]"),
    ):
        status, message = _refusal(scorer, _request(good, row))
        assert status == 422
        assert words in message
    assert _refusal(scorer, _request(GOOD, good))[0] == 422


def test_a_prediction_that_is_no_number_is_refused_with_its_row(scorer: Scorer) -> None:
    status, message = _refusal(scorer, _request(GOOD, _but(bmi=1.7e308)))
    assert status == 422
    assert "data[1] can't be scored" in message or "The model refuses these rows" in message


def test_no_rows_and_too_many_rows_are_refused(scorer: Scorer) -> None:
    assert _refusal(scorer, '{"data": []}')[0] == 422
    status, message = _refusal(scorer, _request(*[GOOD] * 1001))
    assert status == 413
    assert "1001 rows" in message


# ------------------------------------------------------------------ models


def test_a_model_of_types_that_nobody_trusts_is_not_loaded(tmp_path: Path, regression_folder: Path) -> None:
    import os

    import skops.io

    skops.io.dump({"a": os.path.join}, tmp_path / "model.skops")
    (tmp_path / "schema.json").write_bytes((regression_folder / "schema.json").read_bytes())
    with pytest.raises(RuntimeError, match="aren't trusted"):
        Scorer(tmp_path)


def test_a_graph_that_is_damaged_or_of_another_schema_is_not_loaded(package: Path) -> None:
    schema = json.loads((package / "schema.json").read_text())
    schema["inputs"] = [column for column in schema["inputs"] if column["type"] != "string"]
    (package / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(ValueError, match="takes numbers, texts, unlike its schema"):
        Scorer(package)
    (package / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="can't be loaded"):
        Scorer(package)


def test_nobody_is_told_that_a_model_was_loaded(built: Package, tmp_path: Path) -> None:
    code = "import sys, pathlib; from utils.scoring.scorer import Scorer; Scorer(pathlib.Path(sys.argv[1]))"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", code, str(built.folder)]
    subprocess.run(words, cwd=project.root(), env=environment, check=True)
    # ONNX Runtime would keep there what it wants to tell.
    assert list(tmp_path.rglob("*onnx*")) == []
