"""Columns: what they hold, and how they become the numbers that an estimator learns from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


class ModelError(RuntimeError):
    """A model can't be built, asked, saved or read; the message says why and what to do next."""


def kind(column: pd.Series[Any]) -> str:
    """Tell what a column holds, in the words of schema.json.

    Returns
    -------
    str
        "number", "integer", "boolean" or "string".

    Raises
    ------
    ModelError
        If it is anything else, such as a date; the message names the column.
    """
    values = column.cat.categories.to_series() if isinstance(column.dtype, pd.CategoricalDtype) else column
    found = pd.api.types.infer_dtype(values, skipna=True)
    known = {
        "boolean": "boolean",
        "floating": "number",
        "integer": "integer",
        "integer-na": "integer",
        "mixed-integer-float": "number",
        "decimal": "number",
        "string": "string",
    }
    if found == "empty":  # nothing but missing values, or no rows: then its type says what it is meant for
        return "number" if pd.api.types.is_numeric_dtype(column.dtype) else "string"
    if found not in known:
        raise ModelError(
            f"Column {column.name!r} holds {found} ({column.dtype}), which no step makes numbers of: "
            "replace it by numbers or texts in the data, or leave it out of the features."
        )
    return known[found]


def prepare(X: pd.DataFrame, texts: Collection[str] | None = None) -> pd.DataFrame:
    """Bring a table's columns into the three forms that models are fitted to and asked with.

    Numbers become float64 with NaN where missing, true and false become 1.0 and 0.0, texts become
    str with "" where missing: a text that is missing is a category of its own. The same table
    read from Parquet, CSV or JSON looks the same afterwards.

    Parameters
    ----------
    X : DataFrame, shape (rows, features)
    texts : collection of str, optional
        Which columns a fitted model knows as texts. Found out from the table if not given.

    Raises
    ------
    ModelError
        If a column is none of these, or not what the model knows it as; the message names it.
    """
    return pd.DataFrame(
        {name: _prepared(X[name], None if texts is None else name in texts) for name in X.columns},
        index=X.index,
    )


def _prepared(column: pd.Series[Any], text: bool | None) -> pd.Series[Any]:
    found = kind(column) == "string"
    if text is not None and found != text and column.notna().any():
        raise ModelError(
            f"Column {column.name!r} holds {'texts' if found else 'numbers'} where the model was trained on "
            f"{'texts' if text else 'numbers'}: give it as in training."
        )
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf" and not text:
        return column.astype("float64")
    if found if text is None else text:
        return column.astype(object).where(column.notna(), "")
    # By way of object, as pandas' nullable types, categories of numbers and mixed columns all go that way.
    return column.astype(object).where(column.notna(), float("nan")).astype("float64")


def transformer(X: pd.DataFrame, *, scale: bool, nullable: Collection[str] = ()) -> ColumnTransformer:
    """Choose each column's steps by what it holds; see `utils.models.build` for the rules.

    Raises
    ------
    ModelError
        If there are no columns, or one holds neither numbers, booleans nor texts.
    """
    if X.shape[1] == 0:
        raise ModelError("The data has no feature columns: name at least one beside the target.")
    branches: dict[str, list[str]] = {}
    for name in X.columns:
        group = {"string": "texts", "boolean": "booleans"}.get(kind(X[name]), "numbers")
        missing = group != "texts" and (name in nullable or bool(X[name].isna().any()))
        branches.setdefault(f"{group}_with_missing" if missing else group, []).append(name)
    steps: list[tuple[str, Any, list[str]]] = []
    for group, names in sorted(branches.items()):
        if group == "texts":
            steps.append((group, OneHotEncoder(handle_unknown="ignore", sparse_output=False), names))
            continue
        strategy = "median" if group.startswith("numbers") else "most_frequent"
        chain: list[tuple[str, Any]] = []
        if group.endswith("with_missing"):
            chain.append(("impute", SimpleImputer(strategy=strategy, keep_empty_features=True)))
        if scale and group.startswith("numbers"):
            chain.append(("scale", StandardScaler()))
        steps.append((group, Pipeline(chain) if chain else "passthrough", names))
    return ColumnTransformer(steps)


def describe(fitted: ColumnTransformer) -> list[dict[str, Any]]:
    """Say of a fitted `transformer` what it does with which columns.

    Returns
    -------
    list of dict
        For each group of columns: kind, columns (names) and how (in words).
    """
    found = []
    for group, step, names in fitted.transformers_:
        how = []
        if isinstance(step, OneHotEncoder):
            categories = sum(len(seen) for seen in step.categories_)
            how.append(f"one-hot encoded, {categories} categories")
        elif isinstance(step, Pipeline):
            if "impute" in step.named_steps:
                filler = step["impute"].strategy.replace("most_frequent", "most frequent value")
                how.append(f"missing values replaced by the {filler}")
            if "scale" in step.named_steps:
                how.append("standardized")
        found.append(
            {
                "kind": group.partition("_")[0],
                "columns": list(names),
                "how": ", ".join(how) or "taken as they are",
            }
        )
    return found


def texts(fitted: ColumnTransformer) -> list[str]:
    """Return the columns that a fitted `transformer` takes as texts."""
    return [name for group, _, names in fitted.transformers_ if group == "texts" for name in names]


def required(fitted: ColumnTransformer) -> set[str]:
    """Return the columns that take no missing values, of a fitted `transformer`."""
    found: set[str] = set()
    for group, step, names in fitted.transformers_:
        if group == "texts":
            found |= {
                name for name, seen in zip(names, step.categories_, strict=True) if "" not in seen.tolist()
            }
        elif not group.endswith("with_missing"):
            found |= set(names)
    return found
