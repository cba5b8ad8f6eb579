"""A stand-in for the API server and the controllers of a Kubernetes cluster, which can't be had in tests.

The real kubectl talks to it over HTTP, so that its commands and options, what it prints and what it says of
errors are real; every object that it is given is checked against Kubernetes' own schemas, strictly. All else
is a stand-in: there is no scheduler, kubelet, autoscaler, proxy, admission or etcd. Pods are records that are
ready at once, unless the test says otherwise, or podman runs them: see `tests/engine/test_kubernetes.py`.

So it does not prove that a real cluster accepts the manifests beyond their schemas, merges what is applied
in the same way, gives the pods rights, limits, volumes and probes as they say, or that no request is lost
while a Service's selector changes.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import kubernetes_validate
import yaml

Record = dict[str, Any]

CONTEXT = "test-cluster"
NAMESPACE = "mlops"
SCHEMAS = "1.32"

# Group and version, plural, kind.
RESOURCES = (
    ("v1", "pods", "Pod"),
    ("v1", "services", "Service"),
    ("v1", "secrets", "Secret"),
    ("apps/v1", "deployments", "Deployment"),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
)
KINDS = {plural: kind for _, plural, kind in RESOURCES}
VERSIONS = {plural: version for version, plural, _ in RESOURCES}


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Runner(Protocol):
    """Runs pods for real."""

    def start(self, pod: Record, secrets: list[Record]) -> str:
        """Start a pod, and return its IP address."""
        ...

    def look(self, pod: Record) -> tuple[bool, list[Record]]:
        """Whether its readiness probe would succeed, and its containerStatuses if it has ended."""
        ...

    def log(self, pod: Record) -> str:
        """Return what it has printed."""
        ...

    def stop(self, pod: Record) -> None:
        """End a pod as the kubelet does."""
        ...


class Cluster:
    """One namespace of a cluster, with a kubeconfig that leads to it.

    Attributes
    ----------
    refuse : callable or None
        Called with the method and the path of each request but those that ask what there is; may raise.
    fault : callable or None
        Called with a pod that was made; returns its containerStatuses and whether it is ready.
    quota : int
        How many pods there may be.
    holding : bool
        Whether pods are not ready yet.
    load_balancer : str
        The address that Services of that type get.
    log : str
        What every pod has logged.
    history : list of str
        What happened to which object, in order.
    """

    def __init__(self, folder: Path, runner: Runner | None = None) -> None:
        self.refuse: Callable[[str, str], None] | None = None
        self.fault: Callable[[Record], list[Record]] | None = None
        self.quota = 1000
        self.holding = False
        self.load_balancer = ""
        self.log = ""
        self.history: list[str] = []
        self._runner = runner
        self._objects: dict[tuple[str, str], Record] = {}
        self._applied: dict[tuple[str, str], Record] = {}
        self._events: list[tuple[str, str, Record]] = []
        self._version = 0
        self.changed = threading.Condition(threading.RLock())
        self._ended = threading.Event()
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._threads = [threading.Thread(target=self._server.serve_forever, args=(0.05,))]
        if runner is not None:
            self._threads.append(threading.Thread(target=self._look))
        for thread in self._threads:
            thread.start()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(kubeconfig(self._server.server_port))

    def close(self) -> None:
        """End it, and every pod."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for pod in self.all("pods"):
            self._drop("pods", pod["metadata"]["name"])

    # ------------------------------------------------------------------ what tests see and do

    def all(self, plural: str) -> list[Record]:
        """Return the objects of a kind."""
        with self.changed:
            return [
                copy.deepcopy(each) for (kind, _), each in sorted(self._objects.items()) if kind == plural
            ]

    def one(self, plural: str, name: str = "") -> Record:
        """Return the object of a kind, the only one or that of a name."""
        (found,) = [each for each in self.all(plural) if name in ("", each["metadata"]["name"])]
        return found

    def led(self) -> list[str]:
        """Return the digests (their beginnings) of the pods that the Service leads to, one for each pod."""
        with self.changed:
            return sorted(
                self._objects["pods", endpoint["targetRef"]["name"]]["metadata"]["labels"]["mlops/package"]
                for part in self.all("endpointslices")
                for endpoint in part["endpoints"]
            )

    def printed(self, pod: str) -> str:
        """Return the log of a pod."""
        return self.log if self._runner is None else self._runner.log(self.get("pods", pod))

    def reconcile(self) -> None:
        """Do what the controllers do after each change."""
        with self.changed:
            for deployment in [each for (kind, _), each in self._objects.items() if kind == "deployments"]:
                self._make_pods(deployment)
            self._slice()
            self.changed.notify_all()

    # ------------------------------------------------------------------ controllers

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.reconcile()

    def _make_pods(self, deployment: Record) -> None:
        template, spec = deployment["spec"]["template"], deployment["spec"]
        mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        own = self._owned(deployment["metadata"]["name"])
        fresh = [pod for pod in own if pod["metadata"]["labels"]["pod-template-hash"] == mark]
        failed = False
        while len(fresh) < spec["replicas"]:
            if len([1 for kind, _ in self._objects if kind == "pods"]) >= self.quota:
                failed = True
                break
            fresh.append(self._make_pod(deployment, mark, template))
        for pod in fresh[spec["replicas"] :]:
            self._drop("pods", pod["metadata"]["name"])
        fresh = fresh[: spec["replicas"]]
        for pod in fresh:
            self._judge(pod)
        ready = [pod for pod in fresh if _ready(pod)]
        if len(ready) == spec["replicas"]:
            for pod in own:
                if pod["metadata"]["labels"]["pod-template-hash"] != mark:
                    self._drop("pods", pod["metadata"]["name"])
        pods = self._owned(deployment["metadata"]["name"])
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(fresh),
            "readyReplicas": len([pod for pod in pods if _ready(pod)]),
            "availableReplicas": len([pod for pod in pods if _ready(pod)]),
            "conditions": [],
        }
        if failed:
            said = f'pods "x" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={self.quota}'
            status["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": said}]
        self._status(deployment, status)

    def _make_pod(self, deployment: Record, mark: str, template: Record) -> Record:
        self._version += 1
        name = f"{deployment['metadata']['name']}-{mark}-{self._version:05d}"
        pod: Record = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {**template["metadata"]["labels"], "pod-template-hash": mark},
                "ownerReferences": [{"name": deployment["metadata"]["name"]}],
            },
            "spec": copy.deepcopy(template["spec"]),
            "status": {"phase": "Pending", "conditions": []},
        }
        if self._runner is not None:
            pod["status"]["podIP"] = self._runner.start(pod, self.all("secrets"))
        self._put("pods", pod)
        return pod

    def _judge(self, pod: Record) -> None:
        statuses = self.fault(pod) if self.fault is not None else []
        ready = not self.holding and not statuses
        if self._runner is not None:
            ready, statuses = self._runner.look(pod)
        status = {**pod["status"], "phase": "Running", "containerStatuses": statuses}
        status["conditions"] = [{"type": "Ready", "status": str(ready)}]
        self._status(pod, status)

    def _slice(self) -> None:
        for service in [each for (kind, _), each in self._objects.items() if kind == "services"]:
            name, selector = service["metadata"]["name"], service["spec"]["selector"]
            endpoints = [
                {
                    "addresses": [pod["status"].get("podIP", "10.0.0.1")],
                    "conditions": {"ready": True},
                    "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
                }
                for pod in self.all("pods")
                if _ready(pod) and selector.items() <= pod["metadata"]["labels"].items()
            ]
            made = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-slice",
                    "namespace": NAMESPACE,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
            }
            there = self._objects.get(("endpointslices", f"{name}-slice"))
            if there is None or there["endpoints"] != endpoints:
                self._put("endpointslices", made)
            if service["spec"]["type"] == "LoadBalancer" and self.load_balancer:
                self._status(service, {"loadBalancer": {"ingress": [{"ip": self.load_balancer}]}})

    def _owned(self, deployment: str) -> list[Record]:
        return [
            each
            for (kind, _), each in sorted(self._objects.items())
            if kind == "pods" and each["metadata"]["ownerReferences"][0]["name"] == deployment
        ]

    def _status(self, found: Record, status: Record) -> None:
        if found.get("status") != status:
            found["status"] = status
            self._put(_plural(found["kind"]), found)

    def _put(self, plural: str, given: Record) -> None:
        key = (plural, given["metadata"]["name"])
        self._version += 1
        kind = "MODIFIED" if key in self._objects else "ADDED"
        given["metadata"].setdefault("uid", f"uid-{self._version}")
        given["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        given["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = given
        self._tell(kind, plural, given)

    def _drop(self, plural: str, name: str) -> None:
        gone = self._objects.pop((plural, name))
        self._applied.pop((plural, name), None)
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        if plural == "pods" and self._runner is not None:
            self._runner.stop(gone)
        self._tell("DELETED", plural, gone)
        if plural == "services":
            self._drop("endpointslices", f"{name}-slice")
        if plural == "deployments":
            for pod in self._owned(name):
                self._drop("pods", pod["metadata"]["name"])

    def _tell(self, kind: str, plural: str, given: Record) -> None:
        self._events.append((plural, kind, copy.deepcopy(given)))
        if plural not in ("pods", "endpointslices") or kind != "MODIFIED":
            self.history.append(f"{kind} {plural} {given['metadata']['name']}")

    # ------------------------------------------------------------------ the API

    def list(self, plural: str, query: dict[str, str]) -> Record:
        """Answer GET of a collection."""
        found = [each for each in self.all(plural) if _selected(each, query)]
        version = VERSIONS[plural]
        return {
            "kind": f"{KINDS[plural]}List",
            "apiVersion": version,
            "metadata": {"resourceVersion": str(self._version)},
            "items": found,
        }

    def watch(self, plural: str, query: dict[str, str]) -> Iterator[Record]:
        """Yield events since a version, until nothing more is wanted."""
        since = int(query.get("resourceVersion") or 0)
        position = 0
        while not self._ended.is_set():
            with self.changed:
                fresh = self._events[position:]
                position = len(self._events)
                if not fresh:
                    self.changed.wait(0.1)
            for kind, what, given in fresh:
                later = int(given["metadata"]["resourceVersion"]) > since
                if kind == plural and later and _selected(given, query):
                    yield {"type": what, "object": given}
            yield {}

    def get(self, plural: str, name: str) -> Record:
        """Answer GET of an object."""
        with self.changed:
            if (plural, name) not in self._objects:
                raise RefusedError(404, "NotFound", f'{plural} "{name}" not found')
            return copy.deepcopy(self._objects[plural, name])

    def apply(self, plural: str, name: str, given: Record) -> Record:
        """Answer a server-side apply: merge, and remove what was applied before and is not now."""
        try:
            kubernetes_validate.validate(given, SCHEMAS, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise RefusedError(400, "BadRequest", f"strict decoding error: {error.message}") from None
        with self.changed:
            there = self._objects.get((plural, name))
            before = self._applied.get((plural, name), {})
            merged = _merged(there or {}, given, before)
            self._applied[plural, name] = copy.deepcopy(given)
            return self._store(plural, there, merged)

    def patch(self, plural: str, name: str, change: Record) -> Record:
        """Answer a merge patch."""
        with self.changed:
            there = self.get(plural, name)
            return self._store(plural, there, _merged(there, change, {}))

    def delete(self, plural: str, name: str) -> Record:
        """Answer DELETE; pods have ended when it does."""
        with self.changed:
            gone = self.get(plural, name)
            self._drop(plural, name)
            self.reconcile()
            return gone

    def _store(self, plural: str, there: Record | None, merged: Record) -> Record:
        merged["metadata"].setdefault("namespace", NAMESPACE)
        generation = merged["metadata"].get("generation", 0)
        if there is None or there.get("spec") != merged.get("spec"):
            merged["metadata"]["generation"] = generation + 1
        self._put(plural, merged)
        self.reconcile()
        return copy.deepcopy(self._objects[plural, merged["metadata"]["name"]])


def kubeconfig(port: int) -> str:
    """Return a kubeconfig for an API server on loopback; its ambient namespace is one that nobody means."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [
                {"name": CONTEXT, "context": {"cluster": "c", "user": "u", "namespace": "somebody-elses"}}
            ],
            "current-context": "",
        }
    )


def _plural(kind: str) -> str:
    return next(plural for plural, known in KINDS.items() if known == kind)


def _ready(pod: Record) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])


def _selected(found: Record, query: dict[str, str]) -> bool:
    labels, metadata = found["metadata"].get("labels", {}), found["metadata"]
    wanted = [each.split("=", 1) for each in query.get("labelSelector", "").split(",") if each]
    fields = [each.split("=", 1) for each in query.get("fieldSelector", "").split(",") if each]
    return all(labels.get(name) == value for name, value in wanted) and all(
        metadata.get(name.removeprefix("metadata.")) == value for name, value in fields
    )


def _merged(there: Record, given: Record, before: Record) -> Record:
    made = {name: value for name, value in there.items() if name in given or name not in before}
    for name, value in given.items():
        # A Service's selector is atomic: it is replaced as a whole.
        if isinstance(value, dict) and isinstance(made.get(name), dict) and name != "selector":
            made[name] = _merged(made[name], value, before.get(name, {}))
        else:
            made[name] = copy.deepcopy(value)
    return made


class _Handler(http.server.BaseHTTPRequestHandler):
    """The API's paths."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    # An answer is sent as one packet: half of one would wait for kubectl's acknowledgement.
    wbufsize = -1

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        if (known := _discovery(url.path)) is not None:
            return self._answer(200, known)
        return self._try(lambda: self._read(url.path, query))

    def do_PATCH(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        content = self.rfile.read(int(self.headers["content-length"]))

        def write() -> Record:
            plural, name = self._named(url.path)
            namespace = url.path.partition("/namespaces/")[2].partition("/")[0]
            if namespace != NAMESPACE:
                raise RefusedError(404, "NotFound", f'namespaces "{namespace}" not found')
            if self.headers["content-type"] == "application/merge-patch+json":
                return self.cluster.patch(plural, name, json.loads(content))
            if self.headers["content-type"] != "application/apply-patch+yaml":
                raise RefusedError(415, "UnsupportedMediaType", "neither an apply nor a merge patch")
            for wanted in ("force=true", "fieldManager=mlops", "fieldValidation=Strict"):
                if wanted not in url.query:
                    raise RefusedError(400, "BadRequest", f"{wanted} was expected")
            return self.cluster.apply(plural, name, yaml.safe_load(content))

        self._try(write)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urllib.parse.urlsplit(self.path).path
        self._try(lambda: self.cluster.delete(*self._named(path)))

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # kubectl has seen enough
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _read(self, path: str, query: dict[str, str]) -> Record | str | None:
        plural, name = self._named(path)
        if path.endswith("/log"):
            return self.cluster.printed(name)
        if query.get("watch") in ("true", "1"):
            self._stream(plural, query)
            return None
        if f"/namespaces/{NAMESPACE}/" not in path:  # one that isn't there is as good as empty
            if name:
                raise RefusedError(404, "NotFound", f'{plural} "{name}" not found')
            return self.cluster.list(plural, {"labelSelector": "no=namespace"})
        return self.cluster.get(plural, name) if name else self.cluster.list(plural, query)

    @staticmethod
    def _named(path: str) -> tuple[str, str]:
        """Split …/namespaces/<namespace>/<plural>[/<name>]."""
        _, plural, name, *_ = [*path.partition("/namespaces/")[2].split("/"), "", ""]
        if plural not in KINDS:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        return plural, name

    def _try(self, do: Callable[[], Record | str | None]) -> None:
        try:
            if self.cluster.refuse is not None:
                self.cluster.refuse(self.command, self.path)
            answer = do()
        except RefusedError as refused:
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": str(refused),
                "reason": refused.reason,
                "details": {},
                "code": refused.code,
            }
            return self._answer(refused.code, status)
        if answer is not None:
            self._answer(200, answer)
        return None

    def _answer(self, code: int, answer: Record | str) -> None:
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, plural: str, query: dict[str, str]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.flush()
        for event in self.cluster.watch(plural, query):
            self.wfile.write(json.dumps(event).encode() + b"\n" if event else b"\n")
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def _discovery(path: str) -> Record | None:
    """Answer what an API server says of what it has."""
    groups = sorted({version for version, _, _ in RESOURCES if "/" in version})
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        known = [
            {
                "name": version.split("/")[0],
                "versions": [{"groupVersion": version, "version": version.split("/")[1]}],
                "preferredVersion": {"groupVersion": version, "version": version.split("/")[1]},
            }
            for version in groups
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": known}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in ("v1", *groups):
        resources = [
            {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": ["get", "list", "watch", "patch", "delete", "create", "update"],
            }
            for group, plural, kind in RESOURCES
            if group == version
        ]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": resources,
        }
    if path == "/openapi/v3":
        paths = {("api/v1" if each == "v1" else f"apis/{each}"): each for each in ("v1", *groups)}
        return {"paths": {where: {"serverRelativeURL": f"/openapi/v3/{where}?hash=1"} for where in paths}}
    if path.startswith("/openapi/v3/"):
        version = path.removeprefix("/openapi/v3/").removeprefix("apis/").removeprefix("api/")
        return {"openapi": "3.0.0", "info": {"title": "x", "version": "1"}, "paths": _patches(version)}
    return None


def _patches(version: str) -> Record:
    """Say that objects can be patched, and checked strictly then."""
    made = {}
    for group, plural, kind in RESOURCES:
        if group == version:
            api, _, number = group.rpartition("/")
            made[f"/{plural}/{{name}}"] = {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                    "responses": {},
                    "x-kubernetes-group-version-kind": {"group": api, "version": number, "kind": kind},
                }
            }
    return made
