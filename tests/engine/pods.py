"""Pods run by podman: a stand-in for the nodes of a cluster, which can't be had in tests.

`podman kube play` makes containers of a pod's own manifest and the Secret that it mounts: image by digest,
arguments, variables, limits, security context, volumes. It knows neither Service, NetworkPolicy,
HorizontalPodAutoscaler nor PodDisruptionBudget, and without systemd it asks no probe. So the readiness
probe's path is asked here; preStop is not waited for, a Secret that changes does not reach a pod that runs,
and fsGroup gives nothing.

Some things are changed: a container that ends is not started again; the port is published on a free one of
loopback; the names of a pod's empty volumes are made its own, as podman would share them between pods; and
the values of a Secret, which podman 4.3 mounts as they are written, in base64, are decoded where it has put
them.
"""

from __future__ import annotations

import base64
import copy
import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.engine.registry import free_port

Record = dict[str, Any]


class Pods:
    """Runs pods; see `tests.utils.platforms.cluster.Runner`."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._secrets: dict[str, Record] = {}

    def start(self, pod: Record, secrets: list[Record]) -> str:
        """Start a pod, and return its address."""
        name = pod["metadata"]["name"]
        played = copy.deepcopy({key: pod[key] for key in ("apiVersion", "kind", "metadata", "spec")})
        self.ports[name] = free_port()
        played["spec"]["restartPolicy"] = "Never"
        (container,) = played["spec"]["containers"]
        container["ports"][0] |= {"hostPort": self.ports[name], "hostIP": "127.0.0.1"}
        renamed = {
            volume["name"]: f"{name}-{volume['name']}"
            for volume in played["spec"]["volumes"]
            if "emptyDir" in volume
        }
        for each in (*played["spec"]["volumes"], *container["volumeMounts"]):
            each["name"] = renamed.get(each["name"], each["name"])
        fresh = [each for each in secrets if self._secrets.get(each["metadata"]["name"]) != each["data"]]
        for each in fresh:
            secret = each["metadata"]["name"]
            if secret in self._secrets:
                podman("secret", "rm", secret)
            self._secrets[secret] = each["data"]
        manifests = yaml.safe_dump_all([*fresh, played])
        podman("kube", "play", "--tls-verify=false", "--start=false", "-", stdin=manifests)
        for each in secrets:
            _decode(each)
        podman("pod", "start", name)
        return "127.0.0.1"

    def look(self, pod: Record) -> tuple[bool, list[Record]]:
        """Ask the readiness probe's path; return the state of a container that has ended."""
        name, (container,) = pod["metadata"]["name"], pod["spec"]["containers"]
        state = inspected(name)["State"]
        if not state["Running"]:
            ended = {"exitCode": state["ExitCode"], "reason": "OOMKilled" if state["OOMKilled"] else "Error"}
            return False, [{"image": container["image"], "ready": False, "state": {"terminated": ended}}]
        return self.probe(pod, "readiness"), []

    def probe(self, pod: Record, which: str) -> bool:
        """Do what the kubelet does for a probe."""
        (container,) = pod["spec"]["containers"]
        probe = container[f"{which}Probe"]
        status, _ = ask(
            self.ports[pod["metadata"]["name"]], probe["httpGet"]["path"], probe["timeoutSeconds"]
        )
        return 200 <= status < 400

    def log(self, pod: Record) -> str:
        """Return what it has printed."""
        return podman("logs", container_of(pod["metadata"]["name"]), both=True)

    def stop(self, pod: Record) -> None:
        """End a pod by SIGTERM, and remove what it had."""
        name, seconds = pod["metadata"]["name"], pod["spec"]["terminationGracePeriodSeconds"]
        podman("pod", "stop", "--time", str(seconds), name)
        podman("pod", "rm", "--force", name)
        podman("volume", "prune", "--force")
        del self.ports[name]


def _decode(secret: Record) -> None:
    folder = Path(
        podman("volume", "inspect", "--format", "{{.Mountpoint}}", secret["metadata"]["name"]).strip()
    )
    for name, value in secret["data"].items():
        (folder / name).write_bytes(base64.b64decode(value))


def container_of(pod: str) -> str:
    """Return the name that podman gives to the one container of a pod."""
    return f"{pod}-scoring"


def inspected(pod: str) -> Record:
    """Return what podman knows of the container of a pod."""
    (found,) = json.loads(podman("inspect", container_of(pod)))
    return dict(found)


def ask(port: int, path: str, seconds: float = 10.0, body: Any = None, key: str = "") -> tuple[int, Any]:
    """Ask a pod's service; status 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()
    return response.status, json.loads(text) if text.startswith("{") else text


def podman(*words: str, stdin: str = "", both: bool = False) -> str:
    """Run podman, and return what it prints."""
    done = subprocess.run(
        ["podman", *words], input=stdin, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise RuntimeError(f"podman {' '.join(words)}:\n{done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if both else "")
