"""The workspace: found, or made once with its resource group, whatever happens and whoever else makes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.azure import names
from tests.azure.cloud import Cloud, faults, tokens
from tests.azure.cloud.management import Management
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError, Resource

DEPLOYMENT = r"/deployments/mlops-mlops$"
FORBIDDEN = faults.refused(
    403,
    "AuthorizationFailed",
    f"The client 'ci' with object id '{tokens.OBJECT}' does not have authorization to perform action "
    "'Microsoft.MachineLearningServices/workspaces/read' over scope '/subscriptions/s/resourceGroups/mlops' "
    "or the scope is invalid.",
)


@pytest.fixture
def new(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A workspace that doesn't exist yet, nor its resource group."""
    monkeypatch.setenv("MLOPS_AZUREML_REGION", "West Europe")
    return Site()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests be repeated at once where the service doesn't say when."""
    import urllib3

    monkeypatch.setattr(urllib3.Retry, "get_backoff_time", lambda self: 0.0)


def _made(cloud: Cloud, method: str = "PUT", path: str = "/deployments/") -> list[str]:
    """The paths of such calls that were answered well."""
    return [
        call.path
        for call in cloud.calls
        if call.method == method and path in call.path and 0 < call.status < 300
    ]


# ------------------------------------------------------------------ found


def test_a_workspace_is_asked_for_once_and_only_when_it_is_needed(cloud: Cloud, site: Site) -> None:
    assert cloud.calls == []
    assert site.workspace is site.workspace
    assert site.workspace.location == names.REGION
    assert len([call for call in cloud.calls if call.path.endswith("/workspaces/mlops")]) == 1


def test_provisioning_what_is_there_makes_nothing(cloud: Cloud, site: Site) -> None:
    assert site.provision().state == "found"
    assert {call.method for call in cloud.calls if call.host == names.MANAGEMENT} == {"GET"}


def test_a_workspace_that_is_not_there_is_refused_with_what_to_do(new: Site) -> None:
    with pytest.raises(PlatformError, match="There is no workspace mlops in mlops: the step setup makes it"):
        _ = new.workspace


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (
            [FORBIDDEN] * 9,
            r'AuthorizationFailed, HTTP 403, request .*role assignment create --role "AzureML Data',
        ),
        (
            [faults.refused(404, "SubscriptionNotFound", "none")] * 9,
            "SubscriptionNotFound.*Look at the subscription",
        ),
        ([faults.cut()] * 9, "Look at the network"),
        ([faults.server_error(503)] * 9, "HTTP 503, request .*Azure's own fault"),
    ],
)
def test_what_fails_is_never_taken_for_no_workspace(
    cloud: Cloud, site: Site, happens: list[faults.Fault], said: str
) -> None:
    cloud.faults.add("GET", "/workspaces/mlops$", happens)
    with pytest.raises(PlatformError, match=said) as refused:
        site.provision()
    assert "\n" not in str(refused.value)
    assert cloud.area(Management).created == 1
    assert _made(cloud) == []
    assert cloud.faults.happened <= 5, "what has been repeated below isn't repeated above"


def test_throttling_and_passing_failures_are_waited_out(cloud: Cloud, site: Site) -> None:
    cloud.faults.add("GET", "/workspaces/mlops$", [faults.too_many(1), faults.server_error(), faults.cut()])
    assert site.workspace.name == "mlops"
    assert cloud.faults.left == 0


@pytest.mark.parametrize(
    ("state", "said"), [("Failed", "isn't whole: its state is Failed"), ("Creating", "is being made")]
)
def test_a_workspace_that_is_half_made_is_told_as_such(
    cloud: Cloud, site: Site, state: str, said: str
) -> None:
    cloud.area(Management).workspaces["mlops"]["properties"]["provisioningState"] = state
    with pytest.raises(PlatformError, match=said):
        _ = site.workspace


def test_a_workspace_that_somebody_is_making_is_waited_for(cloud: Cloud, site: Site) -> None:
    properties = cloud.area(Management).workspaces["mlops"]["properties"]
    properties["provisioningState"] = "Creating"
    still = faults.delayed(lambda: None)
    done = faults.delayed(lambda: properties.update(provisioningState="Succeeded"))
    cloud.faults.add("GET", "/workspaces/mlops$", [still, still, still, done])
    assert site.provision().state == "found"
    assert site.workspace.name == "mlops"
    assert _made(cloud) == []


# ------------------------------------------------------------------ made


def test_a_workspace_is_made_with_its_resource_group_and_found_from_then_on(cloud: Cloud, new: Site) -> None:
    made = new.provision()
    assert made.state == "created"
    assert cloud.area(Management).groups["mlops"]["location"] == "West Europe"
    assert new.workspace.name == "mlops"
    assert Site().provision().state == "found"
    assert len(_made(cloud)) == 1


def test_all_that_a_workspace_is_made_of_is_within_its_resource_group(cloud: Cloud, new: Site) -> None:
    new.provision()
    template = cloud.area(Management).deployments["mlops-mlops"]["properties"]["template"]
    kinds = sorted(resource["type"].split("/")[-1] for resource in template["resources"])
    assert kinds == ["components", "storageAccounts", "vaults", "workspaces", "workspaces"]
    assert all("resourceGroup" not in resource for resource in template["resources"])
    groups = [call.path for call in cloud.calls if call.method == "PUT" and call.path.count("/") == 4]
    assert [path.rsplit("/", 1)[-1] for path in groups] == ["mlops"]


def test_without_a_region_nothing_is_made(cloud: Cloud) -> None:
    with pytest.raises(PlatformError, match=r"no resource group 'mlops': set azureml\.region"):
        Site().provision()
    assert _made(cloud, path="/") == []


def test_progress_is_shown_and_the_sdk_is_quiet(
    cloud: Cloud, new: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    cloud.operations.polls = 4
    new.provision()
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "The workspace mlops in mlops: running, 0 s",
        "The workspace mlops in mlops: ready, 0 s",
    ]


def test_two_jobs_at_the_same_time_end_with_one_workspace(cloud: Cloud, new: Site) -> None:
    cloud.operations.polls = 6
    sites, both, ended = [new, Site()], threading.Barrier(2, timeout=60), []
    # Each has seen that there is no deployment before either begins one.
    cloud.faults.add("GET", DEPLOYMENT, [faults.delayed(both.wait), faults.delayed(both.wait)])
    threads = [threading.Thread(target=lambda each=each: ended.append(each.provision())) for each in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(resource.state for resource in ended) == ["created", "found"]
    assert cloud.area(Management).created == 1
    assert len(_made(cloud)) == 1
    assert [call.status for call in cloud.calls if call.method == "PUT" and "deployments" in call.path].count(
        409
    ) == 1


def test_what_was_interrupted_goes_on_in_azure_and_is_taken_up_again(
    cloud: Cloud, new: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    cloud.operations.polls = 5
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.provision()
    assert "goes on in Azure: run the same command again" in capfd.readouterr().err
    assert Site().provision().state == "found"
    assert len(_made(cloud)) == 1
    assert cloud.area(Management).created == 1


def test_a_deployment_that_fails_after_ten_polls_is_one_error_and_can_be_tried_again(
    cloud: Cloud, new: Site
) -> None:
    cloud.operations.fail("deployment", "QuotaExceeded", "Storage accounts: limit of 250 reached.", after=10)
    with pytest.raises(PlatformError) as refused:
        new.provision()
    told = str(refused.value)
    assert "\n" not in told
    assert "Storage accounts: limit of 250 reached (QuotaExceeded)" in told
    assert "The subscription's quota is used up" in told
    assert cloud.area(Management).workspaces == {}
    first = _storage(cloud)
    assert new.provision().state == "created"
    assert _storage(cloud) == first, "a second try takes up what the first has made"


def test_a_resource_group_that_is_made_anew_has_new_names(cloud: Cloud, new: Site) -> None:
    new.provision()
    first = _storage(cloud)
    cloud.reset()
    Site().provision()
    assert _storage(cloud) != first


def test_names_are_such_that_azure_takes_them(
    cloud: Cloud, new: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_WORKSPACE", "1_a-very-LONG-name-of-a-workspace")
    Site().provision()
    name = _storage(cloud, "mlops-1_a-very-long-name-of-a-workspace")
    assert name == name.lower()
    assert name.isalnum()
    assert len(name) == 24
    assert name[0].isalpha()


@pytest.mark.parametrize(
    ("method", "path", "happens"),
    [
        ("PUT", "/resourcegroups/mlops$", [faults.too_many(1), faults.server_error()]),
        ("PUT", DEPLOYMENT, [faults.server_error(503), faults.cut()]),
        ("PUT", DEPLOYMENT, [faults.lost()]),
        ("GET", DEPLOYMENT, [faults.server_error(), faults.too_many(1), faults.cut()]),
    ],
)
def test_passing_failures_on_the_way_do_no_harm(
    cloud: Cloud, new: Site, method: str, path: str, happens: list[faults.Fault]
) -> None:
    cloud.faults.add(method, path, happens)
    assert new.provision().state in ("created", "found")
    assert cloud.faults.left == 0
    assert cloud.area(Management).created == 1
    assert Site().provision().state == "found"


def test_a_missing_role_on_the_way_is_told_and_nothing_is_made(cloud: Cloud, new: Site) -> None:
    refusal = faults.refused(
        403,
        "AuthorizationFailed",
        "The client 'ci' with object id 'x' does not have authorization to perform action "
        "'Microsoft.Resources/deployments/write' over scope '/subscriptions/s/resourceGroups/mlops'.",
    )
    cloud.faults.add("PUT", DEPLOYMENT, [refusal])
    with pytest.raises(
        PlatformError, match=r"needs the role Contributor.*--scope /subscriptions/s/resourceGroups/mlops"
    ):
        new.provision()
    assert cloud.area(Management).workspaces == {}


def _storage(cloud: Cloud, deployment: str = "mlops-mlops") -> str:
    template = cloud.area(Management).deployments[deployment]["properties"]["template"]
    storage: Callable[[Any], bool] = lambda resource: resource["type"].endswith("storageAccounts")  # noqa: E731
    return str(next(filter(storage, template["resources"]))["name"])


# ------------------------------------------------------------------ within a run


def test_inside_a_run_sign_in_and_workspace_come_from_it_and_nothing_is_made(
    cloud: Cloud, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azureml.core import Experiment

    run = Experiment(site.workspace, "demo").start_logging(outputs=None, snapshot_directory=None)
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name)
    for name, value in {
        "AZUREML_RUN_ID": run.id,
        "AZUREML_RUN_TOKEN": cloud.token(),
        "AZUREML_RUN_TOKEN_EXPIRY": str(int(time.time()) + 3600),
        "AZUREML_ARM_SUBSCRIPTION": tokens.SUBSCRIPTION,
        "AZUREML_ARM_RESOURCEGROUP": "mlops",
        "AZUREML_ARM_WORKSPACE_NAME": "mlops",
        "AZUREML_ARM_PROJECT_NAME": "demo",
        "AZUREML_EXPERIMENT_ID": run.experiment.id,
        "AZUREML_WORKSPACE_ID": site.workspace._workspace_id,
        "AZUREML_SERVICE_ENDPOINT": f"https://{names.SERVICES}",
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"https://{names.SERVICES}/discovery",
    }.items():
        monkeypatch.setenv(name, value)
    cloud.calls.clear()
    within = Site()
    assert within.inside
    assert within.way.kind == "run"
    assert within.run.id == run.id
    assert within.workspace.name == "mlops"
    assert within.provision() == Resource("workspace", "found", "workspace mlops in mlops")
    assert {call.host for call in cloud.calls} == {names.SERVICES}
