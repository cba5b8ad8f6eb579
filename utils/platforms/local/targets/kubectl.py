"""The command kubectl: always for a named context and namespace, its errors told as what they are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.platforms.protocol import PlatformError

Manifest = dict[str, Any]

# Who owns the fields that are applied, as the cluster keeps it.
MANAGER = "mlops"
REQUEST_SECONDS = 30.0
LINES = 8

# The first that matches tells; what kubectl said is given after it. A full quota and a policy that
# refuses are "Forbidden" too, and so come before a missing permission.
_KNOWN = (
    (
        r"no context exists with the name|context .* does not exist|context was not found",
        "kubectl knows no context {context}: `kubectl config get-contexts` shows those it knows, "
        "`az aks get-credentials` adds that of an AKS cluster",
    ),
    (
        r"exceeded quota",
        "The quota of the namespace {namespace} is used up: stop what isn't needed, or have it raised",
    ),
    (
        r"violates PodSecurity|admission webhook .* denied",
        "A policy of the cluster refuses what shall run in the namespace {namespace}",
    ),
    (
        r"Unauthorized|must be logged in|provide credentials|getting credentials: exec|"
        r"executable kubelogin not found|certificate has expired",
        "The cluster of the context {context} doesn't know you: log in again",
    ),
    (
        r"\(Forbidden\)|is forbidden",
        "You may not do this in the namespace {namespace} of the context {context}: have the role given "
        "to you that docs/kubernetes.md names",
    ),
    (
        r'namespaces "[^"]*" not found',
        "There is no namespace {namespace} in the cluster of the context {context}: "
        "`kubectl create namespace {namespace}` makes it",
    ),
    (
        r"unable to connect to the server|was refused|connection refused|no such host|i/o timeout|"
        r"TLS handshake timeout|context deadline exceeded|client connection lost|network is unreachable|"
        r"couldn't get current server API group list|no route to host|\(ServiceUnavailable\)",
        "The cluster of the context {context} can't be reached: see that it runs and that this machine "
        "may talk to it",
    ),
    (
        r"unknown field|no matches for kind",
        "The cluster of the context {context} is too old for what shall be deployed: it has to be "
        "Kubernetes 1.30 or later",
    ),
)


@dataclass(frozen=True)
class Kubectl:
    """Calls kubectl for one namespace of one cluster.

    Attributes
    ----------
    context, namespace : str
        Given with every call: what kubectl would take by itself depends on who used it last.
    """

    context: str
    namespace: str

    def run(self, *words: str, stdin: str | None = None, seconds: float = REQUEST_SECONDS) -> str:
        """Run a command and return what it prints.

        Raises
        ------
        PlatformError
            If it fails or takes longer than `seconds`.
        """
        return _run(
            ["--context", self.context, "--namespace", self.namespace, *words],
            stdin,
            seconds,
            {"context": self.context, "namespace": self.namespace},
        )

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None if there is none."""
        found = self._get(kind, name, "--ignore-not-found")
        return None if not found.strip() else _parsed(found)

    def items(self, kinds: str, selector: Mapping[str, str]) -> list[Manifest]:
        """Return the objects of some kinds that have these labels."""
        found: list[Manifest] = _parsed(self._get(kinds, "--selector", labels(selector)))["items"]
        return found

    def apply(self, objects: Sequence[Manifest]) -> None:
        """Make objects as they are given, by server-side apply; what a former one gave and this doesn't goes.

        They are given by a pipe, so that a secret among them is in no file and no list of processes.
        """
        self.run(
            *("apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}"),
            *("--validate=strict", f"--request-timeout={REQUEST_SECONDS:g}s", "--filename", "-"),
            stdin="\n".join(json.dumps(each) for each in objects),
            seconds=3 * REQUEST_SECONDS,
        )

    def delete(self, kinds: str, selector: Mapping[str, str], seconds: float) -> None:
        """Delete the objects of some kinds that have these labels, and wait until their pods have ended."""
        self.run(
            *("delete", kinds, "--selector", labels(selector), "--ignore-not-found"),
            *("--cascade=foreground", "--wait", f"--timeout={seconds:g}s"),
            seconds=seconds + REQUEST_SECONDS,
        )

    def rolled_out(self, deployment: str, seconds: float) -> bool:
        """Wait some seconds until all pods of a Deployment are as it says, and ready.

        Returns
        -------
        bool
            Whether they are. They aren't if there is no such Deployment.
        """
        words = ("rollout", "status", f"deployment/{deployment}", f"--timeout={seconds:g}s")
        try:
            self.run(*words, seconds=seconds + REQUEST_SECONDS)
        except PlatformError as error:
            # The cluster goes on trying also when it says that it has exceeded its deadline.
            if re.search(r"timed out waiting|progress deadline|\(NotFound\)", str(error)):
                return False
            raise
        return True

    def _get(self, *words: str) -> str:
        return self.run("get", *words, "--output", "json", f"--request-timeout={REQUEST_SECONDS:g}s")


def kustomize(folder: Path) -> str:
    """Build the manifests of a folder that has a kustomization, as YAML; no cluster is asked.

    Raises
    ------
    PlatformError
        If kubectl isn't there, or they can't be built.
    """
    return _run(["kustomize", str(folder)], None, 60.0, {})


def labels(selector: Mapping[str, str]) -> str:
    """Write labels as kubectl wants them for a selector."""
    return ",".join(f"{name}={value}" for name, value in selector.items())


def _run(words: list[str], stdin: str | None, seconds: float, place: Mapping[str, str]) -> str:
    doing = next(word for word in words if not word.startswith("-") and word not in place.values())
    try:
        done = subprocess.run(
            ["kubectl", *words],
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 5,
        )
    except FileNotFoundError:
        raise PlatformError(
            "kubectl isn't installed: install it, or set serving.target to another."
        ) from None
    except subprocess.TimeoutExpired:
        raise PlatformError(
            f"kubectl {doing} took longer than {seconds:g} seconds: see that the cluster can be reached."
        ) from None
    if done.returncode:
        raise _explained(done.stderr or done.stdout, doing, place)
    return done.stdout


def _explained(said: str, doing: str, place: Mapping[str, str]) -> PlatformError:
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    told = "\n".join(f"    {line[:400]}" for line in lines[-LINES:]) or "    (nothing)"
    for pattern, words in _KNOWN:
        if place and re.search(pattern, told, re.IGNORECASE):
            return PlatformError(f"{words.format_map(place)}.\n{told}")
    return PlatformError(f"kubectl {doing} failed; it said:\n{told}")


def _parsed(text: str) -> Manifest:
    try:
        found: Manifest = json.loads(text)
    except ValueError as error:
        raise PlatformError(f"kubectl's answer can't be read: {error}") from error
    return found
