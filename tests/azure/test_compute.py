"""What trains and what serves production: made once, as the settings say, and told when it can't be had."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.azure.cloud import Cloud, faults, tokens
from tests.azure.cloud.computes import Computes
from utils.platforms.azureml import compute
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError

MINE = f"/subscriptions/{tokens.SUBSCRIPTION}/resourceGroups/mine/providers"
MACHINE = f"{MINE}/Microsoft.Compute/virtualMachines/box"
CLUSTER = r"/computes/cpu-cluster$"


class Setting:
    """Sets settings by the environment, and opens the workspace with them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def __call__(self, **values: object) -> Site:
        for name, value in values.items():
            self._patch.setenv(f"MLOPS_AZUREML_{name.upper()}", str(value))
        return Site()


@pytest.fixture
def given(site: Site, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A function that sets settings, such as compute_size, and returns the workspace."""
    return Setting(monkeypatch)


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, object]:
    """Settings for a machine of one's own."""
    key = tmp_path / "key"
    key.write_text("the private key")
    vm = {"resource": MACHINE, "user": "trainer", "key_file": key}
    return {"compute_target": "vm", "compute_name": "box", **{f"compute_vm_{n}": v for n, v in vm.items()}}


def _properties(cloud: Cloud, name: str = "cpu-cluster") -> dict[str, Any]:
    found: dict[str, Any] = cloud.area(Computes).known[name]["properties"]
    return found


# ------------------------------------------------------------------ the cluster that trains


def test_a_cluster_is_made_as_the_settings_say_and_found_from_then_on(cloud: Cloud, given: Setting) -> None:
    site = given(compute_max_nodes=4, compute_idle_seconds=120, compute_priority="lowpriority")
    made = compute.provision(site)
    assert (made.name, made.state) == ("compute", "created")
    assert "0 to 4 × Standard_DS3_v2" in made.location
    sent = _properties(cloud)["properties"]
    assert (sent["vmSize"], sent["vmPriority"]) == ("Standard_DS3_v2", "lowpriority")
    assert sent["scaleSettings"] == {
        "minNodeCount": 0,
        "maxNodeCount": 4,
        "nodeIdleTimeBeforeScaleDown": "PT120S",
    }
    assert compute.provision(Site()).state == "found"
    assert cloud.area(Computes).made == ["cpu-cluster"]
    assert compute.target(site).name == "cpu-cluster"


def test_other_numbers_of_nodes_are_given_to_the_cluster_that_is_there(cloud: Cloud, given: Setting) -> None:
    compute.provision(given())
    assert compute.provision(given(compute_max_nodes=7)).state == "found"
    assert _properties(cloud)["properties"]["scaleSettings"]["maxNodeCount"] == 7
    assert [call.method for call in cloud.calls].count("PATCH") == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            {"compute_size": "Standard_NC6"},
            r"compute\.size is Standard_NC6, but the cluster .* has Standard_DS3_v2",
        ),
        (
            {"compute_priority": "lowpriority"},
            r"compute\.priority is lowpriority, but the cluster .* has dedicated",
        ),
    ],
)
def test_a_cluster_of_another_kind_than_set_is_told(
    given: Setting, setting: dict[str, object], said: str
) -> None:
    compute.provision(given())
    with pytest.raises(PlatformError, match=said + ".*choose another name, or delete"):
        compute.provision(given(**setting))


def test_two_jobs_at_the_same_time_end_with_one_cluster(cloud: Cloud, given: Setting) -> None:
    cloud.operations.polls = 6
    sites, both, ended = [given(), given()], threading.Barrier(2, timeout=60), []
    for site in sites:
        assert site.workspace.name == "mlops"
    cloud.faults.add("GET", CLUSTER, [faults.delayed(both.wait), faults.delayed(both.wait)])
    threads = [threading.Thread(target=lambda s=site: ended.append(compute.provision(s))) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 2
    assert cloud.area(Computes).made == ["cpu-cluster"]


@pytest.mark.parametrize(
    ("method", "happens"),
    [
        ("PUT", [faults.too_many(1), faults.server_error(), faults.cut()]),
        ("PUT", [faults.lost()]),
        ("GET", [faults.server_error(503), faults.cut(), faults.too_many(1)]),
    ],
)
def test_passing_failures_on_the_way_do_no_harm(
    cloud: Cloud, given: Setting, method: str, happens: list[faults.Fault]
) -> None:
    site = given()
    assert site.workspace.name == "mlops"
    cloud.faults.add(method, CLUSTER, happens)
    compute.provision(site)
    assert cloud.faults.left == 0
    assert compute.provision(Site()).state == "found"
    assert cloud.area(Computes).made == ["cpu-cluster"]


def test_a_cluster_whose_making_fails_after_ten_polls_is_one_error(cloud: Cloud, given: Setting) -> None:
    cloud.operations.fail("compute", "ClusterCoreQuotaReached", "20 cores are allowed.", after=10)
    with pytest.raises(PlatformError) as refused:
        compute.provision(given())
    told = str(refused.value)
    assert "\n" not in told
    assert "20 cores are allowed (ClusterCoreQuotaReached)" in told
    assert "delete it in the studio" in told
    assert "quota is used up" in told


def test_what_is_asked_for_can_be_refused_at_once(cloud: Cloud, given: Setting) -> None:
    refusal = faults.refused(400, "InvalidVmSize", "The size Standard_DS3_v2 is not there in westeurope.")
    cloud.faults.add("PUT", CLUSTER, [refusal])
    with pytest.raises(
        PlatformError, match=r"can't be made: .*InvalidVmSize, HTTP 400, request .*another size or region"
    ):
        compute.provision(given())
    assert cloud.area(Computes).known == {}


def test_a_cluster_that_is_deleted_meanwhile_is_told(cloud: Cloud, given: Setting) -> None:
    cloud.operations.polls = 9
    site = given()
    gone = faults.delayed(lambda: cloud.area(Computes).known.clear())
    still = faults.delayed(lambda: None)
    assert site.workspace.name == "mlops"
    cloud.faults.add("GET", CLUSTER, [still, still, still, gone])
    with pytest.raises(PlatformError, match="is gone: somebody has deleted it"):
        compute.provision(site)


def test_a_cluster_that_always_keeps_nodes_is_waited_for(
    given: Setting, capfd: pytest.CaptureFixture[str]
) -> None:
    assert compute.provision(given(compute_min_nodes=2)).state == "created"
    shown = capfd.readouterr()
    assert "The cluster 'cpu-cluster': 2 of 2 nodes" in shown.err
    assert shown.out == ""


def test_a_cluster_that_never_gets_nodes_is_told_after_its_time(cloud: Cloud, given: Setting) -> None:
    cloud.area(Computes).nodes = False
    site = given(compute_min_nodes=1, timeouts_nodes="0.3")
    with pytest.raises(PlatformError) as refused:
        compute.provision(site)
    told = str(refused.value)
    assert "has taken longer than 0 s (last: 0 of 1 nodes)" in told
    assert "quota in the studio" in told


def test_why_a_cluster_gets_no_nodes_is_told_as_soon_as_it_says_so(cloud: Cloud, given: Setting) -> None:
    site = given()
    compute.provision(site)
    assert compute.trouble(site) == ""
    cloud.area(Computes).errors.append(("ClusterCoreQuotaReached", "Operation results in exceeding quota."))
    said = compute.trouble(site)
    assert said.startswith("The compute 'cpu-cluster' gets no nodes: Operation results in exceeding quota")
    assert "quota is used up" in said
    with pytest.raises(PlatformError, match="ClusterCoreQuotaReached"):
        compute.provision(given(compute_min_nodes=1))
    cloud.area(Computes).known.clear()
    assert "no compute 'cpu-cluster' any more" in compute.trouble(site)


def test_an_error_is_never_taken_for_no_cluster(cloud: Cloud, given: Setting) -> None:
    refusal = faults.refused(403, "AuthorizationFailed", "does not have authorization to perform action 'x'")
    cloud.faults.add("GET", CLUSTER, [refusal])
    with pytest.raises(PlatformError, match=r"can't be read: .*AuthorizationFailed, HTTP 403"):
        compute.provision(given())
    assert cloud.area(Computes).made == []


# ------------------------------------------------------------------ other targets


def test_a_machine_of_ones_own_is_attached_once_and_its_key_is_kept_nowhere(
    cloud: Cloud, given: Setting, machine: dict[str, object]
) -> None:
    assert compute.provision(given(**machine)).state == "created"
    assert compute.provision(given()).state == "found"
    assert cloud.area(Computes).made == ["box"]
    assert "the private key" not in str(cloud.area(Computes).known)
    assert compute.target(given()).name == "box"


def test_another_machine_under_the_same_name_is_refused(given: Setting, machine: dict[str, object]) -> None:
    compute.provision(given(**machine))
    with pytest.raises(PlatformError, match=r"other.*, but 'box' is attached to .*box.*detach it"):
        compute.provision(given(compute_vm_resource=MACHINE.replace("box", "other")))
    with pytest.raises(PlatformError, match="'box' is no cluster, but VirtualMachine: choose another name"):
        compute.provision(given(compute_target="cluster"))


def test_a_key_that_is_not_there_is_refused(given: Setting, machine: dict[str, object]) -> None:
    with pytest.raises(PlatformError, match=r"compute\.vm\.key_file names '/nowhere', which isn't a file"):
        compute.provision(given(**{**machine, "compute_vm_key_file": "/nowhere"}))


def test_where_the_caller_trains_nothing_is_made(cloud: Cloud, given: Setting) -> None:
    site = given(compute_target="local")
    assert compute.provision(site).location == "where the command runs"
    assert compute.trouble(site) == ""
    with pytest.raises(PlatformError, match="target is local"):
        compute.target(site)
    assert cloud.calls == []


# ------------------------------------------------------------------ the cluster that serves


def test_without_a_kubernetes_cluster_it_is_said_what_to_set(cloud: Cloud, given: Setting) -> None:
    with pytest.raises(
        PlatformError, match=r"no Kubernetes cluster 'aks-mlops': set .*attach .*create: true"
    ):
        compute.cluster(given())
    assert cloud.area(Computes).made == []


def test_a_kubernetes_cluster_is_made_where_the_settings_allow_it(cloud: Cloud, given: Setting) -> None:
    site = given(aks_create="true", aks_nodes=5, aks_leaf_label="diabetes")
    found = compute.cluster(site)
    assert (found.name, found.agent_count, found.provisioning_state) == ("aks-mlops", 5, "Succeeded")
    assert found.ssl_configuration.leaf_domain_label == "diabetes"
    assert compute.cluster(site).name == "aks-mlops"
    assert cloud.area(Computes).made == ["aks-mlops"]


@pytest.mark.parametrize("attach", ["mine", f"{MINE}/Microsoft.ContainerService/managedClusters/mine"])
def test_a_kubernetes_cluster_of_ones_own_is_attached(given: Setting, attach: str) -> None:
    found = compute.cluster(given(aks_attach=attach, aks_purpose="dev"))
    assert found.is_attached
    assert found.cluster_purpose == "DevTest"
    assert found.cluster_resource_id.endswith("/Microsoft.ContainerService/managedClusters/mine")


def test_a_kubernetes_cluster_whose_making_fails_is_one_error(cloud: Cloud, given: Setting) -> None:
    cloud.operations.fail("compute", "SkuNotAvailable", "Standard_D3_v2 is not available.", after=10)
    with pytest.raises(
        PlatformError, match=r"Kubernetes cluster 'aks-mlops' isn't whole.*SkuNotAvailable"
    ) as refused:
        compute.cluster(given(aks_create="true"))
    assert "\n" not in str(refused.value)


def test_a_compute_that_is_no_kubernetes_cluster_is_refused(given: Setting) -> None:
    compute.provision(given())
    with pytest.raises(PlatformError, match="'cpu-cluster' is no Kubernetes cluster, but AmlCompute"):
        compute.cluster(given(aks_name="cpu-cluster"))
