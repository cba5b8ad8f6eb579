"""Formats: what becomes ONNX answers as scikit-learn does, and what doesn't says why."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from tests.utils.conftest import mixed_rows
from utils import columns, formats, graphs, inference, models, probes
from utils.formats import Converted

ROOT = Path(__file__).resolve().parents[2]
ROWS = mixed_rows(240)
AGE = ROWS["bmi"] + ROWS["age"] / 10 + ROWS["smoker"] * 2
TARGETS: "dict[str, pd.Series[Any]]" = {
    "number": ROWS["bmi"] * 2 + ROWS["age"] + ROWS["smoker"] * 5 + 1,
    "boolean": AGE > 30,
    "text": pd.Series(np.where(AGE > 32, "hoch", np.where(AGE > 28, "mittel", "gering"))),
    "integer": pd.Series(np.where(AGE > 32, 2, np.where(AGE > 28, -1, 0))),
    "whole number": pd.Series(np.where(AGE > 30, 2.0, 1.0)),
}
TARGETS = {name: target.rename("target") for name, target in TARGETS.items()}


def _fitted(
    estimator: str, target: str, X: pd.DataFrame = ROWS, **hyperparameters: Any
) -> tuple[Pipeline, dict[str, Any]]:
    built = models.build(f"sklearn.{estimator}", hyperparameters, X, scale=True)
    model = models.fit(built, X, TARGETS[target])
    return model, models.schema(X, TARGETS[target], model)


def _converted(estimator: str, target: str, X: pd.DataFrame = ROWS, **hyperparameters: Any) -> Converted:
    model, schema = _fitted(estimator, target, X, **hyperparameters)
    return formats.convert(model, schema, X.head(60))


def _ask(content: bytes | None, schema: dict[str, Any], X: pd.DataFrame) -> Any:
    assert content is not None
    return inference.run(inference.session(content), formats.arrays(columns.prepare(X), schema))


# ------------------------------------------------------------------ what becomes ONNX


@pytest.mark.parametrize(
    "estimator",
    [
        "linear_model.Ridge",
        "linear_model.Lasso",
        "linear_model.TweedieRegressor",
        "linear_model.PoissonRegressor",
        "tree.DecisionTreeRegressor",
        "ensemble.RandomForestRegressor",
        "ensemble.GradientBoostingRegressor",
        "ensemble.HistGradientBoostingRegressor",
        "svm.SVR",
        "neural_network.MLPRegressor",
        "gaussian_process.GaussianProcessRegressor",
        "cross_decomposition.PLSRegression",
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_regression_becomes_onnx_and_predicts_the_same(estimator: str) -> None:
    model, schema = _fitted(estimator, "number")
    found = formats.convert(model, schema, ROWS.head(60))
    assert (found.name, found.reason) == (
        "onnx",
        "Its predictions are scikit-learn's on 60 golden and 4,000 random rows within 1e-05 * (1 + |value|).",
    )
    fresh = mixed_rows(500)
    answers = _ask(found.content, schema, fresh)
    assert answers.dtype == np.float64
    assert answers == pytest.approx(models.predict(model, fresh), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("target", ["boolean", "text", "integer", "whole number"])
@pytest.mark.parametrize(
    "estimator",
    [
        "linear_model.LogisticRegression",
        "linear_model.RidgeClassifier",
        "svm.LinearSVC",
        "svm.SVC",
        "tree.DecisionTreeClassifier",
        "ensemble.RandomForestClassifier",
        "ensemble.GradientBoostingClassifier",
        "ensemble.HistGradientBoostingClassifier",
        "naive_bayes.GaussianNB",
        "discriminant_analysis.LinearDiscriminantAnalysis",
    ],
)
def test_a_classification_becomes_onnx_and_gives_the_schemas_own_classes(estimator: str, target: str) -> None:
    model, schema = _fitted(estimator, target)
    found = formats.convert(model, schema, ROWS.head(60))
    assert found.reason == "Its predictions are scikit-learn's on 60 golden and 4,000 random rows."
    answers = _ask(found.content, schema, ROWS).tolist()
    assert answers == models.predict(model, ROWS).tolist()
    assert {type(answer) for answer in answers} == {type(label) for label in schema["output"]["classes"]}


@pytest.mark.parametrize(
    "names",
    [
        ["bmi"],
        ["note"],
        ["smoker"],
        ["region", "note"],
        ["age", "bmi"],
        ["note", "pressure", "region", "age"],
    ],
)
def test_any_columns_in_any_order_become_the_inputs_that_they_need(names: list[str]) -> None:
    X = ROWS[names]
    model, schema = _fitted("linear_model.Ridge", "number", X)
    found = formats.convert(model, schema, X.head(60))
    assert found.content is not None
    inputs = {
        entry.name: (entry.type, entry.shape[1]) for entry in inference.session(found.content).get_inputs()
    }
    texts = [name for name in names if name in ("region", "note")]
    expected = {}
    if len(names) > len(texts):
        expected["numbers"] = ("tensor(double)", len(names) - len(texts))
    if texts:
        expected["texts"] = ("tensor(string)", len(texts))
    assert inputs == expected
    assert _ask(found.content, schema, X) == pytest.approx(models.predict(model, X), rel=1e-12)


def test_missing_values_and_unknown_texts_are_answered_as_scikit_learn_does() -> None:
    model, schema = _fitted("linear_model.Ridge", "number")
    found = formats.convert(model, schema, ROWS.head(60))
    odd = ROWS.head(4).assign(
        pressure=[np.nan, 1e30, -1e30, 0.0],
        region=["never seen", "zürich", unicodedata.normalize("NFD", "Zürich"), "nor\0th"],
        note=pd.Series([None, "", "\U0001f9ea", "a" * 10_000], dtype=object),
    )
    assert _ask(found.content, schema, odd) == pytest.approx(models.predict(model, odd), rel=1e-12)


def test_what_reckons_in_double_precision_is_far_closer_than_the_tolerance() -> None:
    model, schema = _fitted("linear_model.Ridge", "number")
    assert formats.convert(model, schema, ROWS, tolerance=1e-10).name == "onnx"


def test_one_row_and_none_are_answered() -> None:
    model, schema = _fitted("ensemble.HistGradientBoostingRegressor", "number")
    content = formats.convert(model, schema, ROWS).content
    assert _ask(content, schema, ROWS.head(1)).shape == (1,)
    assert _ask(content, schema, ROWS.head(0)).shape == (0,)


def test_converting_leaves_the_model_as_it_was() -> None:
    model, schema = _fitted("linear_model.Ridge", "number")
    before = models.predict(model, ROWS)
    formats.convert(model, schema, ROWS)
    assert models.predict(model, ROWS).tolist() == before.tolist()
    assert model["columns"].transformers_[0][2] == ["smoker"]


SAME = """
import hashlib
import os
from tests.utils.test_formats import _converted
for estimator, target in (("linear_model.Ridge", "number"), ("ensemble.RandomForestClassifier", "text")):
    found = _converted(estimator, target)
    print(hashlib.sha256(found.content).hexdigest(), found.reason)
"""


def test_the_same_model_gives_the_same_bytes_in_any_process() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", SAME],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]


def test_nothing_but_the_prediction_is_in_the_graph() -> None:
    content = _converted("linear_model.LogisticRegression", "text").content
    assert content is not None
    model = onnx.load_model_from_string(content)
    assert [output.name for output in model.graph.output] == ["prediction"]
    assert not {"Softmax", "ZipMap", "Normalizer"} & {node.op_type for node in model.graph.node}
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    assert len(content) < 4_000


# ------------------------------------------------------------------ what doesn't


def test_an_estimator_without_a_converter_stays_skops() -> None:
    found = _converted("dummy.DummyRegressor", "number")
    assert found == Converted("skops", "skl2onnx has no converter for DummyRegressor.")


def test_neighbours_whose_distances_round_otherwise_stay_skops() -> None:
    found = _converted("neighbors.KNeighborsRegressor", "number")
    assert (found.name, found.content) == ("skops", None)
    assert found.reason.startswith("As ONNX, KNeighborsRegressor predicts otherwise in ")
    assert " of 4,060 rows, by up to 0." in found.reason


def test_a_graph_that_needs_operators_beyond_onnx_stays_skops() -> None:
    found = _converted("gaussian_process.GaussianProcessClassifier", "boolean")
    assert found.name == "skops"
    assert "com.microsoft" in found.reason


def test_a_graph_that_onnx_runtime_refuses_stays_skops() -> None:
    found = _converted("neighbors.RadiusNeighborsRegressor", "number", radius=100.0)
    assert found.name == "skops"
    assert "RadiusNeighborsRegressor" in found.reason


def test_a_tolerance_that_single_precision_misses_makes_skops_of_it() -> None:
    model, schema = _fitted("ensemble.RandomForestRegressor", "number")
    found = formats.convert(model, schema, ROWS, tolerance=1e-12)
    assert found.name == "skops"
    assert "predicts otherwise" in found.reason


def test_what_needs_packages_beside_scikit_learn_stays_skops() -> None:
    model, schema = _fitted("linear_model.Ridge", "number")
    trusted = formats.convert(model, {**schema, "trusted": ["lightgbm"]}, ROWS)
    assert trusted == Converted("skops", "Ridge needs packages beside scikit-learn, which ONNX lacks.")


class Own(Ridge):  # type: ignore[misc]
    pass


def test_an_estimator_of_ones_own_stays_skops() -> None:
    model, schema = _fitted("linear_model.Ridge", "number")
    own = Pipeline([("columns", model["columns"]), ("estimator", Own().fit([[1.0]], [1.0]))])
    assert formats.convert(own, schema, ROWS).name == "skops"


def test_a_model_too_large_for_a_graph_stays_skops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST", 1 << 20)
    found = _converted("ensemble.RandomForestRegressor", "number", n_estimators=200)
    assert found.reason == "RandomForestRegressor is larger than 1 MiB, too large for a graph."


def test_a_wrong_graph_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, schema = _fitted("linear_model.Ridge", "number")
    model[-1].coef_ = model[-1].coef_ + 1e-3
    wrong = graphs.build(model, schema, single=False)
    model[-1].coef_ = model[-1].coef_ - 1e-3
    monkeypatch.setattr(graphs, "build", lambda *words, **named: wrong)
    assert "predicts otherwise in " in formats.convert(model, schema, ROWS).reason


# ------------------------------------------------------------------ random rows


def test_random_rows_are_of_the_schema_and_the_same_each_time() -> None:
    _, schema = _fitted("linear_model.Ridge", "number")
    known = columns.prepare(ROWS)
    drawn = probes.rows(known, schema)
    pd.testing.assert_frame_equal(drawn, probes.rows(known, schema))
    assert len(drawn) == probes.ROWS
    assert drawn["age"].dropna().eq(drawn["age"].round()).all()
    assert set(drawn["smoker"]) == {0.0, 1.0}
    assert drawn["pressure"].isna().any()
    assert not drawn[["bmi", "age", "smoker"]].isna().any().any()
    assert {"", "never seen", "a", "A"} <= set(drawn["note"])
    assert "" not in set(drawn["region"])
    assert drawn["bmi"].abs().max() == 1e30
    near = drawn["bmi"][: probes.NEAR]
    assert near.between(ROWS["bmi"].min(), ROWS["bmi"].max()).all()


# ------------------------------------------------------------------ graphs from elsewhere


def _graph(domain: str = "", location: str = "") -> bytes:
    weights = helper.make_tensor("w", TensorProto.DOUBLE, [100], np.arange(100.0))
    if location:
        weights.ClearField("double_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("length", "800")):
            entry = weights.external_data.add()
            entry.key, entry.value = key, value
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["numbers", "w"], ["prediction"], domain=domain)],
        "model",
        [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, [None, 100])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None])],
        [weights],
    )
    opsets = [helper.make_opsetid(name, 18 if not name else 1) for name in {"", domain}]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


def test_a_graph_that_is_whole_is_let_through() -> None:
    graphs.check(_graph())
    ones = {"numbers": np.ones((1, 100))}
    assert inference.run(inference.session(_graph()), ones) == [4950.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_graph(location="weights.bin"), "refers to data outside of its file"),
        (_graph(domain="com.example"), "needs operators of com.example"),
        (b"nothing", "can't be read as ONNX"),
    ],
)
def test_a_graph_that_is_not_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(graphs.GraphError, match=words):
        graphs.check(content)


@pytest.mark.parametrize("location", ["weights.bin", "../secret/weights.bin"])
def test_a_session_reads_no_other_file(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    np.arange(100.0).tofile(tmp_path / "secret" / "weights.bin")
    monkeypatch.chdir(tmp_path / "secret")
    with pytest.raises(Exception, match="External data path"):
        inference.session(_graph(location=location))
