"""Nothing is promoted but what is better beyond doubt; whatever is missing, odd or forged blocks."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from utils.comparison import Difference
from utils.decisions import Decision, Evidence, Policy, decide

RMSE = "root_mean_squared_error"


def _evidence(**changes: Any) -> Evidence:
    challenger = changes.pop("challenger", {RMSE: 53.1})
    opponent = changes.pop("opponent_metrics", {RMSE: 54.4})
    record: dict[str, Any] = {
        "policy": Policy(metric=RMSE),
        "rows": 89,
        "challenger": challenger,
        "opponent": "champion version 3",
        "opponent_metrics": opponent,
        "difference": Difference(estimate=-1.3, low=-2.43, high=-0.11, confidence=0.95, method="bootstrap"),
    }
    return Evidence(**{**record, **changes})


def _difference(estimate: float, low: float, high: float, confidence: float = 0.95) -> Difference:
    return Difference(estimate=estimate, low=low, high=high, confidence=confidence, method="bootstrap")


def _accuracy(**changes: Any) -> Evidence:
    return _evidence(
        policy=Policy(metric="accuracy", thresholds={"log_loss": 0.3}),
        **{
            "challenger": {"accuracy": 0.95, "log_loss": 0.25},
            "opponent_metrics": {"accuracy": 0.91},
            "difference": _difference(0.95 - 0.91, 0.01, 0.07),
            **changes,
        },
    )


def test_a_challenger_that_is_better_beyond_doubt_is_promoted_with_a_sentence() -> None:
    assert decide(_evidence()) == Decision(
        "promote",
        "RMSE 53.1 against 54.4 of champion version 3 on the same 89 rows, "
        "95 % interval of the difference -2.4 to -0.1",
    )
    assert decide(_accuracy()).outcome == "promote"


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(-2.4, 0.1, "not_better"), (-2.4, 0.0, "not_better"), (-2.4, -1e-9, "promote")],
)
def test_the_interval_has_to_exclude_zero_on_the_better_side(low: float, high: float, outcome: str) -> None:
    assert decide(_evidence(difference=_difference(-1.3, low, high))).outcome == outcome


def test_a_worse_challenger_is_not_better_however_sure_that_is() -> None:
    worse = _evidence(
        challenger={RMSE: 54.4}, opponent_metrics={RMSE: 53.1}, difference=_difference(1.3, 0.1, 2.4)
    )
    assert decide(worse).outcome == "not_better"


def test_the_same_model_again_is_not_better() -> None:
    same = _evidence(challenger={RMSE: 54.4}, difference=_difference(0.0, 0.0, 0.0))
    assert decide(same) == Decision(
        "not_better", "RMSE 54.4 against 54.4 of champion version 3 on the same 89 rows: no difference"
    )


@pytest.mark.parametrize(("asked", "outcome"), [(1.2, "promote"), (1.4, "not_better")])
def test_an_improvement_has_to_be_as_large_as_the_policy_asks(asked: float, outcome: str) -> None:
    found = decide(_evidence(policy=Policy(metric=RMSE, minimum_improvement=asked)))
    assert found.outcome == outcome
    assert ("less than the 1.4 asked for" in found.reason) == (outcome == "not_better")


def test_a_missed_threshold_is_not_better_and_named() -> None:
    found = decide(_accuracy(challenger={"accuracy": 0.95, "log_loss": 0.35}))
    assert found == Decision("not_better", "Log loss 0.35 misses the threshold of 0.3 on 89 held-out rows")


def test_a_value_at_the_threshold_is_acceptable() -> None:
    assert decide(_accuracy(challenger={"accuracy": 0.95, "log_loss": 0.3})).outcome == "promote"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "NaN", "53.1", True, [1], "absent"])
@pytest.mark.parametrize("whose", ["challenger", "opponent_metrics"])
def test_a_metric_that_is_no_finite_number_blocks(value: Any, whose: str) -> None:
    found = decide(_evidence(**{whose: {} if value == "absent" else {RMSE: value}}))
    assert found.outcome == "blocked"
    assert "missing or not finite" in found.reason


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_threshold_that_can_not_be_judged_blocks(value: Any) -> None:
    assert decide(_accuracy(challenger={"accuracy": 0.95, "log_loss": value})).outcome == "blocked"
    assert decide(_accuracy(challenger={"accuracy": 0.95})).outcome == "blocked"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"problems": ["The champion can't be read."]}, "The champion can't be read"),
        ({"problems": ["One.", "Two"]}, "One; Two"),
        ({"problems": [""]}, ""),
        ({"rows": 29}, "29 held-out rows are too few"),
        ({"rows": 0}, "too few"),
        ({"rows": -1}, "too few"),
        ({"opponent": ""}, "no opponent"),
        ({"difference": None}, "no interval"),
        ({"difference": _difference(-9.0, -10.0, -8.0)}, "not that of the metrics"),
        ({"difference": _difference(-1.3, -0.1, -2.4)}, "not that of the policy"),
        ({"difference": _difference(-1.3, -2.4, -0.1, confidence=0.5)}, "not that of the policy"),
        ({"policy": Policy(metric=RMSE, direction="maximize")}, "is to minimize, but direction is maximize"),
        ({"policy": Policy(metric="luck")}, "no metric 'luck'"),
        ({"policy": Policy(metric=RMSE, thresholds={"luck": 1.0})}, "luck"),
    ],
)
def test_evidence_that_can_not_be_trusted_blocks_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    found = decide(_evidence(**changes))
    assert found.outcome == "blocked"
    assert reason in found.reason


@pytest.mark.parametrize("name", sorted(Evidence.model_fields))
@pytest.mark.parametrize("value", [None, math.nan, "x", -1, [], {}, object()])
def test_an_unexpected_value_anywhere_never_promotes(name: str, value: Any) -> None:
    harmless = [("problems", None), ("problems", []), ("problems", {}), ("digest", value)]
    if (name, value) in harmless:
        return
    forged = _evidence().model_copy(update={name: value})
    assert decide(forged).outcome == ("promote" if name == "opponent" and value else "blocked")


def test_what_is_no_evidence_at_all_blocks() -> None:
    assert decide(None).outcome == "blocked"  # type: ignore[arg-type]
    assert decide({"outcome": "promote"}).outcome == "blocked"  # type: ignore[arg-type]


@pytest.mark.parametrize("evidence", [_evidence(), _accuracy(), _evidence(challenger={RMSE: math.nan})])
def test_evidence_survives_its_file(evidence: Evidence) -> None:
    text = json.dumps(evidence.model_dump(mode="json"), allow_nan=False)
    again = Evidence.model_validate_json(text)
    assert again == evidence
    assert decide(again) == decide(evidence)


@pytest.mark.parametrize(
    "changes",
    [
        {"minimum_improvement": -1},
        {"minimum_improvement": math.nan},
        {"confidence": 1},
        {"confidence": math.nan},
        {"minimum_rows": 0},
        {"thresholds": {"r2": math.nan}},
        {"direction": "up"},
        {"minimum_improvment": 1},
    ],
)
def test_a_policy_refuses_what_makes_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy(metric=RMSE, **changes)


def test_a_bound_close_to_zero_shows_on_which_side_it_is() -> None:
    found = decide(_evidence(difference=_difference(-1.3, -24.0, -0.004)))
    assert found.reason.endswith("-24 to -0.004")
