"""Why pods don't get ready: what the cluster says of them, in words for a person."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from utils.platforms.local.targets.kubectl import Kubectl, Manifest
from utils.platforms.protocol import PlatformError

LOG_LINES = 15

# What a container waits for in vain, and what it means. The first attempt to pull, "ErrImagePull", may fail
# for a moment; the second name says that it has failed.
_WAITING = {
    "ImagePullBackOff": "The image {image} can't be pulled: see that it is in the registry, and that the "
    "cluster may read from it (docs/kubernetes.md)",
    "InvalidImageName": "The image {image} has no name that a registry could have",
    "CreateContainerConfigError": "The container can't be made",
    "CreateContainerError": "The container can't be made",
    "RunContainerError": "The container can't be started",
}


def fault(kubectl: Kubectl, deployment: Manifest, pods: Sequence[Manifest]) -> str | None:
    """Return why a version will not get ready by itself, or None if it still may.

    Parameters
    ----------
    kubectl : Kubectl
        Asked for the log of a container that has ended.
    deployment : dict
    pods : sequence of dict
        Those of its pods that are to stay.
    """
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            said = condition.get("message", "")
            what = (
                "The quota of the namespace is used up"
                if "exceeded quota" in said
                else "The cluster refuses to make the pods"
            )
            return f"{what}: {said}"
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", []):
            found = _of_container(kubectl, pod["metadata"]["name"], container)
            if found:
                return found
    return None


def waiting(kubectl: Kubectl, pods: Sequence[Manifest]) -> str:
    """Say what pods that are not ready after all this time were doing."""
    told = []
    for pod in pods:
        if ready(pod):
            continue
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                told.append(f"{name} has no node: {condition.get('message', '')}")
                break
        else:
            told.append(
                f"{name} is {status.get('phase', 'unknown')}; its log ends with:\n{log(kubectl, name)}"
            )
            break  # the logs of the others say the same
    return "\n".join(told) or "There are no pods yet."


def ready(pod: Manifest) -> bool:
    """Tell whether a pod is ready."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def log(kubectl: Kubectl, pod: str, *words: str) -> str:
    """Return the end of a pod's log."""
    with contextlib.suppress(PlatformError):
        return kubectl.run("logs", pod, f"--tail={LOG_LINES}", *words).rstrip()
    return "(no log)"


def _of_container(kubectl: Kubectl, pod: str, container: Mapping[str, Manifest]) -> str | None:
    if container.get("ready"):
        return None
    state = container.get("state", {})
    waits = state.get("waiting", {})
    if known := _WAITING.get(waits.get("reason", "")):
        return f"{known.format(image=container.get('image', ''))}: {waits.get('message', waits['reason'])}"
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if not ended:
        return None
    if ended.get("reason") == "OOMKilled":
        return f"The pod {pod} was killed because it took more memory than its limit in the overlay."
    # A container that was started again has a new log, of which we know nothing yet.
    text = log(kubectl, pod, *(["--previous"] if "terminated" not in state else []))
    code = ended.get("exitCode")
    return f"The service ended with exit code {code} in the pod {pod}; its log ends with:\n{text}"
