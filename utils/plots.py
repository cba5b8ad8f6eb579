"""The notebooks' figures: made for a report 800 pixels wide, on white also where the page is dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from utils import columns
from utils.evaluation import Evaluation
from utils.figures import CHALLENGER, GOOD, INK, OPPONENT, QUIET, STYLE, new
from utils.figures import Plot as Plot
from utils.figures import explained as explained
from utils.figures import save as save


def distributions(
    training: tuple[pd.DataFrame, pd.Series[Any]],
    held_out: tuple[pd.DataFrame, pd.Series[Any]],
    most: int = 15,
) -> Plot:
    """Show how the target and the features are distributed in the training and the held-out rows.

    Parameters
    ----------
    training, held_out : (DataFrame, Series)
        Features and target of each side.
    most : int
        How many features at most, in the table's order.
    """
    sides = [pd.concat([y.rename(str(y.name)), X], axis=1) for X, y in (training, held_out)]
    names = list(sides[0].columns[: most + 1])
    share = 100 * len(sides[1]) / max(1, len(sides[0]) + len(sides[1]))
    wide, high = min(4, len(names)), math.ceil(len(names) / 4)
    figure = new(
        f"Target and features: {len(sides[0]):,} training rows, {len(sides[1]):,} held out ({share:.1f} %)",
        1.0 + 1.55 * high,
    )
    with rc_context(STYLE):
        for place, name in enumerate(names):
            axes = figure.add_subplot(high, wide, place + 1)
            _distribution(axes, [side[name] for side in sides])
            target = "" if place else " (target)"
            axes.set_title(
                _short(name, 16) + (target if name != "target" else ""),
                fontsize=9,
                fontweight="bold" if target else "normal",
            )
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            axes.yaxis.set_major_locator(MaxNLocator(3))
            if place % wide == 0:
                axes.set_ylabel("share of rows")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _distribution(axes: Axes, sides: Sequence[pd.Series[Any]]) -> None:
    labels = ("training rows", "held-out rows")
    values = [side.dropna() for side in sides]
    both = pd.concat(values)
    if len(both) and columns.kind(both) != "string" and both.nunique() > 10:
        edges = np.histogram_bin_edges(both.astype("float64"), bins=20)
        shares = [_share(np.histogram(side.astype("float64"), edges)[0]) for side in values]
        axes.stairs(shares[0], edges, fill=True, color=CHALLENGER, alpha=0.35, label=labels[0])
        axes.stairs(shares[1], edges, color=OPPONENT, linewidth=1.4, label=labels[1])
        axes.xaxis.set_major_locator(MaxNLocator(3))
        return
    kept = both.value_counts().index[:6]
    places = np.arange(len(kept))
    shares = [
        _share(side.value_counts().reindex(kept, fill_value=0).to_numpy(), len(side)) for side in values
    ]
    axes.bar(places - 0.2, shares[0], 0.4, color=CHALLENGER, alpha=0.35, label=labels[0])
    axes.bar(places + 0.2, shares[1], 0.4, fill=False, edgecolor=OPPONENT, linewidth=1.4, label=labels[1])
    axes.set_xticks(places, [_short(value, 8) for value in kept])


def predictions(
    table: pd.DataFrame, opponent: str = "", *, target: str = "", rows: str = "held-out rows"
) -> Plot:
    """Show predictions against the truth, challenger and opponent side by side.

    Parameters
    ----------
    table : DataFrame
        What `utils.evaluation.predictions` returns for "challenger", and "opponent" if there is one.
    opponent : str
        Its name in words: "champion version 3".
    target : str
        What is predicted, with its unit if it has one.
    rows : str
        Which rows these are.
    """
    title = f"Predictions against the truth on {len(table):,} {rows}"
    if "challenger" not in table or table.empty:
        return explained("Predictions against the truth", "There are none: the models were not asked.")
    if table.isna().any(axis=None):
        return explained("Predictions against the truth", "There are none to draw: some are not numbers.")
    names = {"opponent": opponent or "opponent", "challenger": "challenger"}
    shown = {key: name for key, name in names.items() if key in table}
    if not isinstance(table["truth"].dtype, pd.CategoricalDtype):
        return _scatter(table, shown, title, target)
    return _classes(table, shown, title, target)


def _scatter(table: pd.DataFrame, shown: Mapping[str, str], title: str, target: str) -> Plot:
    figure = new(title, 4.2)
    values = table[["truth", *shown]].to_numpy(dtype=np.float64)
    low, high = np.nanmin(values), np.nanmax(values)
    pad = 0.04 * (high - low or 1)
    with rc_context(STYLE):
        for place, (key, name) in enumerate(shown.items()):
            axes = figure.add_subplot(1, len(shown), place + 1)
            axes.axline((low, low), slope=1, color=QUIET, linewidth=1, linestyle="--")
            axes.scatter(
                table["truth"], table[key], s=18, alpha=0.6, linewidths=0,
                color=_colour(key), marker="o" if key == "challenger" else "D",
            )  # fmt: skip
            error = sklearn.metrics.root_mean_squared_error(table["truth"], table[key])
            axes.set_title(f"{name[:1].upper()}{name[1:]} (RMSE {error:#.4g})")
            axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
            axes.set_xlabel(f"true {target}".strip() if target else "true value")
            axes.set_ylabel(f"predicted {target}".strip() if target else "predicted value")
    return figure


def _classes(table: pd.DataFrame, shown: Mapping[str, str], title: str, target: str) -> Plot:
    curves = [key for key in shown if f"{key}_score" in table]
    classes = table["truth"].cat.categories.tolist()
    figure = new(title, 3.4 if curves or len(shown) == 2 else 4.2)
    panels = len(shown) + bool(curves)
    with rc_context({**STYLE, "axes.grid": False}):
        for place, (key, name) in enumerate(shown.items()):
            axes = figure.add_subplot(1, panels, place + 1)
            _confusion(axes, table["truth"], table[key], classes, _colour(key))
            axes.set_title(f"{name[:1].upper()}{name[1:]}")
            axes.set(xlabel=f"predicted {target}".strip(), ylabel=f"true {target}".strip())
    if curves:
        with rc_context(STYLE):
            _roc(figure.add_subplot(1, panels, panels), table, {key: shown[key] for key in curves}, classes)
    return figure


def _confusion(
    axes: Axes, truth: pd.Series[Any], given: pd.Series[Any], classes: list[Any], colour: str
) -> None:
    counts = sklearn.metrics.confusion_matrix(truth, given, labels=classes)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    for (row, column), share in np.ndenumerate(shares):
        axes.add_patch(_square(column, row, colour, 0.6 * share))
        if len(classes) <= 8:
            label = f"{counts[row, column]:,}\n{100 * share:.0f} %"
            axes.text(column, row, label, ha="center", va="center")
    ticks, labels = range(len(classes)), [_short(each, 10) for each in classes]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels, rotation=90, va="center")
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")


def _square(x: int, y: int, colour: str, alpha: float) -> Rectangle:
    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, facecolor=(colour, alpha), edgecolor="#D0D0D0")


def _roc(axes: Axes, table: pd.DataFrame, shown: Mapping[str, str], classes: list[Any]) -> None:
    positive = table["truth"] == classes[-1]
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    if positive.nunique() == 2:
        for key, name in shown.items():
            score, line = table[f"{key}_score"], "-" if key == "challenger" else (0, (4, 1.5))
            false, true, _ = sklearn.metrics.roc_curve(positive, score)
            area = sklearn.metrics.roc_auc_score(positive, score)
            label = f"{name}\n(area {area:.4f})"
            axes.plot(false, true, color=_colour(key), linewidth=2, linestyle=line, label=label)
        axes.legend(loc="lower right", fontsize=8)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title="ROC curves")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")


def importances(model: Pipeline, most: int = 20) -> Plot:
    """Show the coefficients of a linear model, or the importances that a tree ensemble knows of itself.

    Parameters
    ----------
    model : Pipeline
        Fitted, as `utils.models.fit` returns it.
    most : int
        How many at most, the largest first.
    """
    last = model[-1]
    names = [str(name).partition("__")[2] for name in model["columns"].get_feature_names_out()]
    if hasattr(last, "coef_") and np.size(last.coef_) == len(names):
        values, what, about = (
            np.ravel(last.coef_),
            "Coefficients",
            "coefficient (per unit of the column as fitted)",
        )
    elif hasattr(last, "coef_") and np.ndim(last.coef_) == 2 and np.shape(last.coef_)[1] == len(names):
        values, what = np.abs(last.coef_).mean(axis=0), "Coefficients"
        about = "size of the coefficient, mean over the classes"
    elif hasattr(last, "feature_importances_"):
        values, what, about = (
            np.ravel(last.feature_importances_),
            "Importances",
            "share of the impurity removed",
        )
    else:
        text = f"{type(last).__name__} knows neither coefficients nor importances."
        return explained("Coefficients or importances", text)
    order = np.argsort(-np.abs(values), kind="stable")[:most][::-1]
    cut = f", the {most} largest of {len(names)}" if len(names) > most else ""
    figure = new(f"{what} of {type(last).__name__}{cut}", 1.2 + 0.24 * len(order))
    with rc_context(STYLE):
        axes = figure.add_subplot()
        axes.barh(np.arange(len(order)), values[order], color=CHALLENGER, height=0.7)
        axes.set_yticks(np.arange(len(order)), [_short(names[place], 28) for place in order])
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(about)
        axes.margins(y=0.02)
    return figure


def difference(evaluation: Evaluation, unit: str = "") -> Plot:
    """Show the difference between challenger and opponent, its interval, and on which side better is.

    Parameters
    ----------
    evaluation : Evaluation
        Also one that is blocked: then the figure says why.
    unit : str
        The metric's unit.
    """
    found, metric = evaluation.evidence.difference, evaluation.metric
    if evaluation.outcome == "blocked" or found is None or metric is None:
        return explained("Difference between challenger and opponent", f"Blocked: {evaluation.reason}.")
    least = evaluation.evidence.policy.minimum_improvement
    figure = new(
        f"{metric.label[:1].upper()}{metric.label[1:]}: challenger minus {evaluation.evidence.opponent}", 2.3
    )
    ends = [0.0, found.low, found.high, found.estimate, -metric.gain(-least) if least else 0.0]
    pad = 0.18 * (max(ends) - min(ends) or 1)
    low, high = min(ends) - pad, max(ends) + pad
    better = (0, high) if metric.direction == "maximize" else (low, 0)
    with rc_context(STYLE):
        axes = figure.add_subplot()
        axes.axvspan(*better, color=GOOD, alpha=0.1, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1.2)
        if least:
            axes.axvline(metric.gain(least), color=GOOD, linewidth=1.2, linestyle=":")
            axes.text(metric.gain(least), -0.9, "asked for", color=GOOD, ha="center", va="bottom", fontsize=8)
        axes.plot(
            [found.low, found.high], [0, 0], color=CHALLENGER, linewidth=5, solid_capstyle="butt", alpha=0.55
        )
        axes.plot(found.estimate, 0, "o", color=CHALLENGER, markersize=11)
        plain = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.5}
        axes.text(
            found.estimate,
            0.3,
            f"{found.estimate:+.3g}",
            ha="center",
            va="bottom",
            fontweight="bold",
            bbox=plain,
        )
        if found.low < found.high:
            for value, side in ((found.low, "right"), (found.high, "left")):
                axes.plot([value, value], [-0.14, 0.14], color=CHALLENGER, linewidth=2)
                axes.text(value, -0.24, f"{value:+.3g}", ha=side, va="top", bbox=plain)
        for place, side in zip(((low + 0) / 2, (0 + high) / 2), _sides(metric.direction), strict=True):
            axes.text(place, 0.97, side, ha="center", va="top", color=QUIET, fontsize=8)
        axes.set(xlim=(low, high), ylim=(-1, 1), yticks=[])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(
            f"difference{f' ({unit})' if unit else ''}, {found.confidence * 100:g} % interval "
            f"by {found.method}, {evaluation.evidence.rows:,} rows"
        )
    return figure


def _sides(direction: str) -> tuple[str, str]:
    better, worse = "challenger better", "challenger worse"
    return (worse, better) if direction == "maximize" else (better, worse)


def latency(milliseconds: Sequence[float] | NDArray[np.float64]) -> Plot:
    """Show how long a service took to answer, with the 50, 90 and 99 % percentiles.

    Parameters
    ----------
    milliseconds : sequence of float, shape (requests,)
    """
    values = np.asarray(milliseconds, dtype=np.float64)
    if values.size == 0:
        return explained("Latency", "No request was measured.")
    figure = new(f"Latency of {values.size:,} requests", 2.9)
    top = float(np.percentile(values, 99.5)) * 1.05
    marks = {share: float(np.percentile(values, share)) for share in (50, 90, 99)}
    with rc_context(STYLE):
        axes = figure.add_subplot()
        edges = np.histogram_bin_edges(
            values[values <= top], bins=min(40, max(8, int(math.sqrt(values.size))))
        )
        axes.hist(values[values <= top], bins=list(edges), color=CHALLENGER, alpha=0.55)
        ceiling = axes.get_ylim()[1]
        for place, (share, value) in enumerate(marks.items()):
            axes.axvline(value, color=OPPONENT, linewidth=1.4, linestyle=["-", "--", ":"][place])
            axes.text(
                value, ceiling * (1.0 - 0.11 * place), f" {share} %: {value:.3g} ms",
                va="top", bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
            )  # fmt: skip
        beyond = int((values > top).sum())
        more = f"; {beyond} slower, up to {values.max():.3g} ms, are not shown" if beyond else ""
        axes.set(xlabel=f"time from request to answer (ms){more}", ylabel="requests")
        axes.margins(x=0.02)
    return figure


def _colour(key: str) -> str:
    return CHALLENGER if key == "challenger" else OPPONENT


def _short(value: object, length: int) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _share(counts: NDArray[Any], total: int | None = None) -> NDArray[np.float64]:
    share: NDArray[np.float64] = counts / max(1, counts.sum() if total is None else total)
    return share
