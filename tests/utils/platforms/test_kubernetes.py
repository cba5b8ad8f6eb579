"""Versions on Kubernetes: started beside, checked, led to, ended. The cluster is a stand-in, `cluster`."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.utils.platforms import cluster as stand_in
from tests.utils.platforms.cluster import CONTEXT, NAMESPACE, Cluster, RefusedError
from utils.platforms.local.settings import Settings
from utils.platforms.local.targets import Handle, Site, Target, Version
from utils.platforms.local.targets.kubernetes import Kubernetes
from utils.platforms.protocol import PlatformError

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")

KEY = "a-very-secret-key"
IMAGE = "registry.example.com/mlops/demo@sha256:" + "c" * 64


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\nanother\n")
    settings = Settings(
        target="kubernetes", context=CONTEXT, namespace=NAMESPACE, address="https://{name}.example.com"
    )
    return Site("demo", "production", tmp_path, keys, "", settings)


def changed(site: Site, **settings: Any) -> Kubernetes:
    return Kubernetes(dataclasses.replace(site, settings=site.settings.model_copy(update=settings)))


def version(letter: str, image: str = IMAGE) -> Version:
    return Version(letter * 64, "12", Path("unused"), image)


def started(target: Target, letter: str) -> Handle:
    handle = target.start(version(letter))
    target.wait(handle, 30)
    return handle


def counts(cluster: Cluster) -> dict[str, int]:
    """Say to how many pods of each version the Service leads."""
    led = cluster.led()
    return {each[0]: led.count(each) for each in led}


def autoscaled(cluster: Cluster) -> list[str]:
    found = cluster.all("horizontalpodautoscalers")
    return [each["metadata"]["labels"]["mlops/package"][0] for each in found]


@pytest.fixture
def target(site: Site, cluster: Cluster) -> Kubernetes:
    return Kubernetes(site)


# ---------------------------------------------------------------- from one version to the next


def test_the_first_version_is_started_checked_and_then_led_to(target: Kubernetes, cluster: Cluster) -> None:
    cluster.holding = True
    handle = target.start(version("a"))
    assert (target.alive(handle), target.ready(handle)) == (True, False)
    assert cluster.all("services") == []
    cluster.holding = False
    cluster.reconcile()
    target.wait(handle, 30)
    assert target.ready(handle)
    assert target.route([(handle, 100)]) == "https://demo-production.example.com"
    assert counts(cluster) == {"a": 2}
    assert autoscaled(cluster) == ["a"]


def test_a_handle_can_be_kept_as_json_and_holds_no_secret(target: Kubernetes, cluster: Cluster) -> None:
    handle = started(target, "a")
    kept = json.loads(json.dumps(handle))
    assert kept == handle
    assert KEY not in json.dumps(handle)
    assert target.ready(kept)
    details = target.details(kept)
    assert details["pods"] == "2 of 2 ready"
    assert details["deployment"] == "demo-production-aaaaaaaaaaaa"


def test_the_next_version_waits_beside_until_it_is_led_to_and_the_old_one_keeps_running(
    target: Kubernetes, cluster: Cluster
) -> None:
    old = started(target, "a")
    target.route([(old, 100)])
    new = started(target, "b")
    assert counts(cluster) == {"a": 2}
    target.route([(new, 100)])
    assert counts(cluster) == {"b": 2}
    assert target.ready(old)
    assert autoscaled(cluster) == ["b"], "the pods of the old one shall stay until it is stopped"
    target.stop(old)
    assert not target.alive(old)
    assert not target.ready(old)
    target.stop(old)
    assert [each["metadata"]["name"] for each in cluster.all("pods")] == sorted(
        each["metadata"]["name"] for each in cluster.all("pods") if "bbbbbbbbbbbb" in each["metadata"]["name"]
    )
    assert len(cluster.all("poddisruptionbudgets")) == 1


def test_an_old_version_is_led_to_again_without_being_started(target: Kubernetes, cluster: Cluster) -> None:
    old, new = started(target, "a"), started(target, "b")
    target.route([(old, 100)])
    target.route([(new, 100)])
    pods = [each["metadata"]["name"] for each in cluster.all("pods")]
    target.route([(old, 100)])
    assert counts(cluster) == {"a": 2}
    assert [each["metadata"]["name"] for each in cluster.all("pods")] == pods


def test_the_next_version_gets_as_many_pods_as_the_live_one_has_grown_to(
    target: Kubernetes, cluster: Cluster
) -> None:
    old = started(target, "a")
    target.route([(old, 100)])
    cluster.patch("deployments", old["deployment"], {"spec": {"replicas": 7}})  # as its autoscaler would
    new = started(target, "b")
    assert cluster.one("deployments", new["deployment"])["status"]["readyReplicas"] == 7
    target.route([(new, 100)])
    assert counts(cluster) == {"b": 7}


@pytest.mark.parametrize("live", [True, False])
def test_starting_a_version_again_changes_none_of_its_pods(
    target: Kubernetes, cluster: Cluster, live: bool
) -> None:
    handle = started(target, "a")
    target.route([(handle if live else started(target, "b"), 100)])
    cluster.patch("deployments", handle["deployment"], {"spec": {"replicas": 5}})
    pods = cluster.all("pods")
    assert started(target, "a") == handle
    assert [each["metadata"]["name"] for each in cluster.all("pods")] == [
        each["metadata"]["name"] for each in pods
    ]
    assert counts(cluster) == ({"a": 5} if live else {"b": 2})


@pytest.mark.parametrize("how", ["by a start", "by themselves"])
def test_changed_keys_reach_the_secret_and_no_pod_is_replaced(
    target: Kubernetes, cluster: Cluster, site: Site, how: str
) -> None:
    started(target, "a")
    pods = [each["metadata"]["name"] for each in cluster.all("pods")]
    before = cluster.one("secrets")["data"]
    site.keys.write_text("fresh\nanother\n")
    if how == "by a start":
        target.start(version("a"))
    else:
        target.refresh_keys()
    assert cluster.one("secrets")["data"] != before
    assert [each["metadata"]["name"] for each in cluster.all("pods")] == pods


def test_clearing_leaves_nothing_of_the_service_and_all_of_another(
    target: Kubernetes, cluster: Cluster, site: Site
) -> None:
    other = Kubernetes(dataclasses.replace(site, environment="staging"))
    kept = started(other, "a")
    other.route([(kept, 100)])
    for letter in "ab":
        target.route([(started(target, letter), 100)])
    target.clear()
    for plural in stand_in.KINDS:
        for each in cluster.all(plural):
            assert "demo-staging" in each["metadata"]["name"]
    assert counts(cluster) == {"a": 1}
    target.clear()


# ---------------------------------------------------------------- shares


def test_a_canary_gets_its_share_of_the_pods_and_its_own_group(target: Kubernetes, cluster: Cluster) -> None:
    old = started(target, "a")
    target.route([(old, 100)])
    pods = {each["metadata"]["name"] for each in cluster.all("pods")}
    new = started(target, "b")
    target.route([(new, 10), (old, 90)])
    assert counts(cluster) == {"a": 8, "b": 1}
    assert pods <= {each["metadata"]["name"] for each in cluster.all("pods")}, "live pods were replaced"
    assert autoscaled(cluster) == [], "an autoscaler would change the shares"
    target.route([(new, 50), (old, 50)])
    assert counts(cluster) == {"a": 4, "b": 5}
    target.route([(new, 100)])
    assert counts(cluster) == {"b": 9}
    assert autoscaled(cluster) == ["b"]


def test_no_other_version_gets_requests_of_a_canary(target: Kubernetes, cluster: Cluster) -> None:
    left = started(target, "c")
    old, new = started(target, "a"), started(target, "b")
    target.route([(old, 90), (new, 10)])
    assert set(counts(cluster)) == {"a", "b"}
    started(target, "d")
    assert set(counts(cluster)) == {"a", "b"}, "a version that is being checked got requests"
    target.route([(new, 100)])
    target.route([(new, 90), (left, 10)])  # the old one has the label of the new one still
    assert set(counts(cluster)) == {"b", "c"}


def test_a_share_that_the_pods_cannot_give_is_refused_and_nothing_changes(
    cluster: Cluster, site: Site
) -> None:
    target = Kubernetes(dataclasses.replace(site, environment="staging"))
    old = started(target, "a")
    target.route([(old, 100)])
    new = started(target, "b")
    before = cluster.history[:]
    with pytest.raises(PlatformError, match=r"at least 21 %"):
        target.route([(old, 90), (new, 10)])
    assert cluster.history == before
    assert counts(cluster) == {"a": 1}


@pytest.mark.parametrize("shares", [[], [50], [100, 0], [110, -10]])
def test_shares_that_are_none_are_refused(target: Kubernetes, cluster: Cluster, shares: list[int]) -> None:
    handles = [started(target, "a"), started(target, "b")]
    with pytest.raises(PlatformError, match=r"100 per cent together"):
        target.route(list(zip(handles, shares, strict=False)))
    assert cluster.all("services") == []


def test_a_canary_that_cannot_get_its_pods_leaves_everything_with_the_old_version(
    target: Kubernetes, cluster: Cluster
) -> None:
    old = started(target, "a")
    target.route([(old, 100)])
    new = started(target, "b")
    cluster.quota = 5
    with pytest.raises(PlatformError, match=r"quota of the namespace is used up"):
        target.route([(old, 90), (new, 10)])
    assert set(counts(cluster)) == {"a"}
    assert autoscaled(cluster) == ["a"], "its autoscaler was not put back"


def test_a_version_that_was_deleted_is_not_led_to(target: Kubernetes, cluster: Cluster) -> None:
    old = started(target, "a")
    target.route([(old, 100)])
    new = started(target, "b")
    target.stop(new)
    with pytest.raises(PlatformError, match=r"doesn't run any more"):
        target.route([(new, 100)])
    assert counts(cluster) == {"a": 2}


# ---------------------------------------------------------------- where, and never by accident


@pytest.mark.parametrize("missing", ["context", "namespace"])
def test_neither_context_nor_namespace_is_guessed(site: Site, cluster: Cluster, missing: str) -> None:
    target = changed(site, **{missing: ""})
    for do in (lambda: target.start(version("a")), target.clear):
        with pytest.raises(PlatformError, match=rf"serving\.{missing} must be given"):
            do()
    assert cluster.history == []


def test_the_environment_can_be_part_of_the_namespace(site: Site, cluster: Cluster) -> None:
    target = changed(site, namespace="mlops-{environment}")
    with pytest.raises(PlatformError, match=r"no namespace mlops-production.*kubectl create namespace"):
        target.start(version("a"))


def test_a_version_in_another_namespace_than_the_settings_name_is_found_but_not_led_to(
    target: Kubernetes, site: Site, cluster: Cluster
) -> None:
    handle = started(target, "a")
    moved = changed(site, namespace="elsewhere")
    assert moved.ready(handle)
    with pytest.raises(PlatformError, match=r"the settings name elsewhere"):
        moved.route([(handle, 100)])
    moved.stop(handle)
    assert not moved.alive(handle)


@pytest.mark.parametrize("name", ["context", "namespace", "address"])
def test_a_setting_with_an_unknown_word_in_braces_is_named(site: Site, cluster: Cluster, name: str) -> None:
    target = changed(site, **{name: "https://{nobody}"})
    with pytest.raises(PlatformError, match=rf"serving\.{name} .*'https://{{nobody}}'"):
        target.route([(started(target, "a"), 100)])


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"address": ""}, "http://demo-production.mlops.svc.cluster.local"),
        ({"address": "", "exposure": "load_balancer"}, "http://10.1.2.3"),
        (
            {"address": "https://x.example.com/{service}/{environment}/"},
            "https://x.example.com/demo/production",
        ),
    ],
)
def test_the_address_is_where_the_service_is_reached(
    site: Site, cluster: Cluster, settings: dict[str, Any], address: str
) -> None:
    cluster.load_balancer = "10.1.2.3"
    target = changed(site, **settings)
    assert target.route([(started(target, "a"), 100)]) == address


def test_an_address_that_is_none_is_refused(site: Site, cluster: Cluster) -> None:
    target = changed(site, address="{name}.example.com")
    with pytest.raises(PlatformError, match=r"starts with http"):
        target.route([(started(target, "a"), 100)])


def test_a_load_balancer_that_never_gets_an_address_is_told(site: Site, cluster: Cluster) -> None:
    target = changed(site, address="", exposure="load_balancer")
    handle = started(target, "a")
    with pytest.raises(PlatformError, match=r"kubectl describe service demo-production"):
        changed(site, address="", exposure="load_balancer", start_seconds=0.5).route([(handle, 100)])


def test_no_key_is_in_the_arguments_of_a_process(
    site: Site, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    script = folder / "kubectl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {shutil.which("kubectl")} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    target = Kubernetes(site)
    target.route([(started(target, "a"), 100)])
    target.clear()
    lines = [line for line in calls.read_text().splitlines() if not line.startswith("kustomize ")]
    assert len(lines) > 5
    encoded = base64.b64encode(KEY.encode()).decode().rstrip("=")[:-1]
    for line in lines:
        assert line.startswith(f"--context {CONTEXT} --namespace {NAMESPACE} ")
        assert KEY not in line
        assert encoded not in line


# ---------------------------------------------------------------- what goes wrong


def waiting(reason: str, message: str = "") -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    return lambda pod: [
        {"image": IMAGE, "ready": False, "state": {"waiting": {"reason": reason, "message": message}}}
    ]


def ended(**state: Any) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    return lambda pod: [
        {
            "image": IMAGE,
            "ready": False,
            "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": state},
        }
    ]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (waiting("ImagePullBackOff", "not found"), "image registry.example.com.* can't be pulled.*not found"),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            'can\'t be made: secret "x" not found',
        ),
        (ended(exitCode=1), "(?s)exit code 1 .*ends with:.*manifest.json was changed"),
        (ended(exitCode=137, reason="OOMKilled"), "more memory than its limit"),
    ],
)
def test_a_version_that_will_not_get_ready_is_told_at_once_and_why(
    target: Kubernetes, cluster: Cluster, fault: Callable[[dict[str, Any]], list[dict[str, Any]]], told: str
) -> None:
    cluster.fault, cluster.log = fault, "loading\nmanifest.json was changed\n"
    handle = target.start(version("a"))
    begun = time.monotonic()
    with pytest.raises(PlatformError, match=told):
        target.wait(handle, 300)
    assert time.monotonic() - begun < 60
    assert target.alive(handle)
    assert not target.ready(handle)


def test_a_quota_that_is_used_up_is_told_at_once(target: Kubernetes, cluster: Cluster) -> None:
    cluster.quota = 1
    with pytest.raises(PlatformError, match=r"quota of the namespace is used up: .*exceeded quota"):
        target.wait(target.start(version("a")), 300)


def test_a_version_that_takes_too_long_is_told_with_the_end_of_its_log(
    target: Kubernetes, cluster: Cluster
) -> None:
    cluster.holding, cluster.log = True, "still loading\n"
    with pytest.raises(PlatformError, match=r"(?s)weren't ready after 2 seconds.*still loading"):
        target.wait(target.start(version("a")), 2)


def test_a_version_that_is_deleted_while_it_starts_is_told(target: Kubernetes, cluster: Cluster) -> None:
    cluster.holding = True
    handle = target.start(version("a"))
    cluster.delete("deployments", handle["deployment"])
    with pytest.raises(PlatformError, match=r"was deleted while it started"):
        target.wait(handle, 30)


REFUSED = [
    (
        RefusedError(
            403, "Forbidden", 'deployments.apps is forbidden: User "ci" cannot list resource "deployments"'
        ),
        "You may not do this in the namespace mlops.*docs/kubernetes.md",
    ),
    (
        RefusedError(
            403, "Forbidden", 'deployments.apps "x" is forbidden: exceeded quota: count, used: 2, limited: 2'
        ),
        "The quota of the namespace mlops is used up",
    ),
    (
        RefusedError(
            403, "Forbidden", 'admission webhook "validation.gatekeeper.sh" denied the request: no limits'
        ),
        "A policy of the cluster refuses",
    ),
    (RefusedError(401, "Unauthorized", "Unauthorized"), "doesn't know you: log in again"),
    (
        RefusedError(500, "InternalError", "etcdserver: leader changed"),
        "kubectl get failed.*\n.*leader changed",
    ),
]


@pytest.mark.parametrize(("refusal", "told"), REFUSED)
def test_what_the_cluster_refuses_is_told_as_what_it_is(
    target: Kubernetes, cluster: Cluster, refusal: RefusedError, told: str
) -> None:
    handle = started(target, "a")

    def refuse(method: str, path: str) -> None:
        raise refusal

    cluster.refuse = refuse
    for do in (
        lambda: target.start(version("b")),
        lambda: target.alive(handle),
        lambda: target.ready(handle),
        lambda: target.details(handle),
        lambda: target.route([(handle, 100)]),
    ):
        with pytest.raises(PlatformError, match=told):
            do()


def test_no_cluster_is_not_taken_for_a_version_that_ended(
    site: Site, tmp_path: Path, cluster: Cluster
) -> None:
    handle = started(Kubernetes(site), "a")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    cluster.kubeconfig.write_text(stand_in.kubeconfig(closed))
    for do in (Kubernetes(site).alive, Kubernetes(site).ready, Kubernetes(site).stop):
        with pytest.raises(PlatformError, match=r"The cluster of the context test-cluster can't be reached"):
            do(handle)


def test_an_unknown_context_is_named_with_how_to_get_one(site: Site, cluster: Cluster) -> None:
    with pytest.raises(PlatformError, match=r"no context nobodys.*az aks get-credentials"):
        changed(site, context="nobodys").start(version("a"))


def test_a_machine_without_kubectl_is_told_so(
    site: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match=r"kubectl isn't installed"):
        Kubernetes(site).clear()


def test_a_start_that_was_refused_can_be_made_again(target: Kubernetes, cluster: Cluster) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "PATCH" and "deployments" in path:
            raise RefusedError(500, "InternalError", "etcdserver: request timed out")

    cluster.refuse = refuse
    with pytest.raises(PlatformError, match=r"request timed out"):
        target.start(version("a"))
    cluster.refuse = None
    assert target.ready(started(target, "a"))
