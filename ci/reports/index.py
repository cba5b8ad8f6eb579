"""The index of all runs: runs/index.html."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ci.reports import charts, comparison, pages, text
from ci.reports import run as report
from ci.reports.comparison import Comparison
from ci.runs import Run
from utils import files, project


@dataclass(frozen=True)
class Line:
    """A run in the table."""

    run: Run
    verdict: pages.Sign
    comparison: Comparison | None
    seconds: float | None
    decided: str


@dataclass(frozen=True)
class Scenario:
    """All runs of a scenario, newest first, with the drawing of their metric if two or more have it."""

    name: str
    metric: str
    direction: str
    history: Markup | None
    lines: list[Line]


def write(runs: list[Run]) -> Path:
    """Write the index into the folder of runs; return its path."""
    newest = sorted(runs, key=lambda run: (run.created, run.id), reverse=True)
    names = list(dict.fromkeys(run.scenario for run in newest))
    page = pages.render(
        "index.html.j2",
        scenarios=[_scenario(name, [run for run in newest if run.scenario == name]) for name in names],
        keys={kind: charts.key(kind) for kind in ("released", "waiting", "other", "opponent")},
        crumbs=[],
    )
    return files.write_text(project.home() / "runs" / "index.html", page)


def _scenario(name: str, runs: list[Run]) -> Scenario:
    lines = [_line(run) for run in runs]
    # Only one metric can share an axis: the newest run's.
    measured = [line.comparison for line in lines if line.comparison and line.comparison.metric]
    metric = measured[0].metric if measured else ""
    direction = measured[0].direction if measured else ""
    drawn = [
        point
        for line in reversed(lines)
        if line.comparison
        and line.comparison.metric == metric
        and (point := _point(line.run, line.comparison))
    ]
    history = None
    if len(drawn) > 1:
        history = charts.history(
            drawn,
            metric=text.label(metric),
            direction=direction,
            name="history-" + re.sub(r"[^a-z0-9]+", "-", name.lower()),
        )
    return Scenario(name, metric, direction, history, lines)


def _line(run: Run) -> Line:
    approval = report.approval(run)
    decided = "" if approval is None else f"{approval['decision']} by {approval['by']}"
    return Line(run, pages.VERDICTS[run.verdict], comparison.of(run), report.seconds(run), decided)


def _point(run: Run, found: Comparison) -> charts.Point | None:
    if found.challenger_value is None:
        return None
    return charts.Point(
        when=text.day(run.created),
        name=f"{run.id}: {found.values}, {pages.VERDICTS[run.verdict].word.lower()}",
        kind=run.verdict if run.verdict in ("released", "waiting") else "other",
        challenger=found.challenger_value,
        opponent=found.opponent_value,
    )
