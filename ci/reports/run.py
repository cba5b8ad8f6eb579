"""The report of one run: runs/<id>/index.html."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.reports import changes, comparison, pages, sweep, text
from ci.reports.comparison import scraps
from ci.runs import Run, Step
from utils import files

_FIGURES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}
_FIGURES_AT_MOST = 6
_FIGURE_BYTES = 2_000_000


@dataclass(frozen=True)
class Action:
    """Something to do now: what it does, and the command that does it ("" if nothing needs doing)."""

    words: str
    command: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot that evaluate left in the run folder, to be embedded."""

    caption: str
    source: str


def write(run: Run, previous: Run | None) -> Path:
    """Write the report's page into the run folder; return its path."""
    found = comparison.of(run)
    page = pages.render(
        "run.html.j2",
        run=run,
        verdict=pages.VERDICTS[run.verdict],
        states=pages.STATES,
        sentence=sentence(run),
        seconds=seconds(run),
        failed=next((step for step in run.steps if step.failure), None),
        origins=origins(run),
        longest=max((step.seconds or 0.0 for step in run.steps), default=0.0),
        actions=actions(run),
        approval=approval(run),
        comparison=found,
        figures=_figures(run.folder) if found else [],
        previous=previous,
        changes=None if previous is None else changes.between(previous, run),
        sweep=sweep.of(run),
        keys=sweep.KEYS,
        data=scraps(run, "setup"),
        split=split(scraps(run, "setup").get("split")),
        sanity=checks(scraps(run, "setup").get("sanity")),
        package=scraps(run, "package"),
        registered=scraps(run, "register"),
        services=services(run),
        crumbs=[("Runs", "../index.html"), (run.id, "")],
    )
    return files.write_text(run.folder / "index.html", page)


def sentence(run: Run) -> str:
    """Return the verdict's reason, or where the run is as long as there is none."""
    if run.verdict == "running":
        done = sum(step.state in ("succeeded", "skipped") for step in run.steps)
        now = next((step.name for step in run.steps if step.state == "running"), "")
        return (f"{now}, " if now else "") + f"{done} of {text.count(len(run.steps), 'step')} done"
    if run.reason:
        return run.reason
    return {
        "waiting": "a person has to approve the package before it goes to production",
        "released": "the challenger serves production",
        "not_better": "the challenger does no better than the champion",
        "blocked": "the evidence could not be trusted",
        "rejected": "a person decided against this package",
        "failed": "a step failed",
        "stopped": "more steps remain",
    }[run.verdict]


def origins(run: Run) -> set[str]:
    """Return the runs whose results this one has reused, as far as their reports are still there."""
    reused = {step.reused for step in run.steps if step.reused}
    return {name for name in reused if (run.folder.parent / name / "index.html").is_file()}


def seconds(run: Run) -> float | None:
    """Return how long the steps have taken, without the time that the run has waited for a person."""
    taken = [step.seconds for step in run.steps if step.seconds is not None]
    return sum(taken) if taken else None


def approval(run: Run) -> Mapping[str, str] | None:
    """Return who decided what, when and on which package; None as long as nobody has."""
    if not run.approval:
        return None
    record = {name: str(content or "") for name, content in run.approval.items()}
    return {
        "decision": record.get("decision", "approved"),
        "by": record.get("by", "someone unnamed"),
        "at": text.moment(record["at"]) if record.get("at") else "",
        "digest": record.get("digest", ""),
        "comment": record.get("comment", ""),
        "share": record.get("traffic", "100"),
    }


def actions(run: Run) -> list[Action]:
    """Return what to do next, the first being what is most likely wanted."""
    resume = f"python -m ci resume {run.id}"
    again = f"python -m ci run --scenario {run.scenario}"
    match run.verdict:
        case "waiting":
            return [
                Action("Release this package to production:", f"python -m ci approve {run.id}"),
                Action("Or decide against it, and say why:", f'python -m ci reject {run.id} --comment "…"'),
            ]
        case "released":
            return [
                Action("Nothing: the challenger is the champion now, and production serves it."),
                Action("See what is running:", f"python -m ci status {run.id}"),
            ]
        case "not_better":
            return [
                Action("Nothing: production stays as it is."),
                Action("Try another setting:", f"{again} -p NAME VALUE"),
            ]
        case "blocked":
            return [Action("Mend what evaluate names as its reason, then go on from there:", resume)]
        case "rejected":
            return [Action("Nothing: production stays as it is."), Action("Begin a new run:", again)]
        case "failed":
            return [Action("Mend the cause, then go on with the failed step:", resume)]
        case "stopped" if run.job is not None and run.job.open:
            return [
                Action(f"Wait for what {run.platform} runs, and go on:", resume),
                Action("Or cancel it:", f"python -m ci cancel {run.id}"),
            ]
        case "stopped":
            return [Action("Run the steps that remain:", resume)]
        case "running":
            return [Action("Load this page again to see more, or ask:", f"python -m ci status {run.id}")]


def split(record: Any) -> str:
    """Say in words which rows are held out."""
    if not isinstance(record, dict) or not record:
        return ""
    columns = ", ".join(map(str, record.get("columns") or []))
    method = str(record.get("method", ""))
    share = text.percent(record.get("held_out_share"))
    chosen = {
        "content": "by a hash of each row's content",
        "key": f"by a hash of each row's key ({columns})",
        "time": f"the latest by {columns}",
        "group": f"in whole groups, by a hash of {columns}",
    }.get(method, f"by {method}")
    seed = "" if record.get("seed") is None or method == "time" else f", seed {record['seed']}"
    return f"About {share} of the rows are held out, {chosen}{seed}."


def checks(found: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the checks that failed, and those that passed."""
    known = [check for check in found if isinstance(check, dict)] if isinstance(found, list) else []
    return [c for c in known if not c.get("passed")], [c for c in known if c.get("passed")]


def services(run: Run) -> list[dict[str, Any]]:
    """Return for each environment, in the pipeline's order, what deploy and test found."""
    found: dict[str, dict[str, Any]] = {}
    for step in run.steps:
        environment = _environment(step)
        if environment and (step.scraps or step.failure):
            service = found.setdefault(environment, {"environment": environment, "steps": []})
            service.update(step.scraps)
            service["steps"].append(step)
    for service in found.values():
        service["failed"], service["succeeded"] = checks(service.get("checks"))
        latency = service.get("latency")
        service["latency"] = latency if isinstance(latency, dict) else {}
    return list(found.values())


def _environment(step: Step) -> str:
    given = step.parameters.get("environment")
    named = step.scraps.get("environment") or (given.value if given else "")
    return str(named) if step.name.startswith(("deploy", "test")) else ""


def _figures(folder: Path) -> list[Figure]:
    # Not below evaluation/champion and evaluation/challenger: these are copies of what was trained. The
    # difference is drawn by the report itself, in the page's own colours.
    found = [
        path
        for place in ("evaluation/plots", "model")
        for path in sorted(folder.glob(f"{place}/*"))
        if path.suffix in _FIGURES and path.stem != "difference"
    ]
    figures = []
    for path in found[:_FIGURES_AT_MOST]:
        if path.stat().st_size <= _FIGURE_BYTES:
            content = base64.b64encode(path.read_bytes()).decode()
            figures.append(Figure(text.label(path.stem), f"data:{_FIGURES[path.suffix]};base64,{content}"))
    return figures
