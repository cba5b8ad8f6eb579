"""Endpoints in a workspace: what holds on every platform, and what is Azure's own."""

from __future__ import annotations

import _thread
import contextlib
import copy
import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.azure.cloud import Cloud
from tests.azure.cloud.assets import Assets
from tests.azure.cloud.faults import Fault, cut, delayed, lost, refused, server_error, too_many
from tests.azure.cloud.models import ASSET, Models
from tests.azure.cloud.services import Service, Services
from tests.azure.parts import *  # noqa: F403
from tests.utils.conftest import *  # noqa: F403
from tests.utils.platforms.test_conformance_endpoints import *  # noqa: F403
from utils import service_checks, signing_keys
from utils.packaging import Package
from utils.platforms.azureml import AzurePlatform, endpoints
from utils.platforms.azureml.ledger import Ledger
from utils.platforms.azureml.places import Place
from utils.platforms.protocol import Endpoint, PlatformError
from utils.scoring import entry
from utils.service_client import Client
from utils.signing_keys import SigningKey


@pytest.fixture  # type: ignore[no-redef]
def platform(site: Any, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The platform, in a new workspace."""
    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem())
    monkeypatch.setenv("MLOPS_AZUREML_AKS_CREATE", "true")
    return AzurePlatform(site)


@pytest.fixture
def production(platform: Any, built: Package) -> Endpoint:
    """Version 3, confirmed in production."""
    platform.endpoints.deploy(built.folder, "demo", "production")
    confirmed: Endpoint = platform.endpoints.confirm("demo", "production")
    return confirmed


def _service(cloud: Cloud, name: str = "demo-production") -> Service:
    return cloud.area(Services).found[name]


def _digest(platform: Any, endpoint: Endpoint) -> str:
    """Ask a service which package it serves."""
    key = platform.endpoints.keys(endpoint.service, endpoint.environment)[0]
    with Client.to(endpoint.url, 30, 60, key) as client:
        status, said = client.ask("POST", "/score", entry.DESCRIBE.encode())
    assert status == 200
    return str(said["digest"])


# ------------------------------------------------------------------ what is Azure's own


def test_a_service_passes_the_test_that_every_service_has_to_pass(
    platform: Any, production: Endpoint, built: Package
) -> None:
    key = platform.endpoints.keys("demo", "production")[1]
    report = service_checks.check(production, built, key=key, requests=20)
    assert [each for each in report.checks if not each["passed"]] == []
    assert {"health", "golden rows", "no API key", "wrong API key"} <= {
        each["check"] for each in report.checks
    }


def test_staging_is_a_container_instance_and_production_on_the_cluster(
    cloud: Cloud, platform: Any, production: Endpoint, built: Package
) -> None:
    staging = platform.endpoints.deploy(built.folder, "demo", "staging")
    assert staging.url.endswith(".azurecontainer.io")
    assert production.url.endswith("/api/v1/service/demo-production")
    for name in ("demo-staging", "demo-production"):
        assert _service(cloud, name).sent["authEnabled"] is True


def test_a_cluster_with_a_certificate_serves_by_https(
    platform: Any, built: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_AZUREML_AKS_LEAF_LABEL", "our-models")
    made = platform.endpoints.deploy(built.folder, "demo", "production")
    assert made.url.startswith("https://our-models.")
    assert _digest(platform, made) == built.digest


def test_a_service_starts_no_package_that_a_trusted_key_has_not_signed(
    cloud: Cloud, platform: Any, production: Endpoint, signing_key: SigningKey
) -> None:
    told = _service(cloud).sent["environmentImageRequest"]["environment"]["environmentVariables"]
    assert told["SCORING_PUBLIC_KEY"] == "".join(signing_key.public_pem.splitlines()[1:-1])


def test_an_image_that_was_built_and_approved_is_what_the_service_stands_on(
    cloud: Cloud, platform: Any, built: Package
) -> None:
    image = f"mlopsregistry.azurecr.io/scoring-demo@sha256:{'a' * 64}"
    platform.endpoints.deploy(built.folder, "demo", "staging", image=image)
    environment = _service(cloud, "demo-staging").sent["environmentImageRequest"]["environment"]
    assert environment["docker"]["baseImage"] == image
    assert environment["python"]["userManagedDependencies"] is True


def test_a_share_of_the_requests_is_refused_before_anything_is_touched(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package
) -> None:
    before = len(cloud.calls)
    with pytest.raises(PlatformError, match=r"share of 10 per cent .* release to all"):
        platform.endpoints.deploy(challenger.folder, "demo", "production", traffic=10)
    assert len(cloud.calls) == before
    assert platform.endpoints.find("demo", "production") == production


def test_a_long_or_strange_name_of_a_scenario_still_names_a_service(
    cloud: Cloud, platform: Any, built: Package
) -> None:
    for scenario in ("breast_cancer", "a" * 40, "a" * 40 + "b"):
        made = platform.endpoints.deploy(built.folder, scenario, "staging")
        assert made.service == scenario
        assert _digest(platform, made) == built.digest
    assert len(cloud.area(Services).found) == 3
    assert all(len(name) <= 32 for name in cloud.area(Services).found)


def test_a_service_of_the_same_name_that_is_not_ours_is_left_alone(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package
) -> None:
    _service(cloud).sent["kvTags"] = {"owner": "somebody else"}
    endpoints = platform.endpoints
    with pytest.raises(PlatformError, match="nothing is done to it"):
        endpoints.deploy(challenger.folder, "demo", "production")
    for act in (endpoints.remove, endpoints.find, endpoints.restore, endpoints.stop):
        with pytest.raises(PlatformError, match="nothing is done to it"):
            act("demo", "production")
    assert _service(cloud).starts == 1


def test_production_says_which_version_it_has_confirmed(
    platform: Any, built: Package, challenger: Package
) -> None:
    endpoints = platform.endpoints
    assert endpoints.served("demo") is None
    endpoints.deploy(built.folder, "demo", "production")
    assert endpoints.served("demo") is None
    endpoints.confirm("demo", "production")
    assert endpoints.served("demo") == "3"
    endpoints.deploy(challenger.folder, "demo", "production")
    assert endpoints.served("demo") == "3"
    endpoints.confirm("demo", "production")
    assert endpoints.served("demo") == "4"
    endpoints.stop("demo", "production")
    assert endpoints.served("demo") is None


def test_a_service_that_somebody_has_changed_by_other_means_is_not_taken_for_the_champions(
    cloud: Cloud, platform: Any, production: Endpoint
) -> None:
    service = _service(cloud)
    (package,) = (each for each in cloud.area(Models).found.values() if each.name == "demo-package")
    other = copy.copy(package)
    other.id, other.version = "demo-package:77", 77
    cloud.area(Models).found[other.id] = other
    service.sent["environmentImageRequest"]["modelIds"] = [other.id]
    with pytest.raises(PlatformError, match=r"runs demo-package:77, which the record .* doesn't know"):
        platform.endpoints.served("demo")
    found = platform.endpoints.find("demo", "production")
    assert not found.details["alive"]


def test_the_keys_outlive_a_stop(platform: Any, production: Endpoint, built: Package) -> None:
    endpoints = platform.endpoints
    keys = endpoints.keys("demo", "production")
    endpoints.stop("demo", "production")
    with pytest.raises(PlatformError, match="no keys"):
        endpoints.keys("demo", "production")
    endpoints.restore("demo", "production")
    assert endpoints.keys("demo", "production") == keys
    # A service that was removed for good is another one when it is deployed again.
    endpoints.stop("demo", "production")
    endpoints.remove("demo", "production")
    endpoints.deploy(built.folder, "demo", "production")
    assert set(endpoints.keys("demo", "production")).isdisjoint(keys)


def test_a_service_that_somebody_has_deleted_is_made_again(
    cloud: Cloud, platform: Any, production: Endpoint, built: Package
) -> None:
    del cloud.area(Services).found["demo-production"]
    found = platform.endpoints.find("demo", "production")
    assert (found.digest, found.details["alive"]) == (built.digest, False)
    with pytest.raises(PlatformError, match="doesn't answer: deploy it again"):
        platform.endpoints.confirm("demo", "production")
    back = platform.endpoints.restore("demo", "production")
    assert (back.url, _digest(platform, back)) == (production.url, built.digest)


def test_a_package_that_was_changed_in_the_workspace_is_not_gone_back_to(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package
) -> None:
    platform.endpoints.deploy(challenger.folder, "demo", "production")
    live = platform.endpoints.confirm("demo", "production")
    first = cloud.area(Assets).found[cloud.area(Models).found["demo-package:1"].url.removeprefix(ASSET)]
    origin, container, _ = first.artifacts[0].prefix.split("/")
    blob = cloud.blobs.get_blob_client("azureml", f"{origin}/{container}/package/golden.json")
    blob.upload_blob(b"{}", overwrite=True)
    with pytest.raises(PlatformError, match=r"golden\.json was changed"):
        platform.endpoints.rollback("demo", "production", by="Ada")
    assert platform.endpoints.find("demo", "production") == live
    assert _service(cloud).starts == 2


def test_a_damaged_record_is_told_and_can_be_removed(
    cloud: Cloud, platform: Any, production: Endpoint
) -> None:
    blob = cloud.blobs.get_blob_client("azureml-blobstore", "mlops/endpoints/demo/production.json")
    blob.upload_blob(b'{"live": 3}', overwrite=True)
    (found,) = platform.endpoints.everything()
    assert "is damaged" in found.details["error"]
    platform.endpoints.remove("demo", "production")
    assert platform.endpoints.everything() == []
    assert cloud.area(Services).found == {}


# ------------------------------------------------------------------ faults


def test_a_version_that_turns_unhealthy_is_told_by_its_log_and_the_one_before_serves_on(
    cloud: Cloud, platform: Any, production: Endpoint, broken: Package, built: Package
) -> None:
    with pytest.raises(PlatformError) as refused:
        platform.endpoints.deploy(broken.folder, "demo", "production")
    first, *others = str(refused.value).splitlines()
    assert "The service demo-production doesn't get ready (unhealthy)" in first
    assert "KubernetesDeploymentFailed" in first
    assert others[0] == "Its log ends:"
    assert others[-2] == "SystemExit: deliberately broken"
    assert others[-1] == "Version 3, which was live before, is put back."
    assert len(others) < 12
    assert platform.endpoints.find("demo", "production") == production
    assert _digest(platform, production) == built.digest
    assert platform.endpoints.served("demo") == "3"


def test_a_first_version_that_turns_unhealthy_leaves_nothing(
    cloud: Cloud, platform: Any, broken: Package
) -> None:
    with pytest.raises(PlatformError, match="Nothing was live before: the service is taken down"):
        platform.endpoints.deploy(broken.folder, "demo", "production")
    assert platform.endpoints.find("demo", "production") is None
    assert cloud.area(Services).found == {}


def test_a_deployment_that_fails_after_a_while_is_put_back(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package, built: Package
) -> None:
    cloud.operations.fail("Service", "Unschedulable", "0/3 nodes are available: insufficient cpu.", after=10)
    with pytest.raises(
        PlatformError, match=r"0/3 nodes are available: insufficient cpu \(Unschedulable"
    ) as refused:
        platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert "Version 3, which was live before, is put back" in str(refused.value)
    assert _digest(platform, production) == built.digest
    assert platform.endpoints.find("demo", "production") == production


def test_a_deployment_that_takes_too_long_is_put_back(
    cloud: Cloud,
    platform: Any,
    production: Endpoint,
    challenger: Package,
    built: Package,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It never ends by itself: only when the service is changed again.
    cloud.operations.fail("Service", "TimedOut", "The deployment timed out.", after=60)
    short = platform.site.settings.timeouts.model_copy(update={"deployment": 1.0})
    monkeypatch.setitem(
        platform.site.__dict__, "settings", platform.site.settings.model_copy(update={"timeouts": short})
    )
    with pytest.raises(PlatformError, match="has taken longer than 1 s"):
        platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert platform.endpoints.find("demo", "production").digest == built.digest


@pytest.mark.parametrize(
    "happening",
    [
        [too_many(0), too_many(0)],
        [server_error(500)],
        [server_error(503), server_error(500)],
        [cut()],
        [lost()],
    ],
    ids=["throttled", "500", "503, 500", "cut", "carried out, but the answer lost"],
)
def test_what_fails_in_passing_while_a_service_is_changed_is_done_once_more_and_only_once(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package, happening: list[Fault]
) -> None:
    cloud.faults.add("PATCH", r"/services/demo-production", happening)
    made = platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert cloud.faults.left == 0
    assert _digest(platform, made) == challenger.digest
    assert _service(cloud).starts == 2


@pytest.mark.parametrize("happening", [[too_many(0)], [server_error(500)], [cut()], [lost()]])
def test_what_fails_in_passing_while_a_service_is_made_is_done_once_more_and_only_once(
    cloud: Cloud, platform: Any, built: Package, happening: list[Fault]
) -> None:
    cloud.faults.add("POST", r"/services$", happening)
    made = platform.endpoints.deploy(built.folder, "demo", "staging")
    assert cloud.faults.left == 0
    assert _digest(platform, made) == built.digest
    assert _service(cloud, "demo-staging").starts == 1


@pytest.mark.parametrize("happening", [[server_error(500)], [lost()]])
def test_a_package_is_kept_once_whatever_is_lost_on_the_way(
    cloud: Cloud, platform: Any, built: Package, happening: list[Fault]
) -> None:
    cloud.faults.add("POST", r"/models$", happening)
    with contextlib.suppress(PlatformError):
        platform.endpoints.deploy(built.folder, "demo", "staging")
    platform.endpoints.deploy(built.folder, "demo", "staging")
    assert [each.id for each in cloud.area(Models).versions("demo-package")] == ["demo-package:1"]


def test_a_missing_permission_is_told_as_one_and_changes_nothing(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package, built: Package
) -> None:
    cloud.faults.add(
        "PATCH", r"/services/", [refused(403, "AuthorizationFailed", "The client has no right to it.")]
    )
    with pytest.raises(
        PlatformError, match=r"no right to it \(AuthorizationFailed, HTTP 403, request .* role"
    ):
        platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert platform.endpoints.find("demo", "production") == production
    assert _digest(platform, production) == built.digest


# ------------------------------------------------------------------ interruptions

POINTS = {
    "while the package is uploaded": ("POST", "/assets$"),
    "when the package was registered": ("POST", "/models$"),
    "when the update was accepted": ("PATCH", "/services/demo-production$"),
    "while the new version starts": ("GET", "/operations/"),
}


@pytest.fixture(params=[*POINTS.values()], ids=[*POINTS])
def interrupted(
    request: pytest.FixtureRequest, cloud: Cloud, platform: Any, production: Endpoint, challenger: Package
) -> Endpoint:
    """Production as it was, and a process that was ended at some point while it deployed version 4."""
    method, path = request.param
    cloud.faults.add(method, path, [replace(lost(), after=_thread.interrupt_main)])
    with pytest.raises(KeyboardInterrupt):
        platform.endpoints.deploy(challenger.folder, "demo", "production")
    return production


def test_a_deployment_that_was_interrupted_is_taken_up_by_the_same_command(
    cloud: Cloud, platform: Any, interrupted: Endpoint, challenger: Package
) -> None:
    found = platform.endpoints.find("demo", "production")
    assert found.digest == interrupted.digest, "what is live is what was recorded last"
    made = platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert (made.digest, made.url, made.confirmed) == (challenger.digest, interrupted.url, False)
    assert _digest(platform, made) == challenger.digest
    assert _service(cloud).starts == 2, "nothing was begun twice"
    assert len(cloud.area(Models).versions("demo-package")) == 2
    assert platform.endpoints.served("demo") == "3"
    assert platform.endpoints.confirm("demo", "production").confirmed


def test_a_deployment_that_was_interrupted_can_be_taken_back(
    cloud: Cloud, platform: Any, interrupted: Endpoint, built: Package
) -> None:
    assert platform.endpoints.served("demo") == "3"
    back = platform.endpoints.restore("demo", "production")
    assert back == interrupted
    assert _digest(platform, back) == built.digest


def test_a_process_that_ends_before_it_has_recorded_what_it_did_is_found_out(
    platform: Any, production: Endpoint, challenger: Package, built: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Place, "record", end)
        with pytest.raises(KeyboardInterrupt):
            platform.endpoints.deploy(challenger.folder, "demo", "production")
    found = platform.endpoints.find("demo", "production")
    assert (found.digest, found.details["alive"]) == (built.digest, False)
    with pytest.raises(PlatformError, match="doesn't answer"):
        platform.endpoints.confirm("demo", "production")
    assert _digest(platform, platform.endpoints.restore("demo", "production")) == built.digest


# ------------------------------------------------------------------ several at once


def test_two_jobs_that_deploy_at_once_do_so_one_after_the_other(
    cloud: Cloud, platform: Any, site: Any, production: Endpoint, challenger: Package, built: Package
) -> None:
    other = AzurePlatform(site)
    began: list[Endpoint] = []
    thread = threading.Thread(
        target=lambda: began.append(other.endpoints.deploy(challenger.folder, "demo", "production"))
    )
    # The second one begins when the first has begun to change the service.
    cloud.faults.add("PATCH", "/services/", [delayed(thread.start)])
    platform.endpoints.deploy(challenger.folder, "demo", "production")
    thread.join(60)
    assert began[0].digest == challenger.digest
    assert _service(cloud).starts == 2
    assert _digest(platform, began[0]) == challenger.digest


def test_a_job_that_another_one_keeps_waiting_for_too_long_gives_up(
    platform: Any, site: Any, production: Endpoint, challenger: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "LOCK_SECONDS", 0.2)
    with (
        Ledger(site, "demo", "production").held(5, print),
        pytest.raises(PlatformError, match="Another process has been changing demo in production"),
    ):
        platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert platform.endpoints.find("demo", "production") == production


def test_a_job_whose_turn_was_taken_away_changes_nothing_more(
    cloud: Cloud, platform: Any, production: Endpoint, challenger: Package, built: Package
) -> None:
    blob = cloud.blobs.get_blob_client("azureml-blobstore", "mlops/endpoints/demo/production.json")

    def take_away() -> None:
        lease_of(blob).break_lease(0)
        blob.acquire_lease()

    cloud.faults.add("GET", "/operations/", [delayed(take_away)])
    with pytest.raises(PlatformError, match="another one may change demo in production by now"):
        platform.endpoints.deploy(challenger.folder, "demo", "production")
    assert platform.endpoints.find("demo", "production").digest == built.digest


def lease_of(blob: Any) -> Any:
    """Return a blob's lease, whoever has it."""
    from azureml._vendor.azure_storage.blob import BlobLeaseClient

    return BlobLeaseClient(blob)
