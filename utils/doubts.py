"""Reasons for which a model must not be judged on some rows, or beside another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils import splits
from utils.training import Trained


def about(
    whose: str, trained: Trained, row_hashes: NDArray[np.uint64], split: Mapping[str, Any]
) -> list[str]:
    """Find out whether a model may be judged on these rows.

    Parameters
    ----------
    whose : str
        Which model, in words: "the champion version 3".
    row_hashes : ndarray of uint64, shape (rows,)
        Of the held-out rows.
    split : mapping
        The plan that held them out.

    Returns
    -------
    list of str
        A sentence for each reason against it.
    """
    found = []
    whose = whose[0].upper() + whose[1:]
    if not splits.same(trained.split, split):
        differing = [
            f"{name} {trained.split.get(name)} there, {split.get(name)} here"
            for name in sorted({*trained.split, *split})
            if trained.split.get(name) != split.get(name)
        ]
        found.append(f"{whose} was trained under another split ({'; '.join(differing)})")
    if len(trained.rows) == 0:
        found.append(f"{whose} doesn't say which rows it was trained on")
    seen = int(np.isin(row_hashes, trained.rows).sum())
    if seen:
        found.append(f"{whose} was trained on {seen:,} of the {len(row_hashes):,} held-out rows")
    return found


def between(whose: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Find out whether two models take the same columns and give the same kind of answer.

    Parameters
    ----------
    whose : str
        Which model `old` describes, in words: "champion version 3".
    old, new : mapping
        Two models' schema.json.

    Returns
    -------
    list of str
        A sentence for each difference that forbids to compare them.
    """
    # An integer column becomes one of numbers when a value is missing: that is no other schema.
    first, second = (
        {each["name"]: each["type"].replace("integer", "number") for each in schema["inputs"]}
        for schema in (old, new)
    )
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    said = [
        f"{name} ({first.get(name, 'absent')} there, {second.get(name, 'absent')} here)" for name in names
    ]
    found = [f"The {whose} has another input schema: {', '.join(said)}"] if said else []
    answers = [(schema["output"]["kind"], schema["output"].get("classes")) for schema in (old, new)]
    if answers[0] != answers[1]:
        there, here = (kind if classes is None else f"{kind} of {classes}" for kind, classes in answers)
        found.append(f"The {whose} predicts something else: {there} there, {here} here")
    return found
