"""What is done with an environment when a step that has changed it fails."""

from __future__ import annotations

from ci.pipeline import Pipeline
from ci.runs import Run, Step
from utils import platforms


def undo(chain: Pipeline, run: Run, step: Step) -> str:
    """Leave the environment of a failed step as it was before, as its `on_failure` says.

    Steps that had deployed what is gone now are set back to pending: a resumed run has to run them again.

    Returns
    -------
    str
        What was done, or could not be, in words that go on from the reason of the failure.
    """
    declared = chain.steps[step.name]
    if not declared.on_failure:
        return ""
    environment = declared.parameters["environment"]
    try:
        endpoints = platforms.get(run.platform).endpoints
        if declared.on_failure == "remove":
            endpoints.remove(run.scenario, environment)
            after = None
        else:
            after = endpoints.restore(run.scenario, environment)
    except Exception as error:
        return f"; and {environment} could not be put back as it was: {error}"
    # What was deployed may be gone, also because the notebook itself has put the service before back.
    for other in run.steps:
        same = chain.steps[other.name].parameters.get("environment") == environment
        stays = after is not None and other.scraps.get("digest") == after.digest
        if same and other.name != step.name and other.state == "succeeded" and not stays:
            other.state, other.reason = "pending", f"undone when {step.name} failed"
    if declared.on_failure == "remove":
        return f"; {environment} was taken down"
    if after is None:
        return f"; nothing runs in {environment}"
    return f"; {environment} serves model version {after.model_version}"
