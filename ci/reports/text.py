"""Numbers, times and names as a person reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeGuard

MINUS = "−"
_METRICS = {
    "f1": "F1",
    "mean_absolute_error": "MAE",
    "mean_absolute_percentage_error": "MAPE",
    "mean_squared_error": "MSE",
    "root_mean_squared_error": "RMSE",
    "root_mean_squared_log_error": "RMSLE",
}
_ACRONYMS = {"rmse": "RMSE", "mae": "MAE", "mse": "MSE", "auc": "AUC", "roc": "ROC", "r2": "R²"}
# scikit-learn's convention: what ends in _error or _loss is better lower, what ends in _score higher.
_LOWER = ("error", "loss", "deviance", "rmse", "mae", "mse", "mape")
_HIGHER = ("score", "accuracy", "precision", "recall", "f1", "auc", "r2", "kappa", "coef", "corrcoef")


def decimals(values: Iterable[Any], digits: int = 4) -> int:
    """Return how many decimals show the largest of some numbers with so many digits.

    What isn't a finite number is passed over. One count for a whole row of a
    table keeps its numbers comparable at a glance.
    """
    finite = [abs(value) for value in values if is_number(value)]
    largest = max(finite, default=0.0)
    if largest == 0:
        return 0
    return max(0, min(8, digits - 1 - math.floor(math.log10(largest))))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, places: int | None = None, *, sign: bool = False) -> str:
    """Return a number with thousands separated and a real minus sign; "–" for what is none.

    Parameters
    ----------
    value : Any
        What to show.
    places : int, optional
        Decimals; by default as many as four digits need, and none for an integer.
    sign : bool
        Whether a positive number gets a plus sign.
    """
    if not is_number(value):
        return "–"
    if places is None:
        places = 0 if isinstance(value, int) else decimals([value])
    text = f"{value:{'+' if sign else ''},.{places}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def interval(low: Any, high: Any, places: int) -> str:
    """Return "−2.4 to −0.1"."""
    return f"{number(low, places, sign=True)} to {number(high, places, sign=True)}"


def uncertain(value: Any, error: Any) -> str:
    """Return a number with its standard error, to the error's second digit: "55.2 ± 1.1"."""
    places = decimals([error], 2) if is_number(error) and error else decimals([value])
    return f"{number(value, places)} ± {number(error, places)}"


def percent(share: Any) -> str:
    """Return a share of 1 as a percentage, such as "95 %"."""
    return f"{share * 100:.4g} %" if is_number(share) else "–"


def duration(seconds: float | None) -> str:
    """Return a duration, such as "0.4 s", "3 min 05 s", "2 h 10 min"; "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: Any) -> str:
    """Return a number of bytes in the unit that suits it."""
    if not is_number(count):
        return "–"
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def moment(when: datetime | str | None) -> str:
    """Return a time to the minute, such as "23 Nov 2026, 10:15 UTC"; what isn't one stays as it is."""
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            return str(when)
    if when is None:
        return "–"
    return f"{when.day} {when:%b %Y, %H:%M} {when.tzname() or ''}".rstrip()


def day(when: datetime) -> str:
    """Return "23 Nov"."""
    return f"{when.day} {when:%b}"


def short(digest: Any, length: int = 12) -> str:
    """Return the first digits of a digest or commit; words such as "unknown" stay whole."""
    text = str(digest or "").removeprefix("sha256:")
    return text[:length]


def metric_name(name: str) -> str:
    """Return a metric's name in words: "root_mean_squared_error" becomes "RMSE", "max_error" "max error"."""
    name = name.removeprefix("neg_")
    words = name.replace("_", " ").split()
    return _METRICS.get(name) or " ".join(_ACRONYMS.get(word.lower(), word) for word in words)


def metric_direction(name: str) -> str:
    """Return "minimize" or "maximize" by the convention in a metric's name, or "" if it has none."""
    last = name.lower().replace(" ", "_").split("_")[-1]
    if last in _LOWER:
        return "minimize"
    if last in _HIGHER or "auc" in name.lower() or "accuracy" in name.lower():
        return "maximize"
    return ""


def label(name: str) -> str:
    """Return a name from the code as a label: "p90_latency" becomes "P90 latency"."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def value(content: Any, limit: int = 160) -> str:
    """Return any value of a record in one line: numbers plain, structures as JSON, the rest cut short."""
    if content is None:
        return "–"
    if isinstance(content, bool):
        return "yes" if content else "no"
    if isinstance(content, str):
        text = content
    elif isinstance(content, int | float):
        text = f"{content:g}".replace("-", MINUS) if isinstance(content, float) else str(content)
    elif isinstance(content, dict):
        text = ", ".join(f"{key}: {value(item)}" for key, item in content.items()) or "none"
    elif isinstance(content, list) and all(isinstance(item, str | int | float) for item in content):
        text = ", ".join(value(item) for item in content) or "none"
    else:
        text = json.dumps(content, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def count(amount: int, noun: str) -> str:
    """Return "1 row", "2 rows"."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"
