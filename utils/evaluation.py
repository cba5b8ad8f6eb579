"""The evaluation: challenger and champion on the same held-out rows, and what comes of it."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from utils import comparison, decisions, doubts, files, models, segments
from utils import metrics as known_metrics
from utils.decisions import Evidence, Policy
from utils.metrics import Metric, MetricError
from utils.training import Trained

FILE = "evaluation.json"
Table = tuple[pd.DataFrame, "pd.Series[Any]"]


class EvaluationError(RuntimeError):
    """An evaluation doesn't allow what was asked for; the message says why."""


@dataclass(frozen=True)
class Champion:
    """The model in production.

    Attributes
    ----------
    version : str
        In the model registry.
    read : callable
        Fetches and returns it, such as ``lambda: training.load(registry.download(…))``.
        What it raises blocks.
    """

    version: str
    read: Callable[[], Trained]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    outcome, reason : str
        promote, not_better or blocked, and why in a sentence.
    evidence : Evidence
        All that the outcome depends on.
    metric : Metric or None
        The one that decides; None if it isn't known.
    segments : list of dict
        Where the two differ most, see `utils.segments.differing`.
    predictions : DataFrame, shape (rows, up to 5)
        truth, challenger, opponent, and for two classes challenger_score and opponent_score (what speaks for
        the last class). Empty if blocked before the models were asked.
    """

    outcome: decisions.Outcome
    reason: str
    evidence: Evidence
    metric: Metric | None = None
    segments: list[segments.Segment] = field(default_factory=list)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)

    def record(self) -> dict[str, Any]:
        """Return the results that the evaluate step hands on, ready for strict JSON."""
        evidence = self.evidence.model_dump(mode="json")
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "metric": self.metric.name if self.metric else self.evidence.policy.metric,
            "direction": self.metric.direction if self.metric else self.evidence.policy.direction,
            "rows": evidence["rows"],
            "challenger": evidence["challenger"],
            "opponent": evidence["opponent"],
            "opponent_metrics": evidence["opponent_metrics"],
            "difference": evidence["difference"] or {},
            "thresholds": evidence["policy"]["thresholds"],
            "segments": self.segments,
        }

    def save(self, folder: Path) -> Path:
        """Write evaluation.json into a folder: the record and the evidence."""
        return files.write_json(
            folder / FILE, {**self.record(), "evidence": self.evidence.model_dump(mode="json")}
        )


def evaluate(
    challenger: Trained | Callable[[], Trained],
    champion: Champion | Callable[[], Champion | None] | None,
    *,
    held_out: Table,
    row_hashes: NDArray[np.uint64],
    training: Table,
    split: Mapping[str, Any],
    policy: Policy,
    metrics: Sequence[str] = (),
    groups: NDArray[Any] | pd.Series[Any] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Judge a challenger beside the champion, or a first one beside a baseline that looks at no feature.

    Parameters
    ----------
    challenger, champion : Trained, Champion, or callables that fetch them
        None for the champion only if it is sure that there is none.
    held_out : (DataFrame, Series)
        The rows to judge on, shape (rows, features), and their true values.
    row_hashes : ndarray of uint64, shape (rows,)
        Of the held-out rows.
    training : (DataFrame, Series)
        The training rows, for the baseline: their mean, or the shares of their classes.
    split : mapping
        The plan that held these rows out, as `utils.splits.describe` gives it.
    metrics : sequence of str
        Further metrics to report; they decide nothing.
    groups : array of shape (rows,), optional
        Which held-out rows belong together, for the interval.
    seed : int
        Of the interval's resamples.

    Returns
    -------
    Evaluation
        Never raises an Exception: whatever goes wrong is a blocked outcome with its reason, and the
        traceback goes to the standard error.
    """
    judged = _Judging(policy, metrics)
    try:
        judged.judge(challenger, champion, held_out, row_hashes, training, split, groups, seed)
    except Exception as error:
        judged.problem(f"The evaluation failed ({_text(error)})", trace=True)
    return judged.conclude()


def predictions(both: Mapping[str, Pipeline], X: pd.DataFrame, y: pd.Series[Any]) -> pd.DataFrame:
    """Ask models for their predictions, for figures.

    Parameters
    ----------
    both : mapping of str to Pipeline
        The models by what they are: "challenger", "opponent".

    Returns
    -------
    DataFrame, shape (rows, 1 + models), or with a score for each model of two classes
        truth; each model's predictions; <model>_score: what speaks for the last class. Classes are
        categorical, in the models' order.
    """
    table = pd.DataFrame({"truth": y.to_numpy()})
    for name, model in both.items():
        table[name] = models.predict(model, X)
    found = [model.classes_.tolist() for model in both.values() if is_classifier(model)]
    if found:
        unknown = sorted(set(table["truth"]) - set(found[0]), key=str)
        table = table.astype(pd.CategoricalDtype([*found[0], *unknown]))
    if found and all(len(classes) == 2 for classes in found):
        scoring = known_metrics.find("roc_auc")
        for name, model in both.items():
            table[f"{name}_score"] = scoring.respond(model, X)
    return table


def recheck(path: Path, outcome: str, digest: str = "") -> Evidence:
    """Make sure that an evaluation allows to register the challenger, by deciding once more.

    Parameters
    ----------
    path : Path
        Its evaluation.json.
    outcome : str
        What was handed on as its outcome.
    digest : str
        The SHA-256 of the model file to be registered; "" to leave that unchecked.

    Raises
    ------
    EvaluationError
        Unless the evidence, the file's outcome and the given one all say promote, for this model.
    """
    try:
        record = files.read_json(path)
        evidence = Evidence.model_validate_json(json.dumps(record["evidence"]))
        recorded, reason = record["outcome"], record["reason"]
    except Exception as error:
        raise EvaluationError(f"{path} can't be read ({_text(error)}): evaluate again.") from error
    again = decisions.decide(evidence)
    if not again.outcome == recorded == outcome == "promote":
        raise EvaluationError(
            f"The outcome is {outcome!r}, {path} says {recorded!r}, and its evidence {again.outcome!r} "
            f"({again.reason}): only what all of them promote is registered."
        )
    if again.reason != reason:
        raise EvaluationError(f"{path} gives another reason than its evidence: evaluate again.")
    if digest and digest != evidence.digest:
        raise EvaluationError(f"{path} is about another model file than the one to register: evaluate again.")
    return evidence


class _Judging:
    """An evaluation in progress: what was found out so far survives what goes wrong later."""

    def __init__(self, policy: Policy, extra: Sequence[str]) -> None:
        self.policy, self.extra = policy, extra
        self.problems: list[str] = []
        self.rows, self.opponent, self.digest = 0, "", ""
        self.metric: Metric | None = None
        self.values: dict[str, dict[str, float | None]] = {"challenger": {}, "opponent": {}}
        self.difference: comparison.Difference | None = None
        self.segments: list[segments.Segment] = []
        self.predictions = pd.DataFrame()

    def problem(self, text: str, trace: bool = False) -> None:
        self.problems.append(text)
        if trace:
            traceback.print_exc(file=sys.stderr)

    def conclude(self) -> Evaluation:
        evidence = Evidence(
            policy=self.policy,
            rows=self.rows,
            challenger=self.values["challenger"],
            opponent=self.opponent,
            opponent_metrics=self.values["opponent"],
            difference=self.difference,
            problems=self.problems,
            digest=self.digest,
        )
        outcome, reason = decisions.decide(evidence)
        return Evaluation(outcome, reason, evidence, self.metric, self.segments, self.predictions)

    def judge(
        self,
        challenger: Trained | Callable[[], Trained],
        champion: Champion | Callable[[], Champion | None] | None,
        held_out: Table,
        row_hashes: NDArray[np.uint64],
        training: Table,
        split: Mapping[str, Any],
        groups: NDArray[Any] | pd.Series[Any] | None,
        seed: int,
    ) -> None:
        X, y = held_out
        self.rows = len(X)
        metric = self.metric = known_metrics.find(self.policy.metric, self.policy.direction)
        self._use_natural_names(metric)
        if not len(X) == len(y) == len(row_hashes):
            raise EvaluationError("The held-out rows, their true values and their hashes differ in number.")
        if y.isna().any():
            raise EvaluationError(f"The target is missing in {int(y.isna().sum())} held-out rows.")
        new = challenger if isinstance(challenger, Trained) else challenger()
        self.digest = new.digest
        self.problems += doubts.about("the challenger", new, row_hashes, split)
        old = self._opponent(champion, new, row_hashes, training, split)
        if old is None or self.problems:
            return
        both = {"challenger": new.model, "opponent": old}
        self.predictions = predictions(both, X, y)
        for name in [*self.policy.thresholds, *self.extra]:
            self._measure(name, both, X, y, decides=name in self.policy.thresholds)
        truth = metric.truth(new.model, y)
        first, second = (metric.respond(model, X) for model in both.values())
        self.values["challenger"][metric.name] = metric(truth, first)
        self.values["opponent"][metric.name] = metric(truth, second)
        if self.rows >= self.policy.minimum_rows and all(
            math.isfinite(values[metric.name] or 0) for values in self.values.values()
        ):
            self.difference = comparison.difference(
                metric,
                truth,
                first,
                second,
                confidence=self.policy.confidence,
                seed=seed,
                groups=None if groups is None else np.asarray(groups),
            )
        self._segment(metric, both, X, y, (truth, first, second))

    def _use_natural_names(self, metric: Metric) -> None:
        natural = {known_metrics.find(name).name: worst for name, worst in self.policy.thresholds.items()}
        self.policy = self.policy.model_copy(update={"metric": metric.name, "thresholds": natural})
        self.extra = [
            name
            for name in dict.fromkeys(known_metrics.find(name).name for name in self.extra)
            if name != metric.name and name not in natural
        ]

    def _opponent(
        self,
        champion: Champion | Callable[[], Champion | None] | None,
        challenger: Trained,
        row_hashes: NDArray[np.uint64],
        training: Table,
        split: Mapping[str, Any],
    ) -> Pipeline | None:
        found = champion() if callable(champion) else champion
        if found is None:
            self.opponent = "baseline"
            dummy = (
                ("DummyClassifier", "prior")
                if is_classifier(challenger.model)
                else ("DummyRegressor", "mean")
            )
            pipeline = models.build(f"sklearn.dummy.{dummy[0]}", {"strategy": dummy[1]}, training[0])
            return models.fit(pipeline, *training)
        self.opponent = f"champion version {found.version}"
        try:
            old = found.read()
            self.problems += doubts.between(self.opponent, old.schema, challenger.schema)
            self.problems += doubts.about(f"the {self.opponent}", old, row_hashes, split)
        except Exception as error:
            self.problem(f"The {self.opponent} can't be read ({_text(error)})", trace=True)
            return None
        return old.model

    def _measure(
        self, name: str, both: Mapping[str, Pipeline], X: pd.DataFrame, y: pd.Series[Any], *, decides: bool
    ) -> None:
        metric = known_metrics.find(name)
        for whose, model in both.items():
            try:
                value = metric(metric.truth(model, y), metric.respond(model, X))
            except (MetricError, models.ModelError) as error:
                value = math.nan
                if decides and whose == "challenger":
                    self.problem(str(error))
            self.values[whose][metric.name] = value if math.isfinite(value) else None

    def _segment(
        self,
        metric: Metric,
        both: Mapping[str, Pipeline],
        X: pd.DataFrame,
        y: pd.Series[Any],
        asked: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    ) -> None:
        if metric.rows(*asked[:2]) is None:  # no mean over rows, so nothing to tell of a few of them
            simple = "zero_one_loss" if is_classifier(both["challenger"]) else "mean_absolute_error"
            metric = known_metrics.find(simple)
            first, second = (metric.respond(model, X) for model in both.values())
            asked = (metric.truth(both["challenger"], y), first, second)
        self.segments = segments.differing(metric, X, *asked)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")
