"""Jobs of the published pipeline: started once for a key, found again, cancelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import faults, pipeline, sdk
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import JobState, PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.publishing import Published
    from utils.platforms.azureml.workspace import Site

KIND = "azureml.PipelineRun"
# Where Azure ML writes down what a job of a pipeline was given.
_GIVEN = "azureml.parameters"
# As words, and as the numbers that the service had for them before.
_STATES: Mapping[str, JobState] = {
    **dict.fromkeys(("NotStarted", "0", "Queued", "Preparing"), "queued"),
    **dict.fromkeys(("Running", "1", "CancelRequested", "Canceling"), "running"),
    **dict.fromkeys(("Failed", "2"), "failed"),
    **dict.fromkeys(("Finished", "3", "Completed"), "succeeded"),
    **dict.fromkeys(("Canceled", "4"), "cancelled"),
}
ENDED = ("succeeded", "failed", "cancelled")


class Jobs:
    """The jobs of a workspace's pipelines."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._client: Any = None

    @property
    def service(self) -> Any:
        """The SDK's client of the service that runs pipelines."""
        if self._client is None:
            from azureml.pipeline.core._aeva_provider import _AevaWorkflowProvider

            self._client = _AevaWorkflowProvider.create_service_caller(self._site.workspace, "")
        return self._client

    def submit(self, published: Published, experiment: str, given: Mapping[str, str]) -> str:
        """Start a job, or find the one that was started for the same key; return its id.

        Parameters
        ----------
        given : mapping
            As `pipeline.assignments` returns it.

        Raises
        ------
        Exception
            Whatever the SDK raises. Then there is no job, as far as anybody can tell.
        """

        def once() -> str:
            return self._find(published, experiment, given) or self._start(published, experiment, given)

        return self._site.retried(once)

    def read(self, job: str) -> Any:
        """Return the PipelineRunEntity of a job.

        Raises
        ------
        PlatformError
            If there is no such job, or it can't be read.
        """
        with speaking(f"The job {job} can't be read"):
            try:
                return self._site.retried(lambda: self.service.get_pipeline_run_async(job))
            except Exception as error:
                if faults.missing(error):
                    raise PlatformError(f"There is no job {job} in the {self._site.words}.") from None
                raise

    def cancel(self, job: str) -> None:
        """End a job; one that has ended stays as it is.

        Raises
        ------
        PlatformError
            If there is no such job, or Azure refuses.
        """
        if state(self.read(job)) in ENDED:
            return
        with speaking(f"The job {job} can't be cancelled"):
            try:
                self._site.retried(lambda: self.service.cancel_pipeline_run_async(job))
            except Exception:
                if state(self.read(job)) not in ENDED:
                    raise

    def _start(self, published: Published, experiment: str, given: Mapping[str, str]) -> str:
        try:
            with sdk.quiet():
                started = published.endpoint.submit(
                    experiment, pipeline_parameters=dict(given), pipeline_version=published.number
                )
        except Exception:
            # It may have been started all the same: if the answer is lost, or the history is behind.
            found = self._find(published, experiment, given)
            if found:
                return found
            raise
        return str(started.id)

    def _find(self, published: Published, experiment: str, given: Mapping[str, str]) -> str:
        """Return the job that has the same key, or ""; of several the first."""
        from azureml.core import Experiment, Run

        key = given[pipeline.KEY]
        history = Run.list(Experiment(self._site.workspace, experiment), type=KIND, _rehydrate_runs=False)
        old = [each.id for each in history if _given(each.properties).get(pipeline.KEY) == key]
        if old:
            return str(old[-1])  # they come with the newest first
        # The history may be behind the service that runs the jobs, which knows those of one pipeline.
        jobs = self.service.get_pipeline_runs_by_pipeline_id_async(published.pipeline.id) or []
        fitting = [each for each in jobs if (each.parameter_assignments or {}).get(pipeline.KEY) == key]
        first = min(fitting, key=lambda each: each.created_date, default=None)
        return str(first.id) if first is not None else ""


def state(entity: Any) -> JobState:
    """Return the state of a job in the protocol's words; what nobody knows isn't an end."""
    code = entity.status.status_code if entity.status else None
    return _STATES.get(str(code or "NotStarted"), "running")


def _given(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that the history has of a job."""
    try:
        found = json.loads(properties.get(_GIVEN) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
