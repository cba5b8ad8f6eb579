"""A run of the run history: how it begins, what people see of it, how it ends."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import sdk, studio, waiting
from utils.platforms.azureml.records import Kept, Record
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.artifacts import Artifacts
    from utils.platforms.azureml.workspace import Site

COMPLETED = "Completed"
# For so long, in seconds, a run may take to be seen as what it has become.
SETTLING = 120.0
TARGET = "local"
NAME = "training"
IMAGES = (".png", ".jpg", ".jpeg")


class Run:
    """A run, and what is done to it. Its methods raise whatever the SDK raises.

    Attributes
    ----------
    id : str
        In the run history.
    container : str
        Of its files.
    """

    def __init__(self, site: Site, experiment: str, experiment_id: str, found: Any) -> None:
        from azureml._restclient.metrics_client import MetricsClient

        self.id = str(found.run_id)
        self.container = str(found.data_container_id)
        self._site = site
        self._tags = dict(found.tags or {})
        # A client for runs as well. It has threads that send metrics only if it is asked to log them.
        self._client = MetricsClient(
            site.workspace.service_context, experiment, self.id, experiment_id=experiment_id
        )

    @classmethod
    def begin(cls, site: Site, experiment: str, record: Record) -> Run:
        """Return a new run, which hasn't started yet.

        On the platform's compute it is a child of the run that the process belongs to, elsewhere one of the
        experiment. `Experiment.start_logging` isn't used for that: its runs send metrics from threads, and
        only log what was refused of them.
        """
        from azureml._restclient.models import RunTypeV2
        from azureml._restclient.run_client import RunClient

        context, key = site.workspace.service_context, str(uuid.uuid4())
        shown = {
            "tags": studio.texts(record.tags, studio.TAGS),
            "properties": studio.texts(record.parameters, studio.PROPERTIES),
        }
        if site.inside:
            found = site.run.experiment
            above = RunClient(context, found.name, site.run.id, experiment_id=found.id)
            made = site.retried(lambda: above.create_child_run(key, target=TARGET, run_name=NAME, **shown))
        else:
            core = sdk.core()
            found = site.retried(lambda: core.Experiment(site.workspace, experiment))
            client = RunClient(context, found.name, key, experiment_id=found.id)
            kind = RunTypeV2(orchestrator="External", traits=["unspecified"])
            made = site.retried(
                lambda: client.create_run(run_id=key, target=TARGET, run_name=NAME, typev2=kind, **shown)
            )
        return cls(site, found.name, found.id, made)

    @classmethod
    def open(cls, site: Site, run: str) -> Run:
        """Return a complete run.

        Raises
        ------
        PlatformError
            If it isn't complete.
        """
        from azureml._restclient.workspace_client import WorkspaceClient

        client = WorkspaceClient(site.workspace.service_context)
        found = site.retried(lambda: client.get_run(run))
        if found.status != COMPLETED:
            raise PlatformError(
                f"The training {run} isn't complete (its state is {found.status}): train again."
            )
        # The experiment's id is all that is needed from here on.
        return cls(site, "", found.experiment_id, found)

    def start(self) -> None:
        """Say that the training is under way."""
        self._site.retried(self._client.post_event_start)

    def show(
        self, record: Record, kept: Mapping[str, Kept], artifacts: Artifacts, before: Record | None = None
    ) -> None:
        """Show people what is recorded: metrics, images, and in a run that there was `before`, tags."""
        from azureml._restclient.models import CreateRunDto

        there = [] if before is None else [*before.metrics, *filter(_is_image, before.files)]
        images = {path: artifacts.address(each.artifact) for path, each in kept.items() if _is_image(path)}
        batch = studio.metrics(record.metrics, images, there)
        if batch:
            self._site.retried(lambda: studio.send(self._client, batch))
        tags = {} if before is None else studio.texts(record.tags, studio.TAGS, self._tags)
        if tags:
            self._site.retried(lambda: self._client.patch_run(CreateRunDto(run_id=self.id, tags=tags)))

    def complete(self) -> None:
        """Say that the training is complete, and wait until the service says so too.

        Raises
        ------
        PlatformError
            If somebody has ended it otherwise, or it takes too long.
        """
        self._site.retried(self._client.post_event_completed)

        def look() -> tuple[str | None, str]:
            state = str(self._client.get_run().status)
            if state in ("Failed", "Canceled"):
                raise PlatformError(
                    f"The run {self.id} was ended as {state.lower()} by somebody: train again."
                )
            return (state if state == COMPLETED else None), state

        # It is a matter of a second or two.
        every = min(1.0, self._site.settings.poll_seconds)
        waiting.wait_for(f"The run {self.id}", look, timeout=SETTLING, interval=every, say=lambda _: None)

    def fail(self, error: BaseException) -> None:
        """Say that the training isn't complete, if that can still be said."""
        with contextlib.suppress(Exception):
            # What any other error says may hold more than is good for a record.
            said = str(error) if isinstance(error, PlatformError) else type(error).__name__
            self._client.post_event_error({"code": "UserError", "message": said[: studio.VALUE_LENGTH]})
        with contextlib.suppress(Exception):
            self._site.retried(self._client.post_event_failed)


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGES)
