"""Versions as Deployments of a Kubernetes cluster, behind a Service whose selector leads to some of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from utils.platforms.local.targets import Handle, Site, Version, addresses, diagnosis, rendering
from utils.platforms.local.targets import shares as by_pods
from utils.platforms.local.targets.kubectl import MANAGER, Kubectl, Manifest
from utils.platforms.local.targets.rendering import PACKAGE, ROUTE
from utils.platforms.protocol import PlatformError

AUTOSCALERS = "horizontalpodautoscalers"
VERSION_KINDS = f"deployments,{AUTOSCALERS},poddisruptionbudgets"
ENDPOINT_KINDS = f"services,{VERSION_KINDS},networkpolicies,secrets"

SLICE_SECONDS = 3.0
# Longer than terminationGracePeriodSeconds.
STOP_SECONDS = 120.0


class Kubernetes:
    """Runs the versions of one service in one environment on a cluster; see `targets.Target`.

    A version is a Deployment, a PodDisruptionBudget and, while it alone gets the requests, a
    HorizontalPodAutoscaler. So one that waits, or was replaced, keeps its pods and can take all requests
    at once; and shares, which are given by numbers of pods, stay what they are.

    Parameters
    ----------
    site : Site
        Its settings name the context and the namespace. Its port is of no use here.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._name = rendering.name(site.service, site.environment)
        self._labels = rendering.labels(site)

    def start(self, version: Version) -> Handle:
        """Make the version's pods, as many as those that get the requests now; don't wait for them.

        Raises
        ------
        PlatformError
            If the cluster can't be reached, refuses, or couldn't pull the image.
        """
        kubectl = self._kubectl()
        made = rendering.version(self._site, version, kubectl.namespace)
        deployment = made["Deployment"]
        running = self._running(kubectl)
        pods = max(deployment["spec"]["replicas"], self._capacity(kubectl, running))
        there = running.get(deployment["metadata"]["name"])
        if there is not None:
            # It may get requests: it keeps its pods, and none is replaced for the sake of a label.
            pods = max(pods, _pods(there))
            deployment["spec"]["template"]["metadata"]["labels"][ROUTE] = _route(there)
        deployment["spec"]["replicas"] = pods
        network = rendering.endpoint(self._site, self._labels, kubectl.namespace)["NetworkPolicy"]
        kubectl.apply([rendering.keys(self._site), network, made["PodDisruptionBudget"], deployment])
        return {
            "context": kubectl.context,
            "namespace": kubectl.namespace,
            "deployment": deployment["metadata"]["name"],
            "digest": version.digest,
            "model_version": version.model_version,
            "image": version.image,
        }

    def wait(self, handle: Handle, seconds: float) -> None:
        """Wait until all pods of a version are ready.

        Raises
        ------
        PlatformError
            As soon as it is known that they won't be: the image can't be pulled, the service ends, the
            quota is used up; or after `seconds`.
        """
        kubectl = _place(handle)
        end = time.monotonic() + seconds
        while not kubectl.rolled_out(
            handle["deployment"], max(1.0, min(SLICE_SECONDS, end - time.monotonic()))
        ):
            deployment = kubectl.find("deployment", handle["deployment"])
            if deployment is None:
                raise PlatformError(f"{handle['deployment']} was deleted while it started: deploy it again.")
            pods = self._staying(kubectl, handle)
            told = diagnosis.fault(kubectl, deployment, pods)
            if told is not None:
                raise PlatformError(told)
            if time.monotonic() >= end:
                raise PlatformError(
                    f"The pods of {handle['deployment']} weren't ready after {seconds:g} seconds. "
                    f"{diagnosis.waiting(kubectl, pods)}"
                )

    def route(self, shares: Sequence[tuple[Handle, int]]) -> str:
        """Let the Service select the pods of these versions; return its address.

        Before that, the versions get the numbers of pods that they need, and all of these are ready.
        Connections that are open stay with the pods that have them.

        Raises
        ------
        PlatformError
            If the shares can't be given by numbers of pods, a version has ended or doesn't get ready, or
            the cluster doesn't do it.
        """
        kubectl = self._kubectl()
        running = self._running(kubectl)
        handles = self._checked(kubectl, shares, running)
        made = [
            rendering.version(self._site, _version(handle, self._site), kubectl.namespace)
            for handle in handles
        ]
        autoscaler = made[0]["HorizontalPodAutoscaler"]
        now = self._capacity(kubectl, running)
        if len(handles) == 1:
            pods = max(now, _pods(running[handles[0]["deployment"]]))
            self._adjust(kubectl, [(handles[0], pods)], running, "")
            self._lead(kubectl, handles, {PACKAGE: handles[0]["digest"][:12]})
            others = [name for name in running if name != handles[0]["deployment"]]
            if others:
                kubectl.run("delete", AUTOSCALERS, *others, "--ignore-not-found")
            kubectl.apply([autoscaler])
        else:
            most = max(now, int(autoscaler["spec"]["maxReplicas"]))
            counts = by_pods.pods([share for _, share in shares], now, most)
            group = _group(shares, running)
            with self._without_autoscalers(kubectl):
                self._adjust(kubectl, list(zip(handles, counts, strict=True)), running, group)
                self._lead(kubectl, handles, {ROUTE: group})
        return self._address(kubectl)

    def stop(self, handle: Handle) -> None:
        """Delete a version, and wait until each of its pods has finished what it had."""
        _place(handle).delete(VERSION_KINDS, self._selector(handle), STOP_SECONDS)

    def alive(self, handle: Handle) -> bool:
        """Whether the version has a pod. What ends in it, the cluster starts again."""
        return self._status(handle).get("replicas", 0) > 0

    def ready(self, handle: Handle) -> bool:
        """Whether a pod of the version is ready.

        It says so only once it has verified its package. Which one that is, the image's digest tells.
        """
        return self._status(handle).get("readyReplicas", 0) > 0

    def details(self, handle: Handle) -> dict[str, Any]:
        """Return where the version runs, how many of its pods are ready, and how to read its log."""
        status = self._status(handle)
        place = {name: handle[name] for name in ("context", "namespace", "deployment", "image")}
        return {
            **place,
            "pods": f"{status.get('readyReplicas', 0)} of {status.get('replicas', 0)} ready",
            "log": f"kubectl --context {handle['context']} --namespace {handle['namespace']} "
            f"logs deployment/{handle['deployment']}",
        }

    def refresh_keys(self) -> None:
        """Bring the endpoint's keys, as they are now, to the cluster; its pods have them within two minutes.

        Raises
        ------
        PlatformError
            If the cluster can't be reached or refuses.
        """
        self._kubectl().apply([rendering.keys(self._site)])

    def clear(self) -> None:
        """Delete everything that the service has in this environment."""
        self._kubectl().delete(ENDPOINT_KINDS, self._labels, STOP_SECONDS)

    # ------------------------------------------------------------------ what is there

    def _kubectl(self) -> Kubectl:
        """Return kubectl for the settings' context and namespace, neither of which is ever guessed."""
        settings = self._site.settings
        missing = [f"serving.{name}" for name in ("context", "namespace") if not getattr(settings, name)]
        if missing:
            raise PlatformError(
                f"{' and '.join(missing)} must be given in parameters/local.yml: what kubectl would take by "
                "itself may be another cluster tomorrow."
            )
        words = {"environment": self._site.environment}
        return Kubectl(
            addresses.filled(settings.context, "context", words),
            addresses.filled(settings.namespace, "namespace", words),
        )

    def _selector(self, handle: Handle) -> dict[str, str]:
        return {**self._labels, PACKAGE: handle["digest"][:12]}

    def _running(self, kubectl: Kubectl) -> dict[str, Manifest]:
        """Return the Deployments of all versions, by name."""
        return {str(each["metadata"]["name"]): each for each in kubectl.items("deployments", self._labels)}

    def _status(self, handle: Handle) -> dict[str, int]:
        """Return how many pods of a version there are ("replicas"), and are ready ("readyReplicas")."""
        found = _place(handle).find("deployment", handle["deployment"]) or {}
        return {name: n for name, n in found.get("status", {}).items() if isinstance(n, int)}

    def _staying(self, kubectl: Kubectl, handle: Handle) -> list[Manifest]:
        """Return the pods of a version that aren't about to end."""
        pods = kubectl.items("pods", self._selector(handle))
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _capacity(self, kubectl: Kubectl, running: Mapping[str, Manifest]) -> int:
        """Return how many pods there are of those versions that get the requests now."""
        service = kubectl.find("service", self._name)
        if service is None:
            return 0
        selector = service["spec"]["selector"].items()
        return sum(
            _pods(each)
            for each in running.values()
            if selector <= each["spec"]["template"]["metadata"]["labels"].items()
        )

    # ------------------------------------------------------------------ leading requests

    def _checked(
        self, kubectl: Kubectl, shares: Sequence[tuple[Handle, int]], running: Mapping[str, Manifest]
    ) -> list[Handle]:
        """Return the versions that shall get requests."""
        if any(share <= 0 for _, share in shares) or sum(share for _, share in shares) != 100:
            raise PlatformError("The shares have to be more than 0 each, and 100 per cent together.")
        for handle, _ in shares:
            if _place(handle) != kubectl:
                raise PlatformError(
                    f"{handle['deployment']} runs in {handle['namespace']} of {handle['context']}, and the "
                    f"settings name {kubectl.namespace} of {kubectl.context}: deploy it there first."
                )
            if handle["deployment"] not in running:
                raise PlatformError(f"{handle['deployment']} doesn't run any more: deploy its package again.")
        return [handle for handle, _ in shares]

    def _adjust(
        self,
        kubectl: Kubectl,
        counts: Sequence[tuple[Handle, int]],
        running: Mapping[str, Manifest],
        group: str,
    ) -> None:
        """Give each version its number of pods and its label; first more pods, then fewer."""
        for handle, count in sorted(counts, key=lambda each: _pods(running[each[0]["deployment"]]) - each[1]):
            change: Manifest = {"replicas": count}
            if group:
                change["template"] = {"metadata": {"labels": {ROUTE: group}}}
            there = running[handle["deployment"]]
            if _pods(there) != count or (group and _route(there) != group):
                kubectl.run(
                    *("patch", "deployment", handle["deployment"], "--type=merge"),
                    *(f"--field-manager={MANAGER}", "--patch", json.dumps({"spec": change})),
                )
            self.wait(handle, self._site.settings.start_seconds)

    def _lead(self, kubectl: Kubectl, handles: Sequence[Handle], chosen: Mapping[str, str]) -> None:
        """Let the Service select what has these labels, and wait until it leads there."""
        made = rendering.endpoint(self._site, {**self._labels, **chosen}, kubectl.namespace)
        kubectl.apply([made["Service"]])
        addresses.wait_until_led(
            kubectl,
            self._name,
            lambda: [{pod["metadata"]["name"] for pod in self._staying(kubectl, each)} for each in handles],
        )

    @contextlib.contextmanager
    def _without_autoscalers(self, kubectl: Kubectl) -> Iterator[None]:
        """Let no autoscaler change how many pods a version has; put them back should something fail."""
        found = kubectl.items(AUTOSCALERS, self._labels)
        names = [each["metadata"]["name"] for each in found]
        if names:
            kubectl.run("delete", AUTOSCALERS, *names, "--ignore-not-found")
        try:
            yield
        except BaseException:
            with contextlib.suppress(PlatformError):  # what failed at first is what has to be told
                kubectl.apply([_bare(each) for each in found])
            raise

    def _address(self, kubectl: Kubectl) -> str:
        words = {
            "service": self._site.service,
            "environment": self._site.environment,
            "name": self._name,
            "namespace": kubectl.namespace,
        }
        return addresses.address(kubectl, self._name, self._site.settings, words)


def _place(handle: Handle) -> Kubectl:
    return Kubectl(handle["context"], handle["namespace"])


def _version(handle: Handle, site: Site) -> Version:
    return Version(handle["digest"], handle["model_version"], site.folder, handle["image"])


def _pods(deployment: Manifest) -> int:
    return int(deployment["spec"]["replicas"])


def _route(deployment: Manifest) -> str:
    return str(deployment["spec"]["template"]["metadata"]["labels"].get(ROUTE, ""))


def _group(shares: Sequence[tuple[Handle, int]], running: Mapping[str, Manifest]) -> str:
    names = [handle["deployment"] for handle, _ in sorted(shares, key=lambda each: -each[1])]
    others = [_route(each) for name, each in running.items() if name not in names]
    return by_pods.group({name: _route(running[name]) for name in names}, others)


def _bare(found: Manifest) -> Manifest:
    """Return what was given of an object, without what the cluster has added."""
    metadata = {name: found["metadata"][name] for name in ("name", "namespace", "labels")}
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": metadata,
        "spec": found["spec"],
    }
