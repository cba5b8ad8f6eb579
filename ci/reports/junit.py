"""A run as test results, which every CI system can show: runs/<id>/junit.xml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ci.reports import comparison, text
from ci.reports import run as report
from ci.runs import Run, Step
from utils import files

# What XML 1.0 allows (https://www.w3.org/TR/xml/#charsets); terminals' colours and NULs are not among it.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(run: Run) -> Path:
    """Write a test case for each step, sanity check and check of a service; return the file's path."""
    root = ElementTree.Element("testsuites", name=_clean(f"{run.scenario} {run.id}"))
    _suite(root, "pipeline", [_step(step) for step in run.steps], run)
    sanity = comparison.scraps(run, "setup").get("sanity")
    _suite(root, "sanity checks", [_check(c, "sanity") for half in report.checks(sanity) for c in half], run)
    for service in report.services(run):
        name = f"service {service['environment']}"
        cases = [_check(c, name) for c in [*service["failed"], *service["succeeded"]]]
        _suite(root, name, cases, run)
    for name in ("tests", "failures", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root)
    content = ElementTree.tostring(root, encoding="unicode")
    return files.write_text(run.folder / "junit.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{content}\n')


def _suite(root: ElementTree.Element, name: str, cases: list[ElementTree.Element], run: Run) -> None:
    if not cases:
        return
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_clean(name),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        errors="0",
        time=f"{sum(float(case.get('time', '0')) for case in cases):.3f}",
        timestamp=run.created.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    suite.extend(cases)


def _step(step: Step) -> ElementTree.Element:
    case = ElementTree.Element("testcase", name=_clean(step.name), classname=f"pipeline.{_clean(step.stage)}")
    case.set("time", f"{step.seconds or 0.0:.3f}")
    if step.state == "failed":
        failure = step.failure
        name = failure.name if failure else "failed"
        lines = [step.reason]
        if failure is not None:
            cell = f", cell {failure.cell}" if failure.cell else ""
            lines = [f"{step.notebook}.ipynb{cell}", failure.source, "", *failure.traceback]
        element = ElementTree.SubElement(case, "failure", type=_clean(name), message=_clean(step.reason))
        element.text = _clean("\n".join(lines))
    elif step.state != "succeeded":
        # A step that waits, or that nobody has run yet, is no failure.
        message = f"{step.state}: {step.reason}" if step.reason else step.state
        ElementTree.SubElement(case, "skipped", message=_clean(message))
    return case


def _check(check: dict[str, Any], suite: str) -> ElementTree.Element:
    name = " ".join(filter(None, (str(check.get("check", "")), str(check.get("column") or ""))))
    case = ElementTree.Element("testcase", name=_clean(name), classname=_clean(suite.replace(" ", ".")))
    case.set("time", "0")
    if not check.get("passed"):
        expected, observed = text.value(check.get("expected")), text.value(check.get("observed"))
        message = f"expected {expected}, observed {observed}"
        ElementTree.SubElement(case, "failure", type="check", message=_clean(message))
    return case


def _clean(content: str) -> str:
    return _FORBIDDEN.sub("", content)
