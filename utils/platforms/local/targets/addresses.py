"""The address of a Service: what it leads to, and where it is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from utils.platforms.local.settings import Settings
from utils.platforms.local.targets.kubectl import Kubectl
from utils.platforms.protocol import PlatformError

POLL_SECONDS = 0.5
SWITCH_SECONDS = 60.0


def filled(template: str, setting: str, words: Mapping[str, str]) -> str:
    """Put words into a setting such as "mlops-{environment}".

    Raises
    ------
    PlatformError
        If it wants a word that there is not.
    """
    try:
        return template.format_map(words)
    except (KeyError, ValueError, IndexError, AttributeError):
        raise PlatformError(
            f"serving.{setting} in parameters/local.yml is {template!r}: what stands in braces has to be one "
            f"of {', '.join(words)}."
        ) from None


def wait_until_led(kubectl: Kubectl, service: str, pods: Callable[[], Sequence[Collection[str]]]) -> None:
    """Wait until a Service leads to pods of each of some versions, and to no others.

    Parameters
    ----------
    kubectl : Kubectl
    service : str
        Its name.
    pods : callable
        Returns the names of each version's pods.

    Raises
    ------
    PlatformError
        If it doesn't after a minute.
    """

    def led() -> bool:
        targets = {
            endpoint.get("targetRef", {}).get("name")
            for part in kubectl.items("endpointslices", {"kubernetes.io/service-name": service})
            for endpoint in part.get("endpoints") or []
            # A pod that is unready, or about to end, gets no new connections.
            if endpoint.get("conditions", {}).get("ready") is not False
        }
        versions = pods()
        return all(targets & set(each) for each in versions) and targets <= set().union(*versions)

    _wait(led, SWITCH_SECONDS, f"The Service {service} didn't lead to the pods that it selects")


def address(kubectl: Kubectl, service: str, settings: Settings, words: Mapping[str, str]) -> str:
    """Return the base address of a Service; wait for its load balancer, if it has one.

    Parameters
    ----------
    kubectl : Kubectl
    service : str
        Its name.
    settings : Settings
    words : mapping
        What may be put into the setting `address`.

    Raises
    ------
    PlatformError
        If the setting gives no address, or the load balancer hasn't got one in time.
    """
    if settings.address:
        given = filled(settings.address, "address", words).rstrip("/")
        if not re.fullmatch(r"https?://[^\s/]\S*", given):
            raise PlatformError(
                f"serving.address must give an address that starts with http:// or https://, not {given}."
            )
        return given
    if settings.exposure == "cluster":
        return f"http://{service}.{kubectl.namespace}.svc.cluster.local"
    found: list[str] = []

    def has_address() -> bool:
        status = (kubectl.find("service", service) or {}).get("status", {})
        for each in status.get("loadBalancer", {}).get("ingress") or []:
            found.append(each.get("hostname") or each["ip"])
        return bool(found)

    _wait(
        has_address,
        settings.start_seconds,
        f"The load balancer of {service} got no address (`kubectl describe service {service}` says why)",
    )
    return f"http://{found[0]}"


def _wait(condition: Callable[[], bool], seconds: float, failed: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            raise PlatformError(f"{failed} within {seconds:g} seconds.")
        time.sleep(POLL_SECONDS)
