"""Cross-validation looks at the training rows alone, and keeps together what belongs together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold

from utils import data, models, splits, validation
from utils.data import Snapshot
from utils.validation import ValidationError, cross_validate, parts

Take = Callable[..., Snapshot]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """A function that takes a snapshot of a table."""

    def snapshot(frame: pd.DataFrame, **plan: Any) -> Snapshot:
        return data.take_snapshot(
            frame,
            source="here",
            target="y",
            plan=splits.SplitPlan(**{"held_out_share": 0.2, **plan}),
            run_folder=tmp_path,
        )

    return snapshot


def table(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.normal(size=rows), "b": random.normal(size=rows)})
    frame["kind"] = random.choice(["x", "y"], rows)
    frame["y"] = 3 * frame["a"] - frame["b"] + (frame["kind"] == "x") + random.normal(scale=0.3, size=rows)
    return frame


def folds_of(rows: Snapshot, folds: int = 4, *, classify: bool = False) -> list[tuple[Any, Any]]:
    return list(parts(rows, folds, classify=classify, seed=1))


def scored_once(rows: Snapshot, found: list[tuple[Any, Any]]) -> bool:
    return sorted(np.concatenate([scored for _, scored in found])) == list(range(len(rows.training[1])))


def test_no_folds_are_no_cross_validation(take: Take) -> None:
    rows = take(table())
    found = cross_validate(models.build("sklearn.linear_model.Ridge", {}, rows.training[0]), rows,
                           metric="r2", folds=0, seed=1)  # fmt: skip
    assert found.record() == {}
    assert found.metrics == {}
    assert found.facts() == {"cross-validation": "none: the parameter folds is 0"}


def test_the_score_is_that_of_scikit_learns_own_folds(take: Take) -> None:
    rows = take(table().drop(columns="kind"))
    X, y = rows.training
    found = cross_validate(models.build("sklearn.linear_model.Ridge", {"alpha": 2.0}, X), rows,
                           metric="root_mean_squared_error", folds=5, seed=1)  # fmt: skip
    order = np.argsort(rows.row_hashes[~rows.held_out_rows])
    expected = []
    for learned, scored in KFold(5, shuffle=True, random_state=1).split(order):
        model = Ridge(alpha=2.0).fit(X.iloc[order[learned]], y.iloc[order[learned]])
        expected.append(root_mean_squared_error(y.iloc[order[scored]], model.predict(X.iloc[order[scored]])))
    assert found.values == pytest.approx(expected)
    record = found.record()
    assert (record["metric"], record["direction"]) == ("root_mean_squared_error", "minimize")
    assert record["mean"] == pytest.approx(statistics.fmean(expected))
    assert record["standard_error"] == pytest.approx(statistics.stdev(expected) / math.sqrt(5))
    assert found.metrics["validation_root_mean_squared_error"] == record["mean"]
    assert "5-fold" in found.facts()["how"]


def test_the_held_out_rows_have_no_part_in_it(take: Take) -> None:
    frame = table()
    rows = take(frame)
    changed = frame.copy()
    changed.loc[rows.held_out_rows, "y"] = 1e6
    model = models.build("sklearn.linear_model.Ridge", {}, rows.training[0])
    scores = [
        cross_validate(model, each, metric="r2", folds=3, seed=1).values for each in (rows, take(changed))
    ]
    assert scores[0] == scores[1]


def test_the_model_given_stays_as_it_is(take: Take) -> None:
    rows = take(table())
    model = models.fit(models.build("sklearn.linear_model.Ridge", {}, rows.training[0]), *rows.training)
    before = models.predict(model, rows.training[0])
    cross_validate(model, rows, metric="r2", folds=3, seed=1)
    assert (models.predict(model, rows.training[0]) == before).all()


def test_duplicates_of_a_row_are_in_one_fold(take: Take) -> None:
    frame = pd.concat([table(40)] * 3, ignore_index=True)
    frame["y"] += np.arange(len(frame))  # relabelled, which makes no other row of it
    rows = take(frame)
    hashes = rows.row_hashes[~rows.held_out_rows]
    for classify in (False, True):
        labelled = take(frame.assign(y=(frame["a"] > 0).astype(int))) if classify else rows
        found = folds_of(labelled, classify=classify)
        assert scored_once(labelled, found)
        for learned, scored in found:
            assert not set(hashes[learned]) & set(hashes[scored])


@pytest.mark.parametrize("classify", [False, True])
def test_whole_groups_stay_together(take: Take, classify: bool) -> None:
    frame = table().assign(group=np.arange(200) % 23)
    if classify:
        frame["y"] = (frame["y"] > 0).astype(int)
    rows = take(frame, group="group")
    groups = frame["group"][~rows.held_out_rows].to_numpy()
    found = folds_of(rows, classify=classify)
    assert scored_once(rows, found)
    for learned, scored in found:
        assert not set(groups[learned]) & set(groups[scored])


@pytest.mark.parametrize(
    ("times", "cutoff"),
    [
        ([f"2026-01-{day + 1:02d}" for day in np.random.default_rng(1).integers(0, 28, 200)], "2026-01-25"),
        (list(np.random.default_rng(1).integers(1990, 2020, 200)), "2015"),
    ],
    ids=["dates", "years"],
)
def test_folds_go_forward_in_time(take: Take, times: list[Any], cutoff: str) -> None:
    rows = take(table().assign(when=times), time="when", time_cutoff=cutoff)
    when = rows.frame["when"][~rows.held_out_rows].to_numpy()
    found = folds_of(rows)
    assert len(found) == 4
    for learned, scored in found:
        assert max(when[learned]) < min(when[scored])
    assert max(when[found[-1][1]]) == max(when)


def test_classes_have_the_same_shares_in_every_fold(take: Take) -> None:
    frame = table(300)
    frame["y"] = np.where(np.arange(300) % 10 == 0, "rare", "common")
    rows = take(frame)
    y = rows.training[1].to_numpy()
    share = (y == "rare").mean()
    for _, scored in folds_of(rows, classify=True):
        assert (y[scored] == "rare").mean() == pytest.approx(share, abs=0.02)
    model = models.build("sklearn.linear_model.LogisticRegression", {}, rows.training[0])
    found = cross_validate(model, rows, metric="roc_auc", folds=4, seed=1)
    assert found.record()["direction"] == "maximize"
    assert len(found.values) == 4


def test_missing_values_that_only_some_folds_have_are_no_hindrance(take: Take) -> None:
    frame = table()
    frame.loc[5, "a"] = np.nan
    rows = take(frame, seed=1)
    model = models.build("sklearn.linear_model.Ridge", {}, rows.training[0])
    assert len(cross_validate(model, rows, metric="r2", folds=5, seed=1).values) == 5


def test_what_cant_be_parted_or_scored_is_refused_with_what_to_do(take: Take) -> None:
    few = take(table(6))
    model = models.build("sklearn.linear_model.Ridge", {}, few.training[0])
    with pytest.raises(ValidationError, match="take fewer folds"):
        cross_validate(model, few, metric="r2", folds=20, seed=1)
    with pytest.raises(ValidationError, match="2 or more"):
        cross_validate(model, few, metric="r2", folds=1, seed=1)
    with pytest.raises(ValidationError, match="undefined on fold 1"):
        cross_validate(model, few, metric="r2", folds=len(few.training[1]), seed=1)
    years = take(table().assign(when=np.arange(200) % 3 + 2000), time="when", time_cutoff="2002")
    with pytest.raises(ValidationError, match="take fewer folds"):
        cross_validate(model, years, metric="r2", folds=5, seed=1)


def test_the_seed_chooses_the_folds(take: Take) -> None:
    rows = take(table())
    one, same, other = (list(parts(rows, 3, classify=False, seed=seed)) for seed in (1, 1, 2))
    assert all((a[1] == b[1]).all() for a, b in zip(one, same, strict=True))
    assert any(list(a[1]) != list(b[1]) for a, b in zip(one, other, strict=True))


def test_the_standard_error_is_shown_with_the_mean() -> None:
    from utils import metrics

    found = validation.Validation(metrics.find("r2"), [0.4, 0.5, 0.6], "3-fold")
    assert found.facts()["R²"] == "0.5 ± 0.05774"
