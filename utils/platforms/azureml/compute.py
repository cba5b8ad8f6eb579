"""What trains: a cluster, an attached machine, or the caller itself; and what serves production."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import faults, sdk, settings, waiting
from utils.platforms.protocol import PlatformError, Resource

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

_WHERE = f"{settings.FILE}: {settings.SECTION}"
_PRIORITIES = {"dedicated": "dedicated", "lowpriority": "lowpriority"}
_PURPOSES = {"fast": "FastProd", "dev": "DevTest"}


def provision(site: Site) -> Resource:
    """Make what trains, where it isn't there yet, and say what it is.

    Raises
    ------
    PlatformError
        If it can't be had, is another than the settings say, or gets no nodes.
    """
    given = site.settings.compute
    if given.target == "local":
        return Resource("compute", "found", "where the command runs")
    state = "found" if site.inside else _ready(site)
    if given.target == "vm":
        return Resource("compute", state, f"the attached machine {given.name} ({given.vm.resource})")
    return Resource(
        "compute",
        state,
        f"the cluster {given.name}: {given.min_nodes} to {given.max_nodes} × {given.size}, "
        f"given back after {given.idle_seconds} s without work",
    )


def target(site: Site) -> Any:
    """Return what trains, as the SDK has it; it is made if need be.

    Raises
    ------
    PlatformError
        As `provision`, and where the target is local: nothing is sent there.
    """
    given = site.settings.compute
    if given.target == "local":
        raise PlatformError(f"{_WHERE}.compute.target is local: nothing runs on Azure's compute.")
    if not site.inside:
        _ready(site)
    found = find(site, given.name)
    if found is None:
        raise PlatformError(f"The workspace has no compute {given.name!r}.")
    return found


def trouble(site: Site) -> str:
    """Return why what trains gives no nodes, in a sentence; "" where nothing is known to be wrong.

    For whoever waits for a job that stays in the queue.
    """
    given = site.settings.compute
    if given.target == "local":
        return ""
    found = find(site, given.name)
    if found is None:
        return f"The workspace has no compute {given.name!r} any more."
    errors = list(found.provisioning_errors or [])
    status = getattr(found, "status", None)
    if status is not None:
        errors += list(status.errors or [])
    for each in errors:
        return str(faults.failed(f"The compute {given.name!r} gets no nodes", each))
    counts = getattr(status, "node_state_counts", None)
    if counts is not None and counts.unusable_node_count:
        return (
            f"The compute {given.name!r} has {counts.unusable_node_count} unusable nodes: look at it in the "
            "studio, under Compute."
        )
    return ""


def cluster(site: Site) -> Any:
    """Return the Kubernetes cluster that serves production, as the SDK has it.

    It is attached or made if the workspace has none and the settings say so; that takes up to half an hour.

    Raises
    ------
    PlatformError
        If there is none and none is to be made, or it isn't whole.
    """
    given = site.settings.aks
    label = f"The Kubernetes cluster {given.name!r}"
    if find(site, given.name) is None:
        if not (given.attach or given.create):
            raise PlatformError(
                f"The workspace has no Kubernetes cluster {given.name!r}: set in {_WHERE}.aks attach (a "
                "cluster that you have) or create: true (which costs from then on), or another name."
            )
        with faults.speaking(f"{label} can't be {'attached' if given.attach else 'made'}"):
            _make(site, given.name, _aks(site), attach=bool(given.attach))
    found, _ = _whole(site, given.name, label, site.settings.timeouts.cluster)
    kind = sdk.core().compute.AksCompute
    if not isinstance(found, kind):
        raise PlatformError(f"{_WHERE}.aks.name: {given.name!r} is no Kubernetes cluster, but {found.type}.")
    return found


def find(site: Site, name: str) -> Any:
    """Return a compute of the workspace, or None.

    Raises
    ------
    PlatformError
        If it can't be told.
    """
    from azureml.core.compute import ComputeTarget
    from azureml.exceptions import ComputeTargetException

    with faults.speaking(f"The compute {name!r} can't be read"):
        try:
            return site.retried(lambda: ComputeTarget(site.workspace, name))
        except ComputeTargetException as error:
            # Its only mark, for a 404 alone.
            if str(error.message).startswith("ComputeTargetNotFound"):
                return None
            raise


def _ready(site: Site) -> str:
    """Make what trains, or find it as the settings say; return "created" or "found"."""
    given = site.settings.compute
    label = f"The {'cluster' if given.target == 'cluster' else 'machine'} {given.name!r}"
    state = "found"
    if find(site, given.name) is None:
        with faults.speaking(f"{label} can't be {'made' if given.target == 'cluster' else 'attached'}"):
            configuration = _amlcompute(site) if given.target == "cluster" else _machine(site)
            _make(site, given.name, configuration, attach=given.target == "vm")
        state = "created"
    found, _ = _whole(site, given.name, label, site.settings.timeouts.compute)
    _demand_same(site, found)
    if given.target == "cluster":
        _scale(site, found)
        if given.min_nodes:
            _await_nodes(site, label)
    return state


def _amlcompute(site: Site) -> Any:
    given = site.settings.compute
    return sdk.core().compute.AmlCompute.provisioning_configuration(
        vm_size=given.size,
        vm_priority=_PRIORITIES[given.priority],
        min_nodes=given.min_nodes,
        max_nodes=given.max_nodes,
        idle_seconds_before_scaledown=given.idle_seconds,
    )


def _machine(site: Site) -> Any:
    given = site.settings.compute.vm
    if not Path(given.key_file).expanduser().is_file():
        raise PlatformError(f"{_WHERE}.compute.vm.key_file names {given.key_file!r}, which isn't a file.")
    return sdk.core().compute.RemoteCompute.attach_configuration(
        username=given.user,
        resource_id=given.resource,
        ssh_port=given.port,
        private_key_file=str(Path(given.key_file).expanduser()),
    )


def _aks(site: Site) -> Any:
    given = site.settings.aks
    kind = sdk.core().compute.AksCompute
    if given.attach:
        place = f"/subscriptions/{site.settings.subscription}/resourceGroups/{site.settings.resource_group}"
        resource = (
            given.attach
            if given.attach.startswith("/")
            else f"{place}/providers/Microsoft.ContainerService/managedClusters/{given.attach}"
        )
        made = kind.attach_configuration(resource_id=resource, cluster_purpose=_PURPOSES[given.purpose])
    else:
        made = kind.provisioning_configuration(
            agent_count=given.nodes, vm_size=given.size, cluster_purpose=_PURPOSES[given.purpose]
        )
    if given.leaf_label:
        made.enable_ssl(leaf_domain_label=given.leaf_label, overwrite_existing_domain=False)
    return made


def _make(site: Site, name: str, configuration: Any, *, attach: bool) -> None:
    """Begin to make or attach a compute. If somebody else has begun just now, theirs will do."""
    from azureml.core.compute import ComputeTarget

    begin: Callable[..., Any] = ComputeTarget.attach if attach else ComputeTarget.create
    try:
        with sdk.quiet():
            site.retried(lambda: begin(site.workspace, name, configuration))
    except Exception as error:
        refused = error
    else:
        return
    # There is one by now, or the SDK couldn't see at once what it had made.
    if find(site, name) is None:
        raise refused


def _whole(site: Site, name: str, label: str, timeout: float) -> tuple[Any, str]:
    """Wait until a compute is whole; return it with its state."""

    def look() -> tuple[Any, str]:
        found = find(site, name)
        if found is None:
            raise PlatformError(f"{label} is gone: somebody has deleted it.")
        state = str(found.provisioning_state)
        if state in ("Failed", "Canceled", "Deleting"):
            errors = list(found.provisioning_errors or [])
            advice = "delete it in the studio (Compute), then run again"
            raise faults.failed(
                f"{label} isn't whole (its state is {state}: {advice})",
                errors[0] if errors else {"code": state, "message": "Azure gives no reason"},
            )
        return (found if state == "Succeeded" else None), state.lower()

    found = look()[0]
    if found is None:
        found = waiting.wait_for(label, look, timeout=timeout, interval=site.settings.poll_seconds)
    return found, str(found.provisioning_state)


def _demand_same(site: Site, found: Any) -> None:
    """Refuse a compute that isn't what the settings say and can't be made so."""
    given = site.settings.compute
    core = sdk.core()
    kind = core.compute.AmlCompute if given.target == "cluster" else core.compute.RemoteCompute
    if not isinstance(found, kind):
        raise PlatformError(
            f"{_WHERE}.compute.name: {given.name!r} is no {given.target}, but {found.type}: choose another "
            "name."
        )
    if given.target == "vm":
        there = str(found.cluster_resource_id or "")
        if there.lower() != given.vm.resource.lower():
            raise PlatformError(
                f"{_WHERE}.compute.vm.resource is {given.vm.resource}, but {given.name!r} is attached to "
                f"{there}: choose another name, or detach it."
            )
        return
    for setting, wanted, there in (
        ("size", given.size, str(found.vm_size)),
        ("priority", given.priority, str(found.vm_priority)),
    ):
        if wanted.lower() != there.lower():
            raise PlatformError(
                f"{_WHERE}.compute.{setting} is {wanted}, but the cluster {given.name!r} has {there}, which "
                "can't be changed: choose another name, or delete the cluster."
            )


def _scale(site: Site, found: Any) -> None:
    """Give a cluster the numbers of nodes and the idle time that the settings say."""
    given = site.settings.compute
    there = found.scale_settings
    has = (there.minimum_node_count, there.maximum_node_count, int(there.idle_seconds_before_scaledown))
    wanted = (given.min_nodes, given.max_nodes, given.idle_seconds)
    if has == wanted:
        return
    with faults.speaking(f"The cluster {given.name!r} can't be given other numbers of nodes"), sdk.quiet():
        site.retried(lambda: found.update(*wanted))
    _whole(site, given.name, f"The cluster {given.name!r}", site.settings.timeouts.compute)


def _await_nodes(site: Site, label: str) -> None:
    """Wait until a cluster has as many nodes as it always keeps."""
    given = site.settings.compute

    def look() -> tuple[Any, str]:
        wrong = trouble(site)
        if wrong:
            raise PlatformError(wrong)
        status = find(site, given.name).status
        count = status.current_node_count if status is not None else 0
        return (True if (count or 0) >= given.min_nodes else None), f"{count} of {given.min_nodes} nodes"

    waiting.wait_for(
        label,
        look,
        timeout=site.settings.timeouts.nodes,
        interval=site.settings.poll_seconds,
        resume="look at the cluster and the subscription's quota in the studio, then run again",
    )
