"""Models: built from their name, fitted, asked, described, and kept in files that run no code when read."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from utils import columns, files
from utils.columns import ModelError as ModelError
from utils.scoring import trust


def estimator_class(path: str, trusted: Sequence[str] = ()) -> type[BaseEstimator]:
    """Import an estimator's class.

    Parameters
    ----------
    path : str
        Such as "sklearn.linear_model.Ridge".
    trusted : sequence of str
        Packages beside scikit-learn from which it may come, such as "lightgbm".

    Raises
    ------
    ModelError
        If there is no such class, naming the nearest, or if it isn't an estimator that can fit and predict.
    """
    _check_prefixes(trusted)
    module_name, _, name = path.rpartition(".")
    if not trust.below(path, ["sklearn", *trusted]):
        raise ModelError(
            f"The estimator {path!r} is not of scikit-learn: name its package in the parameter trusted, "
            "or take one such as sklearn.linear_model.Ridge."
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(f"The estimator {path!r} can't be imported ({error}): check its path.") from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and hasattr(found, "fit") and hasattr(found, "predict")):
        able = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and hasattr(value, "fit") and hasattr(value, "predict")
        ]
        raise ModelError(
            f"{path!r} is no estimator that can fit and predict{_nearest(name, able, module_name + '.')}."
        )
    return found


def build(
    estimator: str,
    hyperparameters: Mapping[str, Any],
    X: pd.DataFrame,
    *,
    scale: bool = False,
    seed: int = 0,
    trusted: Sequence[str] = (),
    nullable: Collection[str] = (),
) -> Pipeline:
    """Build an unfitted pipeline for a table's columns: "columns" makes numbers of them, "estimator" learns.

    Numbers and booleans go through, standardized if `scale` (booleans aren't); texts are one-hot
    encoded, a text never met before as all zeros. A missing number becomes the median, a missing
    boolean the most frequent, but only in columns that had missing values in `X` or are `nullable`;
    elsewhere `predict` refuses it, as the schema says. skl2onnx can convert every step.

    Parameters
    ----------
    estimator : str
        Import path of a scikit-learn regressor or classifier.
    hyperparameters : mapping
        What its constructor takes.
    X : DataFrame, shape (rows, features)
        The training rows.
    seed : int
        Becomes `random_state` where the estimator has one and `hyperparameters` gives none.
    trusted : sequence of str
        Packages beside scikit-learn from which the estimator may come.
    nullable : collection of str
        Columns in which missing values are to be expected though `X` has none.

    Raises
    ------
    ModelError
        If the estimator or a hyperparameter is unknown, or a column can't be used.
    """
    found = estimator_class(estimator, trusted)
    known = [name for name in inspect.signature(found).parameters if name not in ("args", "kwargs")]
    for name in hyperparameters:
        if name not in known:
            raise ModelError(f"{estimator} has no hyperparameter {name!r}{_nearest(name, known)}.")
    given = dict(hyperparameters)
    if "random_state" in known:
        given.setdefault("random_state", seed)
    try:
        last = found(**given)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{estimator} can't be built ({error}): check its hyperparameters.") from error
    if not (is_regressor(last) or is_classifier(last)):
        raise ModelError(f"{estimator} is neither a regressor nor a classifier: take one of these.")
    return Pipeline(
        [("columns", columns.transformer(X, scale=scale, nullable=nullable)), ("estimator", last)]
    )


def fit(model: Pipeline, X: pd.DataFrame, y: pd.Series[Any]) -> Pipeline:
    """Fit a pipeline of `build` in place and return it.

    Raises
    ------
    ModelError
        If the target has missing values, or the estimator refuses the data or a hyperparameter.
    """
    if y.isna().any():
        raise ModelError(
            f"The target {y.name!r} is missing in {int(y.isna().sum())} training rows: "
            "remove or complete them."
        )
    try:
        model.fit(columns.prepare(X), np.asarray(y))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{type(model[-1]).__name__} can't be fitted: {error}") from error
    return model


# ------------------------------------------------------------------ asking and describing


def _frame(model: Pipeline, X: pd.DataFrame) -> pd.DataFrame:
    names = [str(name) for name in model.feature_names_in_]
    missing = [name for name in names if name not in X.columns]
    if missing:
        raise ModelError(f"The model needs the columns {', '.join(missing)}, which the data doesn't have.")
    frame = columns.prepare(X[names], columns.texts(model["columns"]))
    refused = columns.required(model["columns"])
    empty = [
        name for name in names if name in refused and bool((frame[name].isna() | frame[name].eq("")).any())
    ]
    if empty:
        raise ModelError(
            f"Values are missing in {', '.join(empty)}, where the training rows had none: "
            "complete them, or train with rows that lack them too."
        )
    return frame


def predict(model: Pipeline, X: pd.DataFrame) -> NDArray[Any]:
    """Predict one value or class for each row.

    Returns
    -------
    ndarray, shape (rows,)

    Raises
    ------
    ModelError
        If a column is missing, or has missing values where the schema doesn't allow them.
    """
    return np.asarray(model.predict(_frame(model, X))).reshape(len(X))


def predict_proba(model: Pipeline, X: pd.DataFrame) -> NDArray[np.float64]:
    """Predict the probability of each class, in the order of the schema's classes, shape (rows, classes).

    Raises
    ------
    ModelError
        As `predict` does, and if the estimator gives no probabilities.
    """
    return respond(model, X, ("predict_proba",))[0]


def respond(model: Pipeline, X: pd.DataFrame, methods: Sequence[str]) -> tuple[NDArray[Any], str]:
    """Ask the model by the first of several methods that it has.

    Returns
    -------
    response : ndarray, shape (rows,) or (rows, classes)
    method : str
        Which method gave it.
    """
    for method in methods:
        if hasattr(model, method):
            return np.asarray(getattr(model, method)(_frame(model, X))), method
    raise ModelError(
        f"{type(model[-1]).__name__} can't {' or '.join(methods)}: take another estimator or metric."
    )


def schema(X: pd.DataFrame, y: pd.Series[Any], model: Pipeline) -> dict[str, Any]:
    """Describe what a fitted model takes and gives: the content of schema.json.

    Returns
    -------
    dict
        inputs (list of {name, type, nullable}, in the model's order), output ({name, kind, and
        classes for a classifier}), task ("regression" or "classification").
    """
    required = columns.required(model["columns"])
    inputs = [
        {"name": str(name), "type": columns.kind(X[name]), "nullable": name not in required}
        for name in model.feature_names_in_
    ]
    task = "classification" if is_classifier(model) else "regression"
    output: dict[str, Any] = {"name": str(y.name), "kind": task}
    if task == "classification":
        output["classes"] = model.classes_.tolist()
    return {"task": task, "inputs": inputs, "output": output}


# ------------------------------------------------------------------ files


def save(model: Pipeline, path: Path, trusted: Sequence[str] = ()) -> Path:
    """Write a model with skops, whole or not at all.

    Raises
    ------
    ModelError
        If it holds what skops can't write, or a type that `load` wouldn't trust.
    """
    try:
        data = skops.io.dumps(model)
        trust.check_types(data, trusted)
    except (TypeError, ValueError, trust.TrustError) as error:
        raise ModelError(f"The model can't be saved: {error}") from error
    return files.write_bytes(path, data)


def load(path: Path, trusted: Sequence[str] = ()) -> Pipeline:
    """Read a model, of trusted types only.

    Parameters
    ----------
    trusted : sequence of str
        Packages beside scikit-learn whose types may be built.

    Raises
    ------
    ModelError
        If the file isn't there, isn't a model file, or holds a type that isn't trusted.
    """
    try:
        data = path.read_bytes()
        model = skops.io.loads(data, trusted=trust.check_types(data, trusted))
        trust.check_trees(model)
    except trust.TrustError as error:
        raise ModelError(f"{path} is not read: {error}") from error
    except Exception as error:  # a damaged file fails in as many ways as there are bytes in it
        raise ModelError(f"{path} can't be read as a model ({type(error).__name__}: {error}).") from error
    if not isinstance(model, Pipeline):
        raise ModelError(f"{path} holds a {type(model).__name__}, not a pipeline: train the model again.")
    return model


def _check_prefixes(trusted: Sequence[str]) -> None:
    try:
        trust.check_prefixes(trusted)
    except trust.TrustError as error:
        raise ModelError(str(error)) from error


def _nearest(name: str, known: Collection[str], prefix: str = "") -> str:
    """Return ": did you mean …?" in the words of a refusal, or "" if nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f": the nearest is {prefix}{near[0]}" if near else f": there are {', '.join(sorted(known)[:12])}"
