import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from ci import reports
from ci.remote.job import Job
from ci.runs import Failure, Parameter, Run

VERDICTS = ["released", "waiting", "not_better", "blocked", "rejected", "failed", "stopped", "running"]
WORDS = {
    "released": "Released",
    "waiting": "Waiting for approval",
    "not_better": "Not better",
    "blocked": "Blocked",
    "rejected": "Rejected",
    "failed": "Failed",
    "stopped": "Stopped",
    "running": "Running",
}
Make = Callable[..., Run]


def page_of(run: Run, previous: Run | None = None) -> BeautifulSoup:
    return BeautifulSoup(reports.write(run, previous=previous).read_text(), "html.parser")


def section(page: BeautifulSoup, name: str) -> str:
    return words(page.select_one(f"section[aria-labelledby={name}]"))


def words(element: Tag | None) -> str:
    assert element is not None
    return " ".join(element.get_text(" ").split())


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_comes_first_in_a_word_with_a_symbol_and_its_reason(make_run: Make, verdict: str) -> None:
    run = make_run(verdict)
    page = page_of(run)
    heading = page.h1
    assert words(heading).startswith(WORDS[verdict])
    assert run.reason in words(heading)
    assert heading is not None
    assert heading.select_one("svg use") is not None
    assert words(page.title).startswith(WORDS[verdict])


@pytest.mark.parametrize(
    ("verdict", "commands"),
    [
        ("waiting", ["python -m ci approve it", 'python -m ci reject it --comment "…"']),
        ("released", ["python -m ci status it"]),
        ("not_better", ["python -m ci run --scenario diabetes -p NAME VALUE"]),
        ("blocked", ["python -m ci resume it"]),
        ("failed", ["python -m ci resume it"]),
        ("stopped", ["python -m ci resume it"]),
        ("rejected", ["python -m ci run --scenario diabetes"]),
        ("running", ["python -m ci status it"]),
    ],
)
def test_each_verdict_says_what_to_do_next_by_its_exact_command(
    make_run: Make, verdict: str, commands: list[str]
) -> None:
    page = page_of(make_run(verdict, "it"))
    assert [words(code) for code in page.select("section[aria-labelledby=next] pre code")] == commands


def test_the_first_screen_of_a_waiting_run_asks_the_question_and_gives_the_command(make_run: Make) -> None:
    hero = words(page_of(make_run("waiting", "it")).select_one(".hero"))
    assert "Shall this model replace champion version 3?" in hero
    assert "python -m ci approve it" in hero
    assert "Decided by nobody yet" in hero


def test_an_approval_names_who_when_why_and_the_package(make_run: Make) -> None:
    hero = words(page_of(make_run("released")).select_one(".hero"))
    assert "Approved by Ada Byron , 23 Nov 2026, 10:31 UTC, for package 9f2c41d07be3" in hero
    assert "better where it matters: high BMI" in hero
    assert "of the requests" not in hero


def test_an_approval_for_a_share_says_so(make_run: Make) -> None:
    run = make_run("released")
    assert run.approval is not None
    run.approval |= {"traffic": 10}
    hero = words(page_of(run).select_one(".hero"))
    assert "for package 9f2c41d07be3 , for 10 % of the requests until it was tested" in hero


def test_uncommitted_changes_are_flagged_beside_the_commit(make_run: Make) -> None:
    assert "uncommitted changes" not in words(page_of(make_run()).select_one(".hero"))
    assert "uncommitted changes" in words(page_of(make_run(dirty=True)).select_one(".hero"))


def test_the_better_value_of_each_metric_is_marked_whichever_direction_is_good(make_run: Make) -> None:
    page = page_of(make_run())
    rows = {words(row.th): row.select("td") for row in page.select("section table")[0].select("tbody tr")}
    better = {
        name: [("better" in (cell.get("class") or [])) for cell in cells] for name, cells in rows.items()
    }
    assert better == {
        "RMSE lower is better; at most 60.00 demanded": [True, False, False],
        "MAE lower is better": [True, False, False],
        "R² higher is better": [True, False, False],
        "max error lower is better": [False, True, False],
    }
    assert words(rows["MAE lower is better"][0]) == "better: 42.80"


def test_a_metric_whose_direction_nobody_knows_marks_neither_side(make_run: Make) -> None:
    run = make_run()
    run.step("evaluate").scraps["challenger"]["churn"] = 1.0
    run.step("evaluate").scraps["opponent_metrics"]["churn"] = 2.0
    row = next(row for row in page_of(run).select("tbody tr") if words(row.th) == "churn")
    assert not row.select(".better")


def test_the_interval_is_drawn_and_told_with_zero_direction_and_the_improvement_asked_for(
    make_run: Make,
) -> None:
    page = page_of(make_run())
    drawing = page.select_one("svg.difference")
    assert drawing is not None
    assert drawing["role"] == "img"
    assert words(drawing.desc) == (
        "The difference in RMSE, challenger minus champion version 3, is −1.30 with a 95 % interval "
        "from −2.41 to −0.12. Below zero the challenger is better. The scenario asks for −0.10 or better."
    )
    assert {"zero", "needed", "interval", "estimate"} <= {
        c for t in drawing.select("[class]") for c in t["class"]
    }
    assert "← challenger better" in words(drawing)


def test_where_higher_is_better_the_good_side_is_on_the_right(make_run: Make) -> None:
    run = make_run()
    run.step("evaluate").scraps |= {"metric": "roc_auc", "direction": "maximize"}
    drawing = page_of(run).select_one("svg.difference")
    assert "challenger better →" in words(drawing)
    assert "Above zero the challenger is better" in words(drawing)


def test_a_first_model_is_compared_with_the_baseline(make_run: Make) -> None:
    run = make_run()
    run.step("evaluate").scraps["opponent"] = "baseline"
    assert section(page_of(run), "comparison").startswith("Baseline against challenger")


def test_segments_show_who_is_better_where(make_run: Make) -> None:
    rows = [words(row) for row in page_of(make_run()).select("table.segments tbody tr")]
    assert rows[0] == "bmi above 30.2 22 better: 58.31 63.02 −4.71"
    assert rows[3] == "bp below 84 21 51.62 better: 50.48 +1.14"


def test_evidence_that_is_null_is_shown_as_missing_not_as_a_number(make_run: Make) -> None:
    text = section(page_of(make_run("blocked")), "comparison")
    assert "There is no interval of the difference" in text
    assert "RMSE lower is better; at most 60.00 demanded – better" not in text
    assert "nan" not in text.lower().split()


def test_plots_of_the_evaluation_are_embedded_with_their_names(make_run: Make) -> None:
    run = make_run()
    folder = run.folder / "evaluation" / "plots"
    folder.mkdir(parents=True)
    (folder / "predictions_against_truth.png").write_bytes(b"\x89PNG")
    (folder / "difference.png").write_bytes(b"\x89PNG")
    images = page_of(run).select("img")
    assert [image["alt"] for image in images] == ["Plot: Predictions against truth"]
    assert str(images[0]["src"]).startswith("data:image/png;base64,")


def test_what_the_evaluation_fetched_of_other_trainings_is_not_shown_as_this_runs(make_run: Make) -> None:
    run = make_run()
    for name in ("model/fit.png", "evaluation/champion/fit.png", "evaluation/challenger/model/fit.png"):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(b"\x89PNG")
    assert [image["alt"] for image in page_of(run).select("img")] == ["Plot: Fit"]


def test_the_first_run_of_a_scenario_says_so(make_run: Make) -> None:
    assert "first run of the scenario diabetes" in section(page_of(make_run()), "changes")


def test_two_equal_runs_say_that_nothing_changed(make_run: Make) -> None:
    text = section(page_of(make_run("released", "b"), make_run("released", "a")), "changes")
    assert "Nothing changed." in text
    assert "The same as before: data fingerprint, rows" in text


def test_what_changed_shows_data_parameters_code_and_lock_before_and_now(make_run: Make) -> None:
    before, run = make_run("released", "a"), make_run("released", "b", commit="f" * 40, lock_digest="new")
    before.step("setup").scraps |= {"fingerprint": "old", "rows": 400}
    before.step("train").parameters["hyperparameters"].value = {"alpha": 1.0}
    page = page_of(run, before)
    rows = [words(row) for row in page.select("section[aria-labelledby=changes] tbody tr")]
    assert rows == [
        "data fingerprint data old 3ac5e1f09b7d",
        "rows data 400 442",
        "hyperparameters train alpha: 1 alpha: 0.05",
        "commit code 4e1b7c90aa21 ffffffffffff",
        "dependencies (lock) code 77aa01c2 new",
    ]


def test_what_the_run_hands_on_to_its_own_steps_is_no_change(make_run: Make) -> None:
    before, run = make_run("released", "a"), make_run("released", "b")
    for each, digest in ((before, "1"), (run, "2")):
        each.step("deploy_staging").parameters["digest"] = Parameter(value=digest, source="package.digest")
        each.step("deploy_staging").parameters["fixed"] = Parameter(value=digest, source="pipeline.yml")
    assert "Nothing changed." in section(page_of(run, before), "changes")


def test_a_parameter_given_only_now_was_the_notebooks_default_before(make_run: Make) -> None:
    before, run = make_run("released", "a"), make_run("released", "b")
    for name in ("train", "evaluate"):
        run.step(name).parameters["seed"] = Parameter(value=7, source="-p")
    rows = [words(row) for row in page_of(run, before).select("section[aria-labelledby=changes] tbody tr")]
    assert rows == ["seed train, evaluate notebook default 7"]


def test_what_one_of_the_runs_never_reached_is_called_not_comparable(make_run: Make) -> None:
    before, run = make_run("released", "a"), make_run("running", "b")
    for step in run.steps:
        step.scraps, step.executed = {}, ""
    text = section(page_of(run, before), "changes")
    assert "Not comparable" in text
    assert "data fingerprint" in text
    assert "Nothing changed in what both runs have." in text


def test_the_pipeline_has_a_row_for_each_step_with_state_reason_time_and_link(make_run: Make) -> None:
    run = make_run("not_better")
    steps = page_of(run).select("ol.steps > li")
    assert [words(step.select_one(".state")) for step in steps] == ["succeeded"] * 3 + ["skipped"] * 6
    assert "does not lie below −0.1" in words(steps[5])
    link = steps[0].a
    assert link is not None
    assert link["href"] == "notebooks/setup.html"
    assert "2.1 s" in words(steps[0])
    assert steps[5].a is None


def test_a_failure_shows_notebook_cell_source_traceback_and_how_to_resume(make_run: Make) -> None:
    page = page_of(make_run("failed", "it"))
    text = words(page.select_one("#failure-train"))
    assert "train failed in cell 7" in text
    assert "02_train.ipynb, cell 7" in text
    assert "model = training.fit(data, estimator, hyperparameters)" in text
    assert "---> 88" in text
    assert "python -m ci resume it" in text
    link = page.select_one("#failure-train a")
    assert link is not None
    assert link["href"] == "notebooks/train.html#cell-7"
    assert "02_train.ipynb, cell 7 stopped the run" in words(page.select_one(".hero"))


def test_a_running_step_shows_how_far_it_is(make_run: Make) -> None:
    page = page_of(make_run("running"))
    assert "3 of 8 code cells have run" in section(page, "pipeline")
    assert "train, 1 of 9 steps done" in words(page.h1)


def test_a_reused_step_links_to_the_run_that_made_it_and_another_says_why_it_ran(make_run: Make) -> None:
    reports.write(make_run("released", "before"), previous=None)
    run = make_run("released", "now")
    for name, origin in (("setup", "before"), ("train", "gone")):
        run.step(name).reused, run.step(name).reason = origin, f"reused from {origin}"
    run.step("evaluate").reason = "ran because alpha changed 0.5 → 0.1"
    setup, train, evaluate, *_ = page_of(run).select("ol.steps > li")
    assert "reused from before" in words(setup)
    assert [link["href"] for link in setup.select(".reason a")] == ["../before/index.html"]
    assert "reused from gone" in words(train)
    assert train.select(".reason a") == [], "its report is not there any more"
    assert "ran because alpha changed 0.5 → 0.1" in words(evaluate)


def test_a_repeated_attempt_is_told(make_run: Make) -> None:
    run = make_run()
    run.step("deploy_staging").attempts = 2
    assert "attempt 2" in section(page_of(run), "pipeline")


def test_failed_sanity_checks_stand_open_and_passed_ones_fold_away(make_run: Make) -> None:
    run = make_run()
    run.step("setup").scraps["sanity"][1] |= {"passed": False, "observed": 0.3}
    page = page_of(run)
    data = page.select_one("section[aria-labelledby=data]")
    assert data is not None
    table = data.select_one("table")
    assert words(table).startswith("Sanity checks that failed")
    assert "Missing values bmi failed at most 0.01 0.3" in words(table)
    assert words(data.select_one("details summary")) == "4 sanity checks passed"


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            {"method": "content"},
            "About 20 % of the rows are held out, by a hash of each row's content, seed 42.",
        ),
        ({"method": "key", "columns": ["id"]}, "by a hash of each row's key (id), seed 42."),
        ({"method": "time", "columns": ["day"]}, "held out, the latest by day."),
        ({"method": "group", "columns": ["ward"]}, "in whole groups, by a hash of ward, seed 42."),
    ],
)
def test_the_split_is_told_in_words(make_run: Make, record: dict[str, object], sentence: str) -> None:
    run = make_run()
    run.step("setup").scraps["split"] = {"columns": [], "seed": 42, "held_out_share": 0.2, **record}
    assert sentence in section(page_of(run), "data")


def test_package_and_services_show_digest_size_inputs_checks_and_latency(make_run: Make) -> None:
    run = make_run()
    run.step("test_production").scraps["checks"][1] |= {"passed": False, "observed": "200"}
    run.step("test_production").scraps |= {"passed": False, "restored": True}
    text = section(page_of(run), "package")
    assert "Model diabetes, version 4 Digest 9f2c41d07be3 Size 48.2 kB Model file onnx" in text
    assert "Signed by the key 5f0c5f0c5f0c Image registry.example.com/mlops/diabetes@sha256:9f2c" in text
    assert "128 MB Golden rows 20" in text
    assert "2 input columns" in text
    assert "half within 1.42 ms" in text
    assert "Staging passed its test" in text
    assert "Production failed its test The previous package was put back." in text
    assert "Not JSON failed 400 200" in text


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_section_copes_when_all_scraps_are_missing(make_run: Make, verdict: str) -> None:
    run, before = make_run(verdict, "b"), make_run("released", "a")
    for each in (run, before):
        for step in each.steps:
            step.scraps, step.parameters = {}, {}
    page = page_of(run, before)
    assert len(page.select("main > section")) == 6
    assert "Nothing to compare" in section(page, "comparison")
    assert "No data on record" in section(page, "data")
    assert "No package was made" in section(page, "package")


@pytest.mark.parametrize(
    "name", ["setup", "evaluate", "register", "package", "deploy_staging", "test_staging"]
)
def test_a_step_whose_scraps_are_all_null_breaks_nothing(make_run: Make, name: str) -> None:
    run = make_run()
    step = run.step(name)
    step.scraps = dict.fromkeys(step.scraps)
    if name == "evaluate":
        step.scraps["outcome"] = "blocked"
    page = page_of(run)
    assert len(page.select("main > section")) == 6
    assert "None" not in words(page.main)


@pytest.mark.parametrize("verdict", ["released", "failed"])
def test_hostile_text_is_shown_and_never_becomes_markup(make_run: Make, verdict: str) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
    run = make_run(verdict, reason=hostile, scenario=hostile, overrides={hostile: hostile})
    if run.approval:
        run.approval |= {"by": hostile, "comment": hostile}
    run.step("setup").scraps["sanity"][0] |= {"check": hostile, "observed": hostile, "passed": False}
    run.step("evaluate").scraps and run.step("evaluate").scraps["segments"].append(
        {"segment": hostile, "rows": 3}
    )
    run.step("train").failure = Failure(name=hostile, message=hostile, source=hostile, traceback=[hostile])
    page = page_of(run)
    assert not page.select("script, [onerror], img")
    assert hostile in page.get_text()
    assert "49" not in words(page.h1)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_page_loads_nothing_and_links_relatively(make_run: Make, verdict: str) -> None:
    path = reports.write(make_run(verdict, "b"), previous=make_run("released", "a"))
    source = path.read_text()
    page = BeautifulSoup(source, "html.parser")
    assert not page.select("script, link, iframe")
    assert not re.search(r"@import|url\(", source)
    for element in page.select("[src], [href]"):
        address = str(element.get("src") or element.get("href"))
        assert not re.match(r"[a-z]+:|/", address), address


def test_every_link_of_the_page_leads_somewhere(make_run: Make) -> None:
    run, before = make_run("released", "b"), make_run("released", "a")
    reports.write(before, previous=None)
    run.save()
    page = page_of(run, before)
    reports.write_index([before, run])
    for step in run.steps:
        (run.folder / step.html).parent.mkdir(exist_ok=True)
        (run.folder / step.html).touch()
    for link in page.select("a, use"):
        target, _, anchor = str(link["href"]).partition("#")
        assert (run.folder / target).exists(), link
        if anchor:
            assert page.find(id=anchor), link


def test_a_report_takes_less_than_a_tenth_of_a_second(make_run: Make) -> None:
    from time import process_time

    run, before = make_run("released", "b"), make_run("released", "a")
    reports.write(run, previous=before)  # the first one reads the templates
    took = []
    for _ in range(5):
        start = process_time()
        reports.write(run, previous=before)
        took.append(process_time() - start)
    assert min(took) < 0.1


def test_writing_reports_does_not_wait_for_nbconvert(tmp_path: Path) -> None:
    import subprocess
    import sys

    check = (
        "import sys; from ci.reports import index, junit, run, summary;"
        "sys.exit('nbconvert' in sys.modules or 'bleach' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_time_spent_waiting_for_a_person_is_not_time_taken(make_run: Make) -> None:
    run = make_run()
    for step in run.steps[7:]:
        assert step.started is not None
        assert step.ended is not None
        step.started, step.ended = step.started + timedelta(hours=9), step.ended + timedelta(hours=9)
    assert "Time taken 24 s" in words(page_of(run).select_one(".hero"))


def test_a_job_that_goes_on_is_named_with_its_address_and_what_to_do_about_it(make_run: Make) -> None:
    run = make_run("stopped", "it")
    run.job = Job(
        steps=["train", "package"], kept=True, id="j7", state="running", url="https://example.org/j7"
    )
    page = page_of(run)
    commands = [words(code) for code in page.select("section[aria-labelledby=next] pre code")]
    assert commands == ["python -m ci resume it", "python -m ci cancel it"]
    assert "Job on local j7 , running: train and package" in words(page.select_one(".facts"))
    assert page.select_one('.facts a[href="https://example.org/j7"]') is not None


def test_an_address_that_is_none_is_no_link(make_run: Make) -> None:
    run = make_run("released")
    run.job = Job(steps=["train"], kept=True, id="j7", state="succeeded", url="javascript:alert(1)")
    assert page_of(run).select_one(".facts a") is None
