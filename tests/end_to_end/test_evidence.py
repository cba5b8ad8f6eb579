"""What can't be trusted, from the data to the outcome, registers nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from utils import data, models, training

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.end_to_end

Damage = Callable[["Home"], list[str]]


def demand_nothing_registered(home: Home) -> None:
    newest = home.newest()
    assert newest is not None
    assert newest.version == home.champion() == "1"
    assert home.live("staging") is None


# ------------------------------------------------------------------ what evaluate can't trust


def champions_files(home: Home) -> Path:
    return files_of(home, home.platform.registry.version("diabetes", "1").training_run)


def challengers_files(home: Home) -> Path:
    return files_of(home, str(home.run("better").step("train").scraps["training_run"]))


def files_of(home: Home, training_run: str) -> Path:
    return home.folder / "workspace" / "artifacts" / "diabetes" / training_run / "artifacts" / "model"


def bend(folder: Path, slope: float) -> None:
    """Change a model so that its predictions are no numbers any more."""
    trained = training.load(folder)
    trained.model[-1].coef_ = np.full_like(trained.model[-1].coef_, slope)
    training.save(trained, folder)


def cut_the_champions_file(home: Home) -> list[str]:
    file = champions_files(home) / "model.skops"
    file.write_bytes(file.read_bytes()[:100])
    return []


def give_the_champion_fewer_columns(home: Home) -> list[str]:
    rows = data.open_snapshot(home.file("first"))
    X, y = rows.training
    fewer = X.drop(columns="s6")
    model = models.fit(models.build("sklearn.linear_model.Ridge", {"alpha": 1.0}, fewer), fewer, y)
    hashes = rows.row_hashes[~rows.held_out_rows]
    schema = models.schema(fewer, y, model)
    training.save(training.Trained(model, schema, rows.record["split"], hashes), champions_files(home))
    return []


def let_the_champion_predict_infinity(home: Home) -> list[str]:
    bend(champions_files(home), 1e308)
    return []


def let_the_challenger_predict_no_number(home: Home) -> list[str]:
    bend(challengers_files(home), np.nan)
    return []


def ask_for_a_metric_that_it_lacks(home: Home) -> list[str]:
    return ["-p", "thresholds", "{roc_auc: 0.5}"]


def change_the_snapshot(home: Home) -> list[str]:
    file = home.file("better", "data", "snapshot.parquet")
    rows = pd.read_parquet(file)
    rows["age"] += 1
    rows.to_parquet(file)
    return []


def test_too_few_rows_block_a_better_model(blocked: Home) -> None:
    run = blocked.run("better")
    assert run.verdict == "blocked"
    assert run.step("evaluate").state == "failed"
    assert "97 held-out rows are too few to decide by: the policy asks for 100,000" in blocked.output
    assert {step.state for step in run.steps[3:]} == {"pending"}
    demand_nothing_registered(blocked)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_the_champions_file, "The champion version 1 can't be read"),
        (give_the_champion_fewer_columns, "another input schema: s6 (absent there, number here)"),
        (let_the_champion_predict_infinity, "not finite"),
        (let_the_challenger_predict_no_number, "NaN"),
        (ask_for_a_metric_that_it_lacks, "Ridge can't decision_function or predict_proba"),
        (change_the_snapshot, "snapshot"),
    ],
)
def test_a_better_model_is_not_promoted_on_evidence_that_cannot_be_trusted(
    blocked: Home, copied: Callable[[Home], Home], damage: Damage, reason: str
) -> None:
    home = copied(blocked)
    said = home.call("resume", "better", "-p", "minimum_rows", "30", *damage(home), code=1)
    run = home.run("better")
    assert run.verdict in ("blocked", "failed")
    assert reason in run.step("evaluate").reason
    assert reason in said
    assert run.step("evaluate").state == "failed"
    assert run.step("evaluate").attempts == 2
    assert {step.state for step in run.steps[3:]} == {"pending"}
    demand_nothing_registered(home)


# ------------------------------------------------------------------ forged outcomes


def forge_the_record(home: Home) -> None:
    """Let run.json say that evaluate has promoted, and that the steps after it are still to come."""
    record = json.loads(home.file("again", "run.json").read_text())
    record["steps"][2]["scraps"]["outcome"] = "promote"
    for step in record["steps"][3:]:
        step |= {"state": "pending", "reason": ""}
    home.edit("again", "run.json", **record)


def forge_the_evaluation(home: Home) -> None:
    """Let evaluation.json say so too, beside evidence that says otherwise."""
    forge_the_record(home)
    home.edit("again", "evaluation/evaluation.json", outcome="promote")


@pytest.mark.parametrize("forge", [forge_the_record, forge_the_evaluation])
def test_a_forged_outcome_is_found_out_when_it_shall_be_registered(
    again: Home, copied: Callable[[Home], Home], forge: Callable[[Home], None]
) -> None:
    home = copied(again)
    forge(home)
    said = home.call("resume", "again", code=1)
    assert "only what all of them promote is registered" in said
    assert home.states("again")["register"] == "failed"
    assert home.states("again")["package"] == "pending"
    demand_nothing_registered(home)


def test_an_outcome_given_on_the_command_line_is_not_the_evaluations(
    again: Home, copied: Callable[[Home], Home]
) -> None:
    home = copied(again)
    home.call("resume", "again", "-p", "outcome", "promote")
    assert home.run("again").verdict == "not_better"
    assert home.states("again")["register"] == "skipped"
    demand_nothing_registered(home)


# ------------------------------------------------------------------ the rows


def test_on_grown_data_the_champion_meets_no_row_that_it_was_trained_on(
    released: Home, copied: Callable[[Home], Home], tmp_path: Path
) -> None:
    home = copied(released)
    old = data.load("sklearn:diabetes", "target")
    generator = np.random.default_rng(0)
    new = old.sample(200, random_state=0)
    measured = new.columns.drop(["sex", "target"])
    new[measured] += generator.normal(0, 0.02, (len(new), len(measured))) * new[measured].std().to_numpy()
    grown = pd.concat([new, old]).sample(frac=1, random_state=1)
    grown.to_csv(tmp_path / "grown.csv", index=False)

    home.call("run", "--run-id", "grown", "-p", "data", str(tmp_path / "grown.csv"), "--until", "evaluate")
    evaluated = home.run("grown").step("evaluate")
    assert evaluated.state == "succeeded"
    assert evaluated.scraps["opponent"] == "champion version 1"

    before, after = data.open_snapshot(home.file("first")), data.open_snapshot(home.file("grown"))
    assert len(after.row_hashes) == 642
    held_out = set(after.row_hashes[after.held_out_rows])
    assert evaluated.scraps["rows"] == int(after.held_out_rows.sum()) > int(before.held_out_rows.sum())
    assert set(before.row_hashes[before.held_out_rows]) < held_out
    assert not held_out & set(training.load(champions_files(home)).rows)


def test_a_champion_trained_under_another_seed_is_no_opponent(
    released: Home, copied: Callable[[Home], Home]
) -> None:
    home = copied(released)
    said = home.call("run", "--run-id", "reseeded", "-p", "seed", "7", code=1)
    run = home.run("reseeded")
    assert run.verdict == "blocked"
    assert "The champion version 1 was trained under another split (seed 42 there, 7 here)" in run.reason
    assert run.reason in said
    assert run.reason in home.file("reseeded", "summary.md").read_text()
    demand_nothing_registered(home)


@pytest.mark.parametrize(
    ("file", "check"),
    [("schema", "schema"), ("missing", "missing values"), ("distribution", "distribution")],
)
def test_damaged_data_stops_the_run_in_setup_and_its_report_says_what_is_wrong(
    released: Home, copied: Callable[[Home], Home], file: str, check: str
) -> None:
    home = copied(released)
    home.call("run", "--run-id", "damaged", "-p", "data", f"tests/data/diabetes_{file}.csv", code=1)
    run = home.run("damaged")
    assert run.verdict == "failed"
    assert run.step("setup").state == "failed"
    assert {step.state for step in run.steps[1:]} == {"pending"}
    failed = {found["check"] for found in run.step("setup").scraps["sanity"] if not found["passed"]}
    assert failed == {check}
    page = home.file("damaged", "index.html").read_text()
    for found in run.step("setup").scraps["sanity"]:
        if not found["passed"]:
            assert found["column"] in page
    demand_nothing_registered(home)
