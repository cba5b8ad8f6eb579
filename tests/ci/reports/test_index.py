from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from ci import reports
from ci.runs import Run

Make = Callable[..., Run]


@pytest.fixture
def history(make_run: Make) -> list[Run]:
    runs = []
    for number, verdict in enumerate(["released", "not_better", "failed", "blocked", "waiting", "running"]):
        run = make_run(verdict, f"run-{number}")
        run.created += timedelta(days=number)
        runs.append(run)
    return runs


def index_of(runs: list[Run]) -> BeautifulSoup:
    return BeautifulSoup(reports.write_index(runs).read_text(), "html.parser")


def test_with_no_runs_yet_the_index_says_how_to_make_one(home: Path) -> None:
    page = index_of([])
    assert "No runs yet" in page.get_text()
    assert "make run" in page.get_text()
    assert (home / "runs" / "index.html").exists()


def test_there_is_one_line_for_each_run_newest_first(history: list[Run]) -> None:
    rows = index_of(history).select("tbody tr")
    assert [row.a["href"] for row in rows if row.a] == [f"run-{n}/index.html" for n in (5, 4, 3, 2, 1, 0)]
    cells = [" ".join(cell.get_text(" ").split()) for cell in rows[5].select("th, td")]
    assert cells == [
        "23 Nov 2026, 10:15 UTC run-0, local",
        "Released",
        "53.12 against 54.42",
        "−1.30 95 % interval −2.41 to −0.12",
        "approved by Ada Byron",
        "24 s",
    ]


def test_runs_without_a_result_have_a_line_but_no_point(history: list[Run]) -> None:
    page = index_of(history)
    assert len(page.select("svg.history g")) == 3
    assert len(page.select("tbody tr")) == 6


def test_released_waiting_and_other_points_have_shapes_of_their_own(history: list[Run]) -> None:
    drawing = index_of(history).select_one("svg.history")
    assert drawing is not None
    marks = [drawing.select(f".mark-{kind}") for kind in ("released", "waiting", "other", "opponent")]
    assert [len(found) for found in marks] == [1, 1, 1, 3]
    assert (marks[0][0].name, marks[1][0].name) == ("circle", "path")


def test_the_drawing_has_a_title_and_a_description(history: list[Run]) -> None:
    drawing = index_of(history).select_one("svg.history[role=img]")
    assert drawing is not None
    assert drawing.title is not None
    assert drawing.title.get_text() == "RMSE, run by run"
    assert "lower is better" in str(drawing.desc)


def test_one_run_alone_is_no_line_to_draw(make_run: Make) -> None:
    assert not index_of([make_run()]).select("svg.history")


def test_each_scenario_has_a_section_of_its_own(make_run: Make) -> None:
    runs = [
        make_run("released", f"r{n}", scenario=name) for n, name in enumerate(["iris", "diabetes", "iris"])
    ]
    page = index_of(runs)
    assert sorted(heading.get_text() for heading in page.select("h2")) == ["diabetes", "iris"]
    assert sorted(len(table.select("tbody tr")) for table in page.select("table")) == [1, 2]


def test_a_run_judged_by_another_metric_is_listed_but_not_drawn_on_the_same_axis(history: list[Run]) -> None:
    history[0].step("evaluate").scraps["metric"] = "mean_absolute_error"
    page = index_of(history)
    assert len(page.select("svg.history g")) == 2
    assert "MAE" in page.select("tbody tr")[-1].get_text()


def test_hostile_names_are_shown_and_never_become_markup(make_run: Make) -> None:
    hostile = "<script>alert(1)</script>"
    page = index_of([make_run("released", f"r{n}", scenario=hostile) for n in range(2)])
    assert not page.select("script")
    assert hostile in page.get_text()
