"""Champion and challenger meet on the same rows; what can't be trusted blocks, nothing forged passes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from utils import comparison, decisions, evaluation, models, training
from utils.decisions import Policy
from utils.evaluation import Champion, Evaluation, EvaluationError, recheck
from utils.training import Trained

RMSE = "root_mean_squared_error"
SPLIT = {
    "method": "content",
    "columns": [],
    "seed": 42,
    "held_out_share": 0.25,
    "time_cutoff": "",
}


class Case:
    """A table of 400 rows, 100 of them held out, and models trained on the others."""

    def __init__(self, classes: list[str] | None = None) -> None:
        random = np.random.default_rng(0)
        self.table = pd.DataFrame(
            {
                "age": random.normal(50, 10, 400),
                "weight": random.normal(70, 8, 400),
                "town": random.choice(["Ulm", "Bonn", "Kiel"], 400),
            }
        )
        value = self.table["age"] + self.table["weight"] + random.normal(0, 3, 400)
        self.y = value.rename("y")
        if classes:
            self.y = pd.Series(np.where(value > 120, classes[1], classes[0]), name="y")
        self.hashes = np.arange(400, dtype=np.uint64)
        self.estimator = "sklearn.linear_model." + ("LogisticRegression" if classes else "Ridge")
        self.strength = "C" if classes else "alpha"

    def train(self, strength: float = 1.0, columns: tuple[str, ...] = ("age", "weight", "town")) -> Trained:
        table, y = self.table.loc[100:, list(columns)], self.y[100:]
        model = models.build(self.estimator, {self.strength: strength}, table, scale=True)
        models.fit(model, table, y)
        return Trained(
            model, models.schema(table, y, model), dict(SPLIT), self.hashes[100:], digest="ab" * 32
        )

    def evaluate(
        self,
        challenger: Trained | Callable[[], Trained] | None = None,
        champion: Trained | Champion | Callable[[], Champion | None] | None = None,
        **changes: Any,
    ) -> Evaluation:
        if isinstance(champion, Trained):
            old = champion
            champion = Champion("3", lambda: old)
        given: dict[str, Any] = {
            "held_out": (self.table[:100], self.y[:100]),
            "row_hashes": self.hashes[:100],
            "training": (self.table[100:], self.y[100:]),
            "split": dict(SPLIT),
            "policy": Policy(metric=RMSE if self.strength == "alpha" else "log_loss"),
        }
        return evaluation.evaluate(challenger or self.train(), champion, **{**given, **changes})


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.fixture
def classified() -> Case:
    return Case(["healthy", "ill"])


def _worse(case: Case) -> Trained:
    return case.train(3_000.0)


# ------------------------------------------------------------------ what is judged


def test_a_better_challenger_is_promoted_with_the_reason_in_a_sentence(case: Case) -> None:
    found = case.evaluate(champion=_worse(case), metrics=["r2", "neg_mean_absolute_error"])
    assert found.outcome == "promote"
    assert found.reason.startswith("RMSE ")
    assert " of champion version 3 on the same 100 rows, 95 % interval of the difference -" in found.reason
    record = found.record()
    assert set(record["challenger"]) == set(record["opponent_metrics"]) == {RMSE, "r2", "mean_absolute_error"}
    assert record["direction"] == "minimize"
    assert record["difference"]["high"] < 0
    assert list(found.predictions) == ["truth", "challenger", "opponent"]


def test_the_same_model_again_is_not_better(case: Case) -> None:
    found = case.evaluate(case.train(), case.train())
    assert found.outcome == "not_better"
    assert found.record()["difference"]["estimate"] == 0
    assert found.segments == []


def test_a_worse_challenger_is_not_better(case: Case) -> None:
    assert case.evaluate(_worse(case), case.train()).outcome == "not_better"


def test_a_first_model_has_to_beat_the_baseline(case: Case, classified: Case) -> None:
    found = case.evaluate()
    assert (found.outcome, found.evidence.opponent) == ("promote", "baseline")
    dull = models.build("sklearn.dummy.DummyRegressor", {}, case.table[100:])
    models.fit(dull, case.table[100:], case.y[100:])
    found = case.evaluate(dataclasses.replace(case.train(), model=dull))
    assert found.outcome == "not_better"
    assert classified.evaluate().outcome == "promote"


@pytest.mark.parametrize("metric", ["roc_auc", "neg_log_loss", "accuracy", "f1"])
def test_a_classifier_of_texts_is_judged_by_any_metric(classified: Case, metric: str) -> None:
    found = classified.evaluate(
        champion=classified.train(0.000_1), policy=Policy(metric=metric, thresholds={"neg_log_loss": 9.0})
    )
    assert found.outcome in ("promote", "not_better")
    assert found.evidence.policy.thresholds == {"log_loss": 9.0}
    assert list(found.predictions)[3:] == ["challenger_score", "opponent_score"]
    assert found.segments


def test_a_further_metric_that_is_undefined_is_none_and_decides_nothing(case: Case) -> None:
    found = case.evaluate(champion=_worse(case), metrics=["roc_auc", "neg_mean_gamma_deviance"])
    assert found.outcome == "promote"
    assert found.evidence.challenger["roc_auc"] is None


def test_segments_tell_where_the_two_differ_most(case: Case) -> None:
    skewed = case.train(columns=("age", "town"))
    found = case.evaluate(champion=dataclasses.replace(skewed, schema=case.train().schema))
    assert any("weight" in each["segment"] for each in found.segments)
    assert len(found.segments) == 5
    differences = [abs(each["challenger"] - each["opponent"]) for each in found.segments]
    assert differences == sorted(differences, reverse=True)
    assert all(each["rows"] >= 10 for each in found.segments)


def test_the_grouping_of_rows_reaches_the_interval(case: Case) -> None:
    found = case.evaluate(champion=_worse(case), groups=pd.Series(np.arange(100) // 5))
    assert "20 groups" in found.record()["difference"]["method"]


# ------------------------------------------------------------------ what blocks


def _unreadable() -> Trained:
    raise models.ModelError("model.skops is damaged")


def _with(trained: Trained, **changes: Any) -> Trained:
    return dataclasses.replace(trained, **changes)


BLOCKING: dict[str, tuple[Callable[[Case], Evaluation], str]] = {
    "unreadable champion": (
        lambda case: case.evaluate(champion=Champion("3", _unreadable)),
        "champion version 3 can't be read (ModelError: model.skops is damaged)",
    ),
    "unreachable registry": (
        lambda case: case.evaluate(champion=lambda: (_ for _ in ()).throw(OSError("no route"))),
        "OSError: no route",
    ),
    "unreadable challenger": (
        lambda case: case.evaluate(_unreadable, _worse(case)),
        "model.skops is damaged",
    ),
    "champion of fewer columns": (
        lambda case: case.evaluate(champion=case.train(columns=("age", "town"))),
        "another input schema: weight (absent there, number here)",
    ),
    "champion of another type": (
        lambda case: case.evaluate(
            champion=_with(
                case.train(),
                schema={
                    **case.train().schema,
                    "inputs": [
                        {"name": name, "type": "string", "nullable": False}
                        for name in ("age", "weight", "town")
                    ],
                },
            )
        ),
        "age (string there, number here), weight (string there, number here)",
    ),
    "champion of another task": (
        lambda case: case.evaluate(champion=Case(["healthy", "ill"]).train()),
        "predicts something else: classification of ['healthy', 'ill'] there, regression here",
    ),
    "champion of another seed": (
        lambda case: case.evaluate(champion=_with(case.train(), split={**SPLIT, "seed": 7})),
        "champion version 3 was trained under another split (seed 7 there, 42 here)",
    ),
    "challenger of another share": (
        lambda case: case.evaluate(_with(case.train(), split={**SPLIT, "held_out_share": 0.5}), _worse(case)),
        "challenger was trained under another split (held_out_share 0.5 there, 0.25 here)",
    ),
    "champion with a damaged split": (
        lambda case: case.evaluate(champion=_with(case.train(), split={})),
        "SplitError",
    ),
    "champion trained on held-out rows": (
        lambda case: case.evaluate(champion=_with(_worse(case), rows=case.hashes[90:])),
        "champion version 3 was trained on 10 of the 100 held-out rows",
    ),
    "challenger trained on held-out rows": (
        lambda case: case.evaluate(_with(case.train(), rows=case.hashes), _worse(case)),
        "challenger was trained on 100 of the 100 held-out rows",
    ),
    "champion of unknown rows": (
        lambda case: case.evaluate(champion=_with(_worse(case), rows=case.hashes[:0])),
        "doesn't say which rows",
    ),
    "too few rows": (
        lambda case: case.evaluate(champion=_worse(case), policy=Policy(metric=RMSE, minimum_rows=101)),
        "100 held-out rows are too few",
    ),
    "no rows at all": (
        lambda case: case.evaluate(
            champion=_worse(case), held_out=(case.table[:0], case.y[:0]), row_hashes=case.hashes[:0]
        ),
        "",
    ),
    "unknown metric": (lambda case: case.evaluate(policy=Policy(metric="rsme")), "There is no metric 'rsme'"),
    "metric of another task": (
        lambda case: case.evaluate(champion=_worse(case), policy=Policy(metric="roc_auc")),
        "Ridge can't decision_function or predict_proba",
    ),
    "contradicting direction": (
        lambda case: case.evaluate(policy=Policy(metric=RMSE, direction="maximize")),
        "is to minimize",
    ),
    "threshold that can't be judged": (
        lambda case: case.evaluate(
            champion=_worse(case), policy=Policy(metric=RMSE, thresholds={"roc_auc": 0.5})
        ),
        "Ridge can't decision_function",
    ),
    "undefined metric": (
        lambda case: case.evaluate(
            champion=_worse(case),
            held_out=(case.table[:100], case.y[:100] * 0 - 1e9),
            policy=Policy(metric="neg_mean_squared_log_error"),
        ),
        "cannot be used when",
    ),
    "missing true values": (
        lambda case: case.evaluate(
            champion=_worse(case), held_out=(case.table[:100], case.y[:100].where(case.y[:100].index > 4))
        ),
        "The target is missing in 5 held-out rows",
    ),
    "missing feature values": (
        lambda case: case.evaluate(
            champion=_worse(case), held_out=(case.table[:100].assign(age=np.nan), case.y[:100])
        ),
        "Values are missing in age",
    ),
    "hashes of other rows": (
        lambda case: case.evaluate(champion=_worse(case), row_hashes=case.hashes[:99]),
        "differ in number",
    ),
    "too few groups": (
        lambda case: case.evaluate(champion=_worse(case), groups=np.arange(100) % 2),
        "2 groups",
    ),
}


@pytest.mark.parametrize("what", BLOCKING)
def test_what_can_not_be_trusted_blocks_with_its_reason(tmp_path: Path, case: Case, what: str) -> None:
    run, reason = BLOCKING[what]
    found = run(case)
    assert found.outcome == "blocked"
    assert reason in found.reason
    path = found.save(tmp_path)
    for claimed in ("promote", "blocked"):
        with pytest.raises(EvaluationError, match="blocked"):
            recheck(path, claimed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None, "53"])
def test_a_metric_that_is_no_finite_number_blocks(
    monkeypatch: pytest.MonkeyPatch, case: Case, value: Any
) -> None:
    monkeypatch.setattr("utils.metrics.Metric.__call__", lambda *_: value)
    assert case.evaluate(champion=_worse(case)).outcome == "blocked"


@pytest.mark.parametrize("name", ["comparison.difference", "segments.differing", "models.predict"])
def test_an_exception_anywhere_blocks_and_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: Case, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(f"utils.{name}", fail)
    found = case.evaluate(champion=_worse(case))
    assert (found.outcome, found.reason) == (
        "blocked",
        "The evaluation failed (ZeroDivisionError: by accident)",
    )
    assert "Traceback" in capsys.readouterr().err


def test_being_interrupted_is_no_outcome(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "difference", interrupt)
    with pytest.raises(KeyboardInterrupt):
        case.evaluate(champion=_worse(case))


def test_an_integer_column_that_became_one_of_numbers_is_the_same_schema(case: Case) -> None:
    old = case.train().schema
    inputs = [{**each, "type": each["type"].replace("number", "integer")} for each in old["inputs"]]
    found = case.evaluate(champion=_with(_worse(case), schema={**old, "inputs": inputs}))
    assert found.outcome == "promote"


# ------------------------------------------------------------------ what may be registered


@pytest.fixture
def promoted(tmp_path: Path, case: Case) -> Path:
    return case.evaluate(champion=_worse(case)).save(tmp_path / "evaluation")


def test_a_promotion_is_confirmed_by_its_evidence(promoted: Path) -> None:
    assert promoted.name == "evaluation.json"
    assert decisions.decide(recheck(promoted, "promote", "ab" * 32)).outcome == "promote"


@pytest.mark.parametrize("outcome", ["not_better", "blocked", "", "PROMOTE", "yes", None, True])
def test_an_outcome_other_than_promote_registers_nothing(promoted: Path, outcome: str) -> None:
    with pytest.raises(EvaluationError, match="only what all of them promote"):
        recheck(promoted, outcome)


def test_an_evaluation_of_another_model_file_registers_nothing(promoted: Path) -> None:
    with pytest.raises(EvaluationError, match="another model file"):
        recheck(promoted, "promote", "cd" * 32)


FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "outcome alone": lambda record: record.update(outcome="not_better"),
    "reason": lambda record: record.update(reason="It is the best"),
    "no evidence": lambda record: record.pop("evidence"),
    "no policy": lambda record: record["evidence"].pop("policy"),
    "metric removed": lambda record: record["evidence"]["challenger"].clear(),
    "metric null": lambda record: record["evidence"]["challenger"].update({RMSE: None}),
    "metric text": lambda record: record["evidence"]["challenger"].update({RMSE: "NaN"}),
    "metric better": lambda record: record["evidence"]["challenger"].update({RMSE: 0.1}),
    "too few rows": lambda record: record["evidence"].update(rows=3),
    "rows text": lambda record: record["evidence"].update(rows="many"),
    "a problem": lambda record: record["evidence"].update(problems=["It was trained on the held-out rows"]),
    "interval around zero": lambda record: record["evidence"]["difference"].update(high=1.0),
    "interval infinite": lambda record: record["evidence"]["difference"].update(low="-inf"),
    "no interval": lambda record: record["evidence"].update(difference=None),
    "another confidence": lambda record: record["evidence"]["policy"].update(confidence=0.5),
    "direction turned": lambda record: record["evidence"]["policy"].update(direction="maximize"),
    "an unknown key": lambda record: record["evidence"].update(trust="me"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_evaluation_registers_nothing(promoted: Path, what: str) -> None:
    record = json.loads(promoted.read_text())
    FORGERIES[what](record)
    promoted.write_text(json.dumps(record))
    with pytest.raises(EvaluationError):
        recheck(promoted, "promote")


def test_a_not_better_evaluation_whose_outcome_was_overwritten_registers_nothing(
    tmp_path: Path, case: Case
) -> None:
    path = case.evaluate(_worse(case), case.train()).save(tmp_path)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "outcome": "promote"}))
    with pytest.raises(EvaluationError, match="its evidence 'not_better'"):
        recheck(path, "promote")


@pytest.mark.parametrize("content", [None, b"", b"[]", b"null", b'{"outcome": "promote"}'])
def test_a_missing_or_damaged_evaluation_registers_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EvaluationError, match=r"can't be read .* evaluate again"):
        recheck(path, "promote")


def test_a_challenger_and_a_champion_read_from_their_folders_are_judged(tmp_path: Path, case: Case) -> None:
    for name, trained in (("new", case.train()), ("old", _worse(case))):
        training.save(trained, tmp_path / name)
    found = case.evaluate(
        lambda: training.load(tmp_path / "new"), Champion("1", lambda: training.load(tmp_path / "old"))
    )
    assert found.outcome == "promote"
    assert len(found.evidence.digest) == 64
