"""What a run has come to: its verdict, derived from its steps."""

from __future__ import annotations

from ci.runs import Run, Verdict


def conclude(run: Run) -> tuple[Verdict, str]:
    """Derive a run's verdict from its steps, with the reason in a sentence."""
    evaluated = next(
        (str(step.scraps.get("reason", "")) for step in run.steps if "outcome" in step.scraps), ""
    )
    for step in run.steps:
        if step.state == "waiting":
            return "waiting", evaluated or step.reason
        if step.state == "failed":
            if run.approval is not None and run.approval["decision"] == "rejected":
                return "rejected", step.reason
            blocked = step.failure is not None and step.failure.name == "Blocked"
            return ("blocked", step.reason) if blocked else ("failed", f"{step.name}: {step.reason}")
    if any(step.state in ("pending", "running") for step in run.steps):
        if run.job is not None and run.job.open:
            return "stopped", f"its job on {run.platform} goes on: {run.job.words}"
        following = next(step.name for step in run.steps if step.state in ("pending", "running"))
        return "stopped", f"{following} is next"
    if any(step.state == "skipped" for step in run.steps):
        return "not_better", evaluated
    return "released", evaluated
