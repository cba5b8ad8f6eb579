from collections.abc import Callable
from xml.etree import ElementTree

from ci import reports
from ci.runs import Run

Make = Callable[..., Run]


def junit_of(run: Run) -> ElementTree.Element:
    reports.write(run, previous=None)
    return ElementTree.parse(run.folder / "junit.xml").getroot()


def cases(root: ElementTree.Element, suite: str) -> dict[str | None, ElementTree.Element]:
    return {case.get("name"): case for case in root.findall(f"testsuite[@name='{suite}']/testcase")}


def test_each_step_is_a_test_case_with_its_time(make_run: Make) -> None:
    found = cases(junit_of(make_run()), "pipeline")
    assert list(found)[:3] == ["setup", "train", "evaluate"]
    assert found["setup"].get("time") == "2.100"
    assert all(len(case) == 0 for case in found.values())


def test_a_failed_step_is_a_failure_with_cell_source_and_traceback(make_run: Make) -> None:
    failure = cases(junit_of(make_run("failed")), "pipeline")["train"].find("failure")
    assert failure is not None
    assert failure.get("type") == "ValueError"
    assert "02_train.ipynb, cell 7" in str(failure.text)
    assert "---> 88" in str(failure.text)


def test_skipped_waiting_and_pending_steps_are_skipped_with_the_reason(make_run: Make) -> None:
    found = cases(junit_of(make_run("waiting")), "pipeline")
    skipped = found["deploy_production"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "waiting: a person has to approve the package first"
    assert found["test_production"].find("skipped") is not None


def test_a_rejected_gate_is_a_failure_though_no_cell_raised(make_run: Make) -> None:
    failure = cases(junit_of(make_run("rejected")), "pipeline")["deploy_production"].find("failure")
    assert failure is not None
    assert failure.get("message") == "rejected by Ada Byron: max error got worse"


def test_sanity_and_service_checks_are_test_cases_too(make_run: Make) -> None:
    run = make_run()
    run.step("setup").scraps["sanity"][1] |= {"passed": False, "observed": 0.3}
    root = junit_of(run)
    failure = cases(root, "sanity checks")["missing values bmi"].find("failure")
    assert failure is not None
    assert failure.get("message") == "expected at most 0.01, observed 0.3"
    assert len(cases(root, "service staging")) == len(cases(root, "service production")) == 4


def test_the_counts_agree_with_the_cases(make_run: Make) -> None:
    for verdict in ("released", "failed", "not_better"):
        root = junit_of(make_run(verdict))
        for kind, path in (("tests", ".//testcase"), ("failures", ".//failure"), ("skipped", ".//skipped")):
            assert int(str(root.get(kind))) == len(root.findall(path))


def test_control_characters_and_markup_leave_the_file_valid(make_run: Make) -> None:
    run = make_run("failed")
    failure = run.step("train").failure
    assert failure is not None
    failure.traceback = ["\x1b[31mred\x00\ud800 <b>]]>&"]
    failure.name = run.step("train").reason = "\x07bell"
    found = cases(junit_of(run), "pipeline")["train"].find("failure")
    assert found is not None
    assert "[31mred <b>]]>&" in str(found.text)
    assert found.get("type") == "bell"
