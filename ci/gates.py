"""Where a person decides: finding the run that waits, and recording the decision."""

from __future__ import annotations

import getpass
import os

import click

from ci import runs
from ci.pipeline import Pipeline
from ci.runs import Run, StepState
from utils import approvals


def decide(
    run_id: str | None,
    by: str | None,
    comment: str,
    decision: approvals.Decision,
    chain: Pipeline,
    traffic: int = 100,
) -> Run:
    """Record a person's decision on a run that waits; the same decision again changes nothing.

    Parameters
    ----------
    run_id : str or None
        None for the only run that waits.
    by : str or None
        Who decides; None for the login name, where that is a person's.
    decision : str
        "approved" or "rejected".
    chain : Pipeline
        Says which digest the gate is about.
    traffic : int
        The share of the requests, in per cent, that the package gets before its test.

    Returns
    -------
    Run
        The run, as it was before.

    Raises
    ------
    runs.RunError
        If the run doesn't wait, several do and none was named, or nobody is named in CI.
    approvals.ApprovalError
        If this package has been decided on otherwise.
    """
    found = runs.load(run_id) if run_id is not None else _only_waiting()
    earlier = approvals.read(found.folder)
    if found.verdict != "waiting":
        if earlier is None or earlier.decision != decision:
            raise runs.RunError(
                f"Run {found.id} doesn't wait at a gate: it is {found.verdict.replace('_', ' ')}"
                + (f", {earlier.decision} by {earlier.by}." if earlier else ".")
            )
        click.echo(
            f"Run {found.id} was {decision} by {earlier.by} at {earlier.at:%Y-%m-%d %H:%M} UTC already."
        )
        return found
    by = by or login()
    held = next(step.name for step in found.steps if step.state == "waiting")
    name, _, scrap = chain.steps[held].gate.partition(".")
    scraps = found.step(name).scraps
    digest, image = scraps[scrap], scraps.get("image", "")
    approvals.write(
        found.folder, decision=decision, by=by, digest=digest, image=image, comment=comment, traffic=traffic
    )
    share = f", for {traffic} % of the requests until it is tested" if traffic < 100 else ""
    click.echo(f"{by} has {decision} package {digest[:12]} of run {found.id}{share}.")
    return found


def held(run: Run, digest: str) -> tuple[StepState, str] | None:
    """Return what holds a run and its package at a gate; None where a person has approved just this one.

    The run's record has the approval then, whatever it says.
    """
    approval = approvals.read(run.folder)
    run.approval = approval.model_dump(mode="json") if approval else None
    if approval is None:
        return "waiting", "a person has to approve the package first"
    if approval.decision != "approved":
        comment = f": {approval.comment}" if approval.comment else ""
        return "failed", f"rejected by {approval.by}{comment}"
    if approval.digest != digest:
        return "waiting", f"the approval is for package {approval.digest[:12]}, this is {digest[:12]}"
    return None


def _only_waiting() -> Run:
    waiting = [run for run in runs.everything() if run.verdict == "waiting"]
    if not waiting:
        raise runs.RunError("No run waits at a gate; see 'python -m ci status'.")
    if len(waiting) > 1:
        listed = "\n".join(f"  {run.id}  {run.scenario}: {run.reason}" for run in waiting)
        raise runs.RunError(f"{len(waiting)} runs wait at a gate; say which you mean:\n{listed}")
    return waiting[0]


def login() -> str:
    """Return the name of the person who is logged in.

    Raises
    ------
    runs.RunError
        In CI, where that name is nobody's.
    """
    if os.environ.get("CI"):
        raise runs.RunError("Say who decides: --by NAME. (In CI the login name is nobody's.)")
    return getpass.getuser()
