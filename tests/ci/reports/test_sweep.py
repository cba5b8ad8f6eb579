"""The leaderboard of a sweep: usable with four trials and with a thousand, in the report and the summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from bs4 import BeautifulSoup

from ci import reports
from ci.reports import sweep_charts
from ci.runs import Failure, Run
from ci.sweeps.space import Sweep
from ci.sweeps.trials import Trial, Trials

Make = Callable[..., Run]
ALPHAS = (0.01, 0.1, 1, 10)


@pytest.fixture
def sweep(make_run: Make) -> Callable[..., Run]:
    """A function that makes a run whose trials have these values and scores; None for one that failed."""

    def make(found: Sequence[tuple[dict[str, Any], float | None]], verdict: str = "waiting") -> Run:
        names = list(found[0][0])
        run = make_run(verdict)
        run.sweep = Sweep(
            method="optuna",
            trials=len(found),
            parameters={name: [0, 1] for name in names},
            step="train",
            folds=5,
        )
        run.folder.mkdir(parents=True, exist_ok=True)
        trials = Trials(run)
        for number, (values, mean) in enumerate(found, start=1):
            trial = Trial(number=number, values=values, html=f"trials/{number}/notebooks/train.html")
            trial.ended = trial.started
            if mean is None:
                trial.fail(Failure(name="ModelError", message="alpha <must> be above 0"))
            else:
                score = {"metric": "root_mean_squared_error", "direction": "minimize", "mean": mean}
                trial.succeed({"validation": score | {"standard_error": 1.12}})
            trials.keep(trial)
        trials.write_board()
        return run

    return make


def page_of(run: Run) -> BeautifulSoup:
    return BeautifulSoup(reports.write(run, previous=None).read_text(), "html.parser")


def grid(*means: float | None) -> list[tuple[dict[str, Any], float | None]]:
    return [({"alpha": alpha}, mean) for alpha, mean in zip(ALPHAS, means, strict=False)]


def places(drawing: str) -> list[float]:
    return [float(place) for place in re.findall(r'(?:x|cx|x1|x2)="(-?[\d.]+)%"', drawing)]


def test_the_leaderboard_has_rank_values_score_and_a_way_to_each_notebook(sweep: Callable[..., Run]) -> None:
    page = page_of(sweep(grid(57.0, 55.234, 56.0)))
    rows = [
        [cell.get_text(strip=True) for cell in row.select("td, th")]
        for row in page.select("table.leaderboard tbody tr")
    ]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][1].startswith("trial 2")
    assert rows[0][2:4] == ["55.23 ± 1.12", "0.1"]
    links = [link["href"] for link in page.select("table.leaderboard a")]
    assert links == [f"trials/{number}/notebooks/train.html" for number in (2, 3, 1)]
    assert {link["href"] for link in page.select("a[href^='trials/leaderboard']")} == {
        "trials/leaderboard.csv",
        "trials/leaderboard.json",
    }


def test_failed_trials_stand_at_the_end_with_their_reasons(sweep: Callable[..., Run]) -> None:
    page = page_of(sweep(grid(57.0, None, 56.0)))
    tables = page.select("table.leaderboard")
    assert len(tables) == 2
    assert "ModelError: alpha <must> be above 0" in tables[1].get_text()
    assert tables[1].a is not None
    assert tables[1].a["href"] == "trials/2/notebooks/train.html"


def test_it_says_what_the_choice_was_made_by(sweep: Callable[..., Run]) -> None:
    section = page_of(sweep(grid(57.0, 55.0))).select_one("section[aria-labelledby=sweep]")
    assert section is not None
    words = " ".join(section.get_text().split())
    assert "RMSE (lower is better) in 5-fold cross-validation on the training rows" in words
    assert "held-out rows had no part" in words


def test_a_thousand_trials_are_shown_by_their_best_fifty(sweep: Callable[..., Run]) -> None:
    many = [
        ({"alpha": 0.001 * n, "depth": n % 7}, None if n % 50 == 0 else 50 + n / 100) for n in range(1, 1001)
    ]
    run = sweep(many)
    page = page_of(run)
    best, failed = page.select("table.leaderboard")
    assert len(best.select("tbody tr")) == 50
    assert "best 50 of 980" in best.get_text()
    assert len(failed.select("tbody tr")) == 20
    assert (run.folder / "index.html").stat().st_size < 600_000
    assert len((run.folder / "trials" / "leaderboard.csv").read_text().splitlines()) == 1001
    assert len(page.select("svg.trials")) == 2


def test_one_parameter_is_drawn_with_error_bars_and_several_each_by_itself(
    sweep: Callable[..., Run],
) -> None:
    one = page_of(sweep(grid(57.0, 55.0, 56.0, None)))
    assert len(one.select(".error-bar")) == 3
    assert len(one.select("svg.trials .mark-failed")) == 1
    assert len(one.select("svg.trials .mark-released")) == 1
    two = page_of(sweep([({"alpha": 1, "kind": "a"}, 1.0), ({"alpha": 2, "kind": "b"}, 2.0)]))
    drawings = two.select("svg.trials")
    assert [drawing.title.get_text() for drawing in drawings if drawing.title] == [
        "RMSE against alpha",
        "RMSE against kind",
    ]
    assert two.select(".error-bar") == []
    assert "RMSE" in {name.get_text() for name in two.select(".axis-name")}


def test_a_run_without_a_sweep_has_no_leaderboard_and_one_that_has_only_begun_an_empty_one(
    make_run: Make, sweep: Callable[..., Run]
) -> None:
    assert page_of(make_run()).select("#sweep") == []
    run = sweep(grid(57.0), verdict="running")
    (run.folder / "trials" / "leaderboard.json").unlink()
    page = page_of(run)
    assert "0 of 1 trial of train" in " ".join(page.get_text().split())
    assert page.select("table.leaderboard") == []


def test_the_summary_has_the_best_five(sweep: Callable[..., Run]) -> None:
    run = sweep([({"alpha": n, "kind": "a|b"}, 60.0 - n) for n in range(8)])
    reports.write(run, previous=None)
    summary = (run.folder / "summary.md").read_text()
    assert "Sweep: 8 of 8 trials done; the best by RMSE (lower is better)" in summary
    assert "| 1 | 8 | 53.00 ± 1.12 | 7 | a\\|b |" in summary
    assert "| 5 | 4 |" in summary
    assert "| 6 | 3 |" not in summary


@pytest.mark.parametrize(
    "values",
    [
        [1, 1],
        [0, 0.0001, 1e6],
        [1e-9, 1e9],
        [-5, 5],
        [True, False],
        ["<b>", "a" * 60, None],
        [{"a": 1}, [1, 2]],
        [1, "a"],
        list(range(40)),
    ],
    ids=str,
)
@pytest.mark.parametrize("lower_is_better", [True, False])
def test_any_values_stay_within_the_drawing(values: list[Any], lower_is_better: bool) -> None:
    points = [
        sweep_charts.Point({"p": value}, float(10**place), 1.0, "", place == 0)
        for place, value in enumerate(values)
    ]
    drawing = sweep_charts.draw(points, ["p"], metric="RMSE", lower_is_better=lower_is_better)
    assert drawing is not None
    found = places(drawing.panels[0])
    assert found
    assert all(0 <= place <= 100 for place in found)
    assert "<b>" not in drawing.panels[0]


def test_a_few_far_worse_trials_do_not_flatten_the_others() -> None:
    points = [sweep_charts.Point({"p": n}, 50 + n / 10, 0.1, "") for n in range(20)]
    points.append(sweep_charts.Point({"p": 20}, 1e6, 0.1, ""))
    drawing = sweep_charts.draw(points, ["p"], metric="RMSE", lower_is_better=True)
    assert drawing is not None
    assert drawing.beyond == 1
    assert ">51<" in drawing.panels[0]


def test_without_a_score_there_is_nothing_to_draw() -> None:
    points = [sweep_charts.Point({"p": 1}, None, None, "")]
    assert sweep_charts.draw(points, ["p"], metric="RMSE", lower_is_better=True) is None
