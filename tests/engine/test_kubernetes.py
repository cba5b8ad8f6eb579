"""The manifests for Kubernetes run for real by podman, with real images from a real registry.

What podman can't do, and so is not proved here, is told in `tests.engine.pods` and
`tests.utils.platforms.cluster`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.engine import pods
from tests.engine.pods import Pods, ask, inspected, podman
from tests.engine.registry import Registry
from tests.utils.platforms.cluster import CONTEXT, NAMESPACE, Cluster
from utils import files, images, models, packaging, signatures, signing_keys
from utils.images import context
from utils.platforms.local.settings import Settings
from utils.platforms.local.targets import Handle, Site, Version, rendering
from utils.platforms.local.targets.kubernetes import Kubernetes
from utils.platforms.protocol import PlatformError
from utils.signing_keys import SigningKey

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl"),
]

KEY = "first-key-of-the-endpoint"
ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0] * 5, "b": [0.5, 0.1, 0.7, 0.2] * 5})
SECONDS = 90.0


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return signing_keys.generate()


@pytest.fixture(scope="session")
def versions(
    containers: Path,
    base_image: str,
    registry: Registry,
    layers: Path,
    key: SigningKey,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Version]:
    """Two signed packages and their images, built by podman and pushed to the registry."""
    folder = tmp_path_factory.mktemp("versions")
    y = pd.Series(ROWS["a"] * 2 + ROWS["b"], name="progression")
    model = models.fit(models.build("sklearn.linear_model.Ridge", {}, ROWS), ROWS, y)
    (folder / "model").mkdir()
    models.save(model, folder / "model" / "model.skops")
    files.write_json(folder / "model" / "schema.json", models.schema(ROWS, y, model))
    found = []
    for number in ("1", "2"):
        package = packaging.build(
            folder / "model",
            folder / number / "package",
            name="demo",
            version=number,
            golden_rows=ROWS.head(4),
            lineage={},
        )
        signatures.sign(package.folder, key)
        image = images.build(
            packaging.load(package.folder),
            folder=folder / number / "image",
            cache=layers,
            base_image=base_image,
            engine="podman",
            registry=registry.address,
        )
        found.append(Version(package.digest, number, package.folder, image.reference))
    return found


@pytest.fixture
def site(tmp_path: Path, key: SigningKey) -> Site:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\nsecond-key-of-the-endpoint\n")
    settings = Settings(
        target="kubernetes", context=CONTEXT, namespace=NAMESPACE, address="http://{name}.example.com"
    )
    return Site("demo", "staging", tmp_path, keys, key.public_pem, settings)


@pytest.fixture
def runner(containers: Path) -> Iterator[Pods]:
    made = Pods()
    yield made
    assert made.ports == {}, "pods were left running"
    podman("secret", "rm", "--all")
    podman("volume", "prune", "--force")


@pytest.fixture
def cluster(tmp_path: Path, runner: Pods, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(tmp_path, runner)
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
    yield made
    made.close()


@pytest.fixture
def pod(site: Site, versions: list[Version], runner: Pods) -> Iterator[dict[str, Any]]:
    """The pod of the rendered Deployment, running; of all manifests podman knows this and the Secret."""
    deployment = rendering.version(site, versions[0], NAMESPACE)["Deployment"]
    template = deployment["spec"]["template"]
    metadata = {"name": f"{deployment['metadata']['name']}-1", "labels": template["metadata"]["labels"]}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    runner.start(made, [rendering.keys(site)])
    try:
        until(lambda: runner.look(made)[0], lambda: runner.log(made))
        yield made
    finally:
        if metadata["name"] in runner.ports:
            runner.stop(made)


def until(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.1)


def inside(pod: dict[str, Any], code: str) -> Any:
    """Run some Python in the container, and return what it prints as JSON."""
    return json.loads(podman("exec", pods.container_of(pod["metadata"]["name"]), "python3", "-I", "-c", code))


def started(target: Kubernetes, version: Version) -> Handle:
    handle = target.start(version)
    target.wait(handle, SECONDS)
    return handle


def answering(cluster: Cluster, runner: Pods) -> set[str]:
    """Return the digests that the pods behind the Service tell of themselves."""
    names = [
        endpoint["targetRef"]["name"]
        for part in cluster.all("endpointslices")
        for endpoint in part["endpoints"]
    ]
    return {ask(runner.ports[name], "/health/ready")[1]["digest"] for name in names}


def test_the_images_listen_where_the_manifests_say() -> None:
    assert rendering.PORT == context.PORT


def test_a_pod_is_confined_as_its_manifest_says(pod: dict[str, Any]) -> None:
    status = inside(
        pod,
        "import json; lines = open('/proc/self/status').read().splitlines();"
        "print(json.dumps({line.split(':')[0]: line.split(':')[1].split() for line in lines}))",
    )
    assert set(status["Uid"]) == set(status["Gid"]) == {"65532"}
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities][0], 16) == 0
    assert status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["2"], "no filter of system calls"
    host = inspected(pod["metadata"]["name"])["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["Memory"] == 512 * 2**20
    assert host["NanoCpus"] == 10**9


def test_a_pod_can_write_below_tmp_alone(pod: dict[str, Any]) -> None:
    refused = inside(
        pod,
        "import json, os\n"
        "def refused(folder):\n"
        "    try:\n"
        "        open(os.path.join(folder, 'x'), 'w').close()\n"
        "    except OSError as error:\n"
        "        return error.strerror\n"
        "print(json.dumps({f: refused(f) for f in ('/', '/etc', '/service', '/run/scoring', '/tmp')}))",
    )
    assert refused.pop("/tmp") is None
    assert set(refused.values()) == {"Read-only file system"}


def test_the_probes_of_a_pod_succeed_and_it_answers_for_a_key_alone(
    pod: dict[str, Any], runner: Pods, versions: list[Version]
) -> None:
    assert [runner.probe(pod, which) for which in ("startup", "liveness", "readiness")] == [True] * 3
    port = runner.ports[pod["metadata"]["name"]]
    assert ask(port, "/health/ready")[1]["digest"] == versions[0].digest
    golden = files.read_json(versions[0].folder / "golden.json")
    assert ask(port, "/score", body={"data": golden["data"]})[0] == 401
    status, answer = ask(port, "/score", body={"data": golden["data"]}, key=KEY)
    assert status == 200
    assert answer["result"] == pytest.approx(golden["expected"])


def test_a_pod_that_is_told_to_end_does_so_by_itself_and_in_time(pod: dict[str, Any], runner: Pods) -> None:
    name = pod["metadata"]["name"]
    begun = time.monotonic()
    podman("stop", "--time", str(pod["spec"]["terminationGracePeriodSeconds"]), pods.container_of(name))
    assert time.monotonic() - begun < pod["spec"]["terminationGracePeriodSeconds"]
    assert inspected(name)["State"]["ExitCode"] == 0, runner.log(pod)


def test_versions_replace_one_another_on_pods_that_run(
    site: Site, cluster: Cluster, runner: Pods, versions: list[Version]
) -> None:
    target = Kubernetes(site)
    one, two = versions
    old = started(target, one)
    target.route([(old, 100)])
    assert answering(cluster, runner) == {one.digest}
    new = started(target, two)
    assert answering(cluster, runner) == {one.digest}
    target.route([(old, 50), (new, 50)])
    assert answering(cluster, runner) == {one.digest, two.digest}
    target.route([(new, 100)])
    assert answering(cluster, runner) == {two.digest}
    assert target.ready(old)
    target.stop(old)
    assert not target.alive(old)
    assert answering(cluster, runner) == {two.digest}
    target.clear()
    assert runner.ports == {}


def test_a_package_signed_by_somebody_else_never_gets_ready_and_its_log_is_told(
    site: Site, cluster: Cluster, versions: list[Version]
) -> None:
    stranger = Site(
        site.service,
        site.environment,
        site.folder,
        site.keys,
        signing_keys.generate().public_pem,
        site.settings,
    )
    target = Kubernetes(stranger)
    handle = target.start(versions[0])
    with pytest.raises(PlatformError, match=r"(?s)exit code 1 in the pod .*sign"):
        target.wait(handle, SECONDS)
    assert not target.ready(handle)
    target.clear()
