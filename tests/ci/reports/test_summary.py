from collections.abc import Callable

import pytest

from ci import reports
from ci.runs import Run

Make = Callable[..., Run]


def summary_of(run: Run) -> str:
    reports.write(run, previous=None)
    return (run.folder / "summary.md").read_text()


def test_the_summary_begins_with_the_verdict_and_its_reason(make_run: Make) -> None:
    assert summary_of(make_run("waiting")).startswith("## ◔ Waiting for approval: RMSE 53.12 against 54.42")


def test_the_summary_has_both_models_side_by_side_with_the_interval(make_run: Make) -> None:
    text = summary_of(make_run())
    assert "| Metric | Challenger | Champion version 3 | Difference |" in text
    assert "| RMSE (lower is better) | 53.12 ✓ | 54.42 | −1.30 (95 % interval −2.41 to −0.12) |" in text
    assert "| max error (lower is better) | 152.2 | 149.9 ✓ | +2.3 |" in text


def test_the_summary_lists_every_step_and_ends_with_the_command(make_run: Make) -> None:
    text = summary_of(make_run("waiting", "it"))
    assert text.count("✓ succeeded") == 7
    assert "| deploy\\_production | ◔ waiting |  | a person has to approve the package first |" in text
    assert "```\npython -m ci approve it\n```" in text


def test_the_summary_tells_where_a_run_failed(make_run: Make) -> None:
    assert "**train** failed in 02\\_train.ipynb, cell 7: ValueError" in summary_of(make_run("failed"))


def test_the_summary_names_failed_sanity_checks_and_who_approved(make_run: Make) -> None:
    run = make_run()
    run.step("setup").scraps["sanity"][1]["passed"] = False
    text = summary_of(run)
    assert "1 sanity check failed: missing values of bmi." in text
    assert "Approved by **Ada Byron**" in text


def test_tables_are_separate_blocks_of_whole_rows(make_run: Make) -> None:
    for block in summary_of(make_run("failed")).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in rows}) <= 1
        assert not rows or len(rows) == len(block.strip().splitlines())


@pytest.mark.parametrize("verdict", ["released", "failed", "blocked", "running"])
def test_hostile_text_breaks_neither_a_table_nor_the_page(make_run: Make, verdict: str) -> None:
    run = make_run(verdict, reason="a | b\n# <script>x</script> [l](http://x) `c`")
    run.step("setup").reason = "a | b\nc <img src=x>"
    text = summary_of(run)
    assert "<script" not in text
    assert "<img" not in text
    assert "| a \\| b c &lt;img src=x&gt; |" in text
