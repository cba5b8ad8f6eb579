"""Trials in words, as terminal, log and report show them."""

from __future__ import annotations

from ci.reports import text
from ci.sweeps.trials import Trial


def described(trial: Trial) -> str:
    """Return a trial's values, and its score if it has one: "alpha 0.1, RMSE 55.2 ± 1.1"."""
    values = ", ".join(f"{name} {text.value(value, 60)}" for name, value in trial.values.items())
    score = trial.score
    if score is None:
        return values
    return f"{values}, {text.metric_name(score.metric)} {text.uncertain(score.mean, score.standard_error)}"
