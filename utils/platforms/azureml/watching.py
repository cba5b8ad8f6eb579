"""How far a job is, in the protocol's words, with the reason in Azure's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import compute, faults, jobs, settings
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import JobState, PlatformError, Progress

if TYPE_CHECKING:
    from utils.platforms.azureml.jobs import Jobs
    from utils.platforms.azureml.workspace import Site

# Of nodes, as words, and as the numbers that the service had for them before.
_STATES: Mapping[str, JobState] = {
    **dict.fromkeys(("NotStarted", "0", "Queued", "1", "Preparing", "Provisioning", "Starting"), "queued"),
    **dict.fromkeys(("Running", "2", "Finalizing", "CancelRequested", "Canceling", "6"), "running"),
    **dict.fromkeys(("Failed", "3"), "failed"),
    **dict.fromkeys(("Finished", "4", "Completed", "Bypassed", "7"), "succeeded"),
    **dict.fromkeys(("Canceled", "5"), "cancelled"),
}
# Of a node's run in the history: it has all that it needs, but a machine.
_QUEUED = "Queued"


@dataclass(frozen=True)
class Node:
    """A node of a job.

    Attributes
    ----------
    step, compute : str
        What it runs, and where.
    state : str
        In the protocol's words.
    run : str
        In the run history; "" as long as there is none.
    detail : str
        What the service says of its state.
    """

    step: str
    compute: str
    state: JobState
    run: str
    detail: str


class Watcher:
    """Looks at jobs."""

    def __init__(self, site: Site, jobs: Jobs) -> None:
        self._site = site
        self._jobs = jobs
        self._graphs: dict[str, dict[str, tuple[str, str]]] = {}
        # Since when a job has been seen waiting for a node, and why it was cancelled here.
        self._since: dict[str, float] = {}
        self._ended: dict[str, str] = {}

    def look(self, job: str) -> Progress:
        """Say how far a job is. One that has waited for a node longer than `timeouts.nodes` is cancelled.

        Raises
        ------
        PlatformError
            If there is no such job, or it can't be read.
        """
        seen = self._jobs.read(job)
        nodes = self._nodes(seen)
        state, reason = jobs.state(seen), ""
        if state == "running" and all(node.state == "queued" for node in nodes):
            state = "queued"
        if state == "failed":
            reason = self._why(seen, nodes)
        elif state == "cancelled":
            reason = self._ended.get(job, "by somebody, in Azure")
        elif all(node.state != "running" for node in nodes):
            reason = self._waiting(job, nodes)
        return Progress(state, {node.step: node.state for node in nodes}, reason, self._address(seen))

    def _nodes(self, seen: Any) -> list[Node]:
        """Return the nodes of a job, in the order of its steps."""
        service = self._jobs.service
        with speaking(f"The steps of the job {seen.id} can't be read"):
            if seen.graph_id not in self._graphs:
                graph = self._site.retried(lambda: service.get_graph_async(seen.graph_id))
                self._graphs[seen.graph_id] = dict(self._named(each) for each in graph.module_nodes)
            states = self._site.retried(lambda: service.get_all_nodes_in_level_status_async(seen.id)) or {}
        return [
            Node(step, where, _state(each.status_code), each.run_id or "", each.status_detail or "")
            for key, (step, where) in self._graphs[seen.graph_id].items()
            if (each := states.get(key)) is not None
        ]

    def _named(self, entity: Any) -> tuple[str, tuple[str, str]]:
        """Return the id of a node of a graph, with the step's name and that of the compute."""
        module = self._site.retried(lambda: self._jobs.service.get_module_async(entity.module_id))
        values = {each.name: each.value for each in entity.module_parameters}
        return str(entity.id), (str(module.data.name), str(values.get("Target") or ""))

    def _why(self, seen: Any, nodes: Sequence[Node]) -> str:
        """Say why a job has failed."""
        for node in nodes:
            if node.state == "failed":
                error = self._error(seen, node) if node.run else None
                told = str(faults.failed(f"{node.step} failed", error)) if error else ""
                return told or f"{node.step} failed: {node.detail or 'Azure says nothing more'}"
        detail = seen.status.status_detail if seen.status else ""
        return detail or "it failed before any of its steps began"

    def _error(self, seen: Any, node: Node) -> Any:
        """Return what the run history has of a failed node, or None."""
        from azureml.core import Run

        with speaking(f"Why {node.step} failed in the job {seen.id} can't be read"):
            found = self._site.retried(lambda: Run(self._experiment(seen), node.run, clean_up=False))
            return self._site.retried(found.get_details).get("error")

    def _waiting(self, job: str, nodes: Sequence[Node]) -> str:
        """Say what a job waits for, and cancel it if it has waited for a node for too long."""
        node = next((each for each in nodes if each.state == "queued" and each.run), None)
        if node is None:
            return ""
        state = self._history_state(job, node)
        if state != _QUEUED:  # such as Preparing: its image is being built
            self._since.pop(job, None)
            return f"{node.step} is {state.lower()}"
        since = self._since.setdefault(job, time.monotonic())
        missing = self._trouble() or f"no node of {node.compute} is free"
        waited = time.monotonic() - since
        if waited > self._site.settings.timeouts.nodes and job not in self._ended:
            self._jobs.cancel(job)
            self._ended[job] = (
                f"it got no node of {node.compute} in {waited / 60:.0f} min: {missing.rstrip('.')}. Make "
                "room (quota, max_nodes, other jobs), or allow more time: timeouts.nodes in "
                f"{settings.FILE}"
            )
        return missing

    def _history_state(self, job: str, node: Node) -> str:
        from azureml._restclient.workspace_client import WorkspaceClient

        with speaking(f"What the job {job} waits for can't be read"):
            client = WorkspaceClient(self._site.workspace.service_context)
            return str(self._site.retried(lambda: client.get_run(node.run)).status)

    def _trouble(self) -> str:
        """Return why the compute gives no nodes, or "" where it can't be told."""
        try:
            return compute.trouble(self._site)
        except PlatformError:  # it is told beside what was asked for
            return ""

    def _address(self, seen: Any) -> str:
        """Return the address of a job in the studio."""
        from azureml.core._portal import HasRunPortal

        return str(HasRunPortal(experiment=self._experiment(seen), run_id=seen.id).get_portal_url())

    def _experiment(self, seen: Any) -> Any:
        from azureml.core import Experiment

        return Experiment(self._site.workspace, seen.run_history_experiment_name, _create_in_cloud=False)


def _state(code: Any) -> JobState:
    """Return the state of a node in the protocol's words; what nobody knows isn't an end."""
    return _STATES.get(str(code or "NotStarted"), "running")
