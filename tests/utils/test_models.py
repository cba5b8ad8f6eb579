"""Models are built from names, refuse what they can't use, and come back from their files as they were."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import FunctionTransformer

from utils import columns, models
from utils.models import ModelError

RIDGE = "sklearn.linear_model.Ridge"
LOGISTIC = "sklearn.linear_model.LogisticRegression"


@pytest.fixture
def mixed() -> pd.DataFrame:
    """40 rows with every kind of column, some of them with missing values."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": np.where(np.arange(40) % 7 == 0, np.nan, rng.normal(50, 10, 40)),
            "count": rng.integers(0, 9, 40),
            "member": rng.random(40) > 0.5,
            "asked": pd.array([True, False, None, True] * 10, dtype="boolean"),
            "town": ["Ulm", "Bonn", None, "Kiel"] * 10,
            "grade": pd.Categorical(["a", "b", "a", "c"] * 10),
            "level": pd.Categorical([1, 2, 3, 1] * 10),
        }
    )


@pytest.fixture
def target() -> pd.Series[float]:
    return pd.Series(np.random.default_rng(1).normal(size=40), name="price")


def test_every_kind_of_column_is_learned_from_and_described(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build(RIDGE, {"alpha": 0.5}, mixed, scale=True), mixed, target)
    assert np.isfinite(models.predict(model, mixed)).all()
    described = models.schema(mixed, target, model)
    assert described["output"] == {"name": "price", "kind": "regression"}
    assert described["inputs"] == [
        {"name": "size", "type": "number", "nullable": True},
        {"name": "count", "type": "integer", "nullable": False},
        {"name": "member", "type": "boolean", "nullable": False},
        {"name": "asked", "type": "boolean", "nullable": True},
        {"name": "town", "type": "string", "nullable": True},
        {"name": "grade", "type": "string", "nullable": False},
        {"name": "level", "type": "integer", "nullable": False},
    ]


def test_the_same_rows_give_the_same_answer_however_they_were_read(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    as_json = pd.read_json(io.StringIO(mixed.to_json(orient="records")))
    np.testing.assert_allclose(models.predict(model, as_json), models.predict(model, mixed))


def test_a_text_never_met_before_is_no_error(mixed: pd.DataFrame, target: pd.Series[Any]) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    assert np.isfinite(models.predict(model, mixed.assign(town="Timbuktu"))).all()


@pytest.mark.parametrize(("column", "value"), [("count", np.nan), ("member", None), ("grade", None)])
def test_a_missing_value_is_refused_where_the_training_rows_had_none(
    mixed: pd.DataFrame, target: pd.Series[Any], column: str, value: Any
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    damaged = mixed.assign(**{column: [value, *mixed[column].astype(object).tolist()[1:]]})
    with pytest.raises(ModelError, match=f"missing in {column}"):
        models.predict(model, damaged)


def test_a_column_declared_nullable_takes_missing_values_though_none_were_seen(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed, nullable=["count"]), mixed, target)
    assert np.isfinite(models.predict(model, mixed.assign(count=np.nan))).all()


@pytest.mark.parametrize(("column", "value"), [("town", 1), ("count", "many"), ("member", "yes")])
def test_texts_in_the_place_of_numbers_are_refused_by_name(
    mixed: pd.DataFrame, target: pd.Series[Any], column: str, value: Any
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    with pytest.raises(ModelError, match=f"'{column}' holds"):
        models.predict(model, mixed.assign(**{column: value}))


def test_nothing_but_missing_values_in_a_nullable_column_are_no_error(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    assert np.isfinite(models.predict(model, mixed.assign(town=np.nan, size=None))).all()


def test_a_missing_column_is_named(mixed: pd.DataFrame, target: pd.Series[Any]) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    with pytest.raises(ModelError, match="columns count, town"):
        models.predict(model, mixed.drop(columns=["town", "count"]))


def test_columns_in_another_order_and_further_ones_change_nothing(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    other = mixed[mixed.columns[::-1]].assign(extra="x")
    np.testing.assert_array_equal(models.predict(model, other), models.predict(model, mixed))


def test_a_date_is_refused_by_name(mixed: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="'since' holds datetime64"):
        models.build(RIDGE, {}, mixed.assign(since=pd.Timestamp("2024-01-01")))


def test_no_features_are_refused() -> None:
    with pytest.raises(ModelError, match="no feature columns"):
        models.build(RIDGE, {}, pd.DataFrame(index=range(3)))


def test_a_column_of_nothing_but_missing_values_can_be_built_on(target: pd.Series[Any]) -> None:
    X = pd.DataFrame({"x": np.arange(40.0), "void": np.full(40, np.nan)})
    model = models.fit(models.build(RIDGE, {}, X), X, target)
    assert np.isfinite(models.predict(model, X)).all()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sklearn.linear_model.Rigde", "nearest is sklearn.linear_model.Ridge"),
        ("sklearn.preprocessing.StandardScaler", "no estimator that can fit and predict"),
        ("sklearn.linear_modle.Ridge", "can't be imported"),
        ("os.system", "not of scikit-learn"),
        ("Ridge", "not of scikit-learn"),
        ("sklearn.cluster.KMeans", "neither a regressor nor a classifier"),
        ("sklearn.ensemble.VotingRegressor", "can't be built"),
    ],
)
def test_a_wrong_estimator_is_refused_with_what_to_do(mixed: pd.DataFrame, path: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.build(path, {}, mixed)


def test_a_wrong_hyperparameter_names_the_nearest(mixed: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="no hyperparameter 'alhpa': the nearest is alpha"):
        models.build(RIDGE, {"alhpa": 1}, mixed)


def test_a_bad_value_of_a_hyperparameter_is_refused_when_fitting(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    with pytest.raises(ModelError, match="Ridge can't be fitted: The 'alpha' parameter"):
        models.fit(models.build(RIDGE, {"alpha": "much"}, mixed), mixed, target)


def test_a_missing_target_is_refused(mixed: pd.DataFrame, target: pd.Series[Any]) -> None:
    with pytest.raises(ModelError, match="'price' is missing in 1 training rows"):
        models.fit(models.build(RIDGE, {}, mixed), mixed, target.where(target.index > 0))


def test_the_seed_makes_training_repeatable_and_a_given_random_state_wins(
    mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    path = "sklearn.ensemble.RandomForestRegressor"

    def answer(seed: int, **hyperparameters: int) -> np.ndarray:
        model = models.build(path, {"n_estimators": 5, **hyperparameters}, mixed, seed=seed)
        return models.predict(models.fit(model, mixed, target), mixed)

    assert (answer(1) == answer(1)).all()
    assert (answer(1) != answer(2)).any()
    assert (answer(1, random_state=7) == answer(2, random_state=7)).all()


def test_a_classifier_gives_classes_and_probabilities_in_the_order_of_the_schema(mixed: pd.DataFrame) -> None:
    y = pd.Series(["no", "yes"] * 20, name="bought")
    model = models.fit(models.build(LOGISTIC, {}, mixed, scale=True), mixed, y)
    assert models.schema(mixed, y, model)["output"] == {
        "name": "bought",
        "kind": "classification",
        "classes": ["no", "yes"],
    }
    probabilities = models.predict_proba(model, mixed)
    assert probabilities.shape == (40, 2)
    assert (models.predict(model, mixed) == np.array(["no", "yes"])[probabilities.argmax(axis=1)]).all()


def test_a_regressor_has_no_probabilities(mixed: pd.DataFrame, target: pd.Series[Any]) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    with pytest.raises(ModelError, match="Ridge can't predict_proba"):
        models.predict_proba(model, mixed)


@pytest.mark.parametrize(
    ("path", "hyperparameters"),
    [
        (RIDGE, {}),
        ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 3}),
        ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 3}),
        ("sklearn.ensemble.GradientBoostingRegressor", {"n_estimators": 3}),
        ("sklearn.neighbors.KNeighborsRegressor", {"algorithm": "brute"}),
        ("sklearn.svm.SVR", {}),
        ("sklearn.gaussian_process.GaussianProcessRegressor", {}),
        ("sklearn.dummy.DummyRegressor", {}),
    ],
)
def test_a_model_comes_back_from_its_file_as_it_was(
    tmp_path: Path, mixed: pd.DataFrame, target: pd.Series[Any], path: str, hyperparameters: dict[str, Any]
) -> None:
    model = models.fit(models.build(path, hyperparameters, mixed, scale=True), mixed, target)
    again = models.load(models.save(model, tmp_path / "model" / "model.skops"))
    np.testing.assert_array_equal(models.predict(again, mixed), models.predict(model, mixed))
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["model.skops"]


def test_a_model_that_could_not_be_loaded_is_not_saved(
    tmp_path: Path, mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build("sklearn.neighbors.KNeighborsRegressor", {}, mixed), mixed, target)
    with pytest.raises(ModelError, match=r"sklearn\.neighbors\._kd_tree\.KDTree"):
        models.save(model, tmp_path / "model.skops")
    assert not (tmp_path / "model.skops").exists()
    models.load(models.save(model, tmp_path / "model.skops", ["sklearn"]), ["sklearn"])


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_or_absent_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.skops"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.skops can't be read as a model"):
        models.load(path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    skops.io.dump({"alpha": 1.0}, tmp_path / "model.skops")
    with pytest.raises(ModelError, match="holds a dict, not a pipeline"):
        models.load(tmp_path / "model.skops")


def _rename(path: Path, state: dict[str, object]) -> None:
    """Put a forged part into a saved model: the value of the estimator's first attribute."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(held["schema.json"])
    steps = next(iter(document["content"]["content"].values()))
    steps["content"][0] = state
    held["schema.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("sklearn.datasets._base", "load_files"),
        ("sklearn.datasets._base", "urlretrieve"),
        ("sklearn.utils.fixes", "platform"),
    ],
)
@pytest.mark.parametrize("trusted", [[], ["sklearn"]])
def test_a_forged_file_runs_nothing(
    tmp_path: Path, mixed: pd.DataFrame, target: pd.Series[Any], module: str, name: str, trusted: list[str]
) -> None:
    path = models.save(models.fit(models.build(RIDGE, {}, mixed), mixed, target), tmp_path / "model.skops")
    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []}
    _rename(
        path,
        {
            "__class__": name,
            "__module__": module,
            "__loader__": "ConstructorFromReduceNode",
            "content": arguments,
        },
    )
    with pytest.raises(ModelError, match=f"{module}.{name}"):
        models.load(path, trusted)


def test_a_function_in_a_model_is_refused_when_saving(
    tmp_path: Path, mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.fit(models.build(RIDGE, {}, mixed), mixed, target)
    model.steps.insert(0, ("evil", FunctionTransformer(func=json.loads)))
    with pytest.raises(ModelError, match=r"json\.loads"):
        models.save(model, tmp_path / "model.skops")


def test_a_tree_whose_nodes_point_outside_is_refused(
    tmp_path: Path, mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.build("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 2}, mixed)
    models.fit(model, mixed, target)
    forest: RandomForestRegressor = model[-1]
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"]["feature"][0] = 10**6
    tree.__setstate__(state)
    path = models.save(model, tmp_path / "model.skops")
    with pytest.raises(ModelError, match="damaged decision tree"):
        models.load(path)


def test_a_boosted_tree_with_a_loop_is_refused(
    tmp_path: Path, mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    model = models.build("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 2}, mixed)
    models.fit(model, mixed, target)
    model[-1]._predictors[1][0].nodes["left"][0] = 0
    path = models.save(model, tmp_path / "model.skops")
    with pytest.raises(ModelError, match="damaged decision tree"):
        models.load(path)


@pytest.mark.parametrize("prefix", ["os", "builtins", "", "a b"])
def test_python_itself_is_never_trusted(tmp_path: Path, mixed: pd.DataFrame, prefix: str) -> None:
    with pytest.raises(ModelError, match="trusted names"):
        models.build(RIDGE, {}, mixed, trusted=[prefix])


def test_an_estimator_of_another_package_works_where_the_scenario_trusts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: pd.DataFrame, target: pd.Series[Any]
) -> None:
    (tmp_path / "foreign.py").write_text(
        "import os\nfrom sklearn.linear_model import Ridge\nclass Learner(Ridge):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="name its package in the parameter trusted"):
        models.build("foreign.Learner", {}, mixed)
    model = models.fit(models.build("foreign.Learner", {}, mixed, trusted=["foreign"]), mixed, target)
    with pytest.raises(ModelError, match=r"foreign\.Learner"):
        models.save(model, tmp_path / "model.skops")
    path = models.save(model, tmp_path / "model.skops", ["foreign"])
    with pytest.raises(ModelError, match=r"foreign\.Learner"):
        models.load(path)
    assert models.predict(models.load(path, ["foreign"]), mixed).shape == (40,)


def test_what_is_done_with_each_group_of_columns_is_told_in_words() -> None:
    table = pd.DataFrame(
        {
            "age": [1.0, None, 3.0, 4.0],
            "smoker": [True, False, True, False],
            "town": ["Ulm", "Bonn", "Ulm", None],
        }
    )
    model = models.build("sklearn.linear_model.Ridge", {}, table, scale=True)
    models.fit(model, table, pd.Series([1.0, 2.0, 3.0, 4.0], name="y"))
    told = {each["kind"]: (each["columns"], each["how"]) for each in columns.describe(model["columns"])}
    assert told == {
        "booleans": (["smoker"], "taken as they are"),
        "numbers": (["age"], "missing values replaced by the median, standardized"),
        "texts": (["town"], "one-hot encoded, 3 categories"),
    }
