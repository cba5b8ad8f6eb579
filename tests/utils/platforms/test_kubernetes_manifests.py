"""The manifests for Kubernetes, as kustomize renders them: what the cluster will be asked for."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from utils.platforms.local.settings import Settings
from utils.platforms.local.targets import Site, Version, rendering
from utils.platforms.protocol import PlatformError

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")

ENVIRONMENTS = ("staging", "production")
DIGEST, OTHER = "a" * 64, "b" * 64
IMAGE = "registry.example.com:5000/mlops/demo@sha256:" + "c" * 64
KEY = "a-very-secret-key"
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"

# The oldest Kubernetes that knows all of it, and the newest whose schemas are there.
SCHEMAS = ("1.30", kubernetes_validate.latest_version())

Record = dict[str, Any]


def make_site(folder: Path, environment: str = "production", service: str = "demo", **settings: Any) -> Site:
    keys = folder / "keys"
    keys.write_text(f"{KEY}\nanother\n")
    given = Settings(target="kubernetes", **settings)
    return Site(service, environment, folder, keys, PUBLIC_KEY, given)


def rendered(site: Site, digest: str = DIGEST) -> dict[str, Record]:
    chosen = {**rendering.labels(site), rendering.PACKAGE: digest[:12]}
    return {
        **rendering.version(site, Version(digest, "12", site.folder, IMAGE), "mlops"),
        **rendering.endpoint(site, chosen, "mlops"),
        "Secret": rendering.keys(site),
    }


def template(manifests: dict[str, Record]) -> Record:
    found: Record = manifests["Deployment"]["spec"]["template"]
    return found


def container(manifests: dict[str, Record]) -> Record:
    (found,) = template(manifests)["spec"]["containers"]
    return dict(found)


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    return rendered(make_site(tmp_path_factory.mktemp("site"), request.param))


@pytest.mark.parametrize("schemas", SCHEMAS)
def test_every_manifest_is_valid_and_has_no_field_that_kubernetes_does_not_know(
    manifests: dict[str, Record], schemas: str
) -> None:
    assert sorted(manifests) == [
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Secret",
        "Service",
    ]
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, schemas, strict=True)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_overlay_can_be_rendered_by_itself(environment: str) -> None:
    folder = rendering.FOLDER / "overlays" / environment
    text = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True).stdout
    assert len(list(yaml.safe_load_all(text))) == 5


def test_the_pods_have_no_rights(manifests: dict[str, Record]) -> None:
    pod = template(manifests)["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for context in (pod["securityContext"], container(manifests)["securityContext"]):
        assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, 65532, 65532)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container(manifests)["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["privileged"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_only_tmp_can_be_written_and_it_is_bounded(manifests: dict[str, Record]) -> None:
    mounts = {mount["mountPath"]: mount for mount in container(manifests)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in template(manifests)["spec"]["volumes"]}
    writable = [path for path, mount in mounts.items() if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    assert "sizeLimit" in volumes[mounts["/tmp"]["name"]]["emptyDir"]


def test_the_probes_ask_the_service_on_its_port(manifests: dict[str, Record]) -> None:
    found = container(manifests)
    paths = {name: found[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    assert {found[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {"http"}
    assert found["ports"] == [{"name": "http", "containerPort": rendering.PORT}]
    assert found["args"][:2] == ["--port", str(rendering.PORT)]


def test_a_start_may_take_as_long_as_the_settings_say(tmp_path: Path) -> None:
    probe = container(rendered(make_site(tmp_path, start_seconds=301)))["startupProbe"]
    assert 301 <= probe["periodSeconds"] * probe["failureThreshold"] < 305


def test_a_pod_that_ends_has_the_time_to_finish_what_it_has(manifests: dict[str, Record]) -> None:
    found = container(manifests)
    drain = next(each["value"] for each in found["env"] if each["name"] == "SCORING_DRAIN_SECONDS")
    before = found["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before >= 5
    assert template(manifests)["spec"]["terminationGracePeriodSeconds"] > before + float(drain)


def test_no_pod_is_taken_away_before_the_next_is_ready(manifests: dict[str, Record]) -> None:
    assert manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_image_is_named_by_its_digest(manifests: dict[str, Record]) -> None:
    assert container(manifests)["image"] == IMAGE


@pytest.mark.parametrize(
    "image",
    [
        "",
        "sha256:" + "c" * 64,
        "registry.example.com/mlops/demo:latest",
        "mlops/demo@sha256:" + "c" * 64,  # that would be Docker's hub
        "registry.example.com/mlops/demo@sha256:abc",
    ],
)
def test_an_image_that_no_cluster_could_pull_by_its_digest_is_refused(tmp_path: Path, image: str) -> None:
    site = make_site(tmp_path)
    with pytest.raises(PlatformError, match=r"set serving\.registry"):
        rendering.version(site, Version(DIGEST, "12", tmp_path, image), "mlops")


def test_a_tag_beside_the_digest_is_left_out(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    image = IMAGE.replace("@", ":v1@")
    made = rendering.version(site, Version(DIGEST, "12", tmp_path, image), "mlops")
    assert container(made)["image"] == IMAGE


def test_selectors_match_the_labels_of_the_pods(manifests: dict[str, Record]) -> None:
    labels = template(manifests)["metadata"]["labels"].items()
    spread = [each["labelSelector"] for each in template(manifests)["spec"]["topologySpreadConstraints"]]
    for selector in (
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        *(each["matchLabels"] for each in spread),
    ):
        assert selector.items() <= labels
    assert len(spread) == 2
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == "http"


def test_what_belongs_to_a_version_selects_no_pod_of_another(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    other = template(rendered(site, OTHER))["metadata"]["labels"].items()
    mine = rendered(site)
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert not mine[kind]["spec"]["selector"]["matchLabels"].items() <= other
    assert not mine["Service"]["spec"]["selector"].items() <= other
    assert mine["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= other


def test_services_and_environments_in_one_namespace_have_nothing_in_common(tmp_path: Path) -> None:
    sites = [
        make_site(tmp_path, environment, service)
        for environment, service in itertools.product(ENVIRONMENTS, ("demo", "other"))
    ]
    made = [rendered(site) for site in sites]
    names = [(kind, each["metadata"]["name"]) for manifests in made for kind, each in manifests.items()]
    assert len(names) == len(set(names))
    for one, two in itertools.permutations(made, 2):
        labels = template(two)["metadata"]["labels"].items()
        assert not one["Service"]["spec"]["selector"].items() <= labels
        assert not one["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_the_autoscaler_scales_the_deployment_of_its_version(manifests: dict[str, Record]) -> None:
    autoscaler, deployment = manifests["HorizontalPodAutoscaler"], manifests["Deployment"]
    assert autoscaler["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert autoscaler["spec"]["minReplicas"] == deployment["spec"]["replicas"]
    assert "cpu" in container(manifests)["resources"]["requests"], "the autoscaler counts by it"


def test_staging_and_production_differ_in_size_alone(tmp_path: Path) -> None:
    staging, production = (rendered(make_site(tmp_path, each)) for each in ENVIRONMENTS)
    assert production["Deployment"]["spec"]["replicas"] > staging["Deployment"]["spec"]["replicas"]
    assert container(production)["resources"] != container(staging)["resources"]
    bounds = [
        (
            each["HorizontalPodAutoscaler"]["spec"]["minReplicas"],
            each["HorizontalPodAutoscaler"]["spec"]["maxReplicas"],
        )
        for each in (staging, production)
    ]
    assert bounds == [(1, 4), (2, 20)]
    disruptions = [each["PodDisruptionBudget"]["spec"]["maxUnavailable"] for each in (staging, production)]
    assert disruptions == [1, "25%"]
    for each in (staging, production):
        del each["Deployment"]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert container(staging) == container(production)


def test_a_number_of_pods_in_the_settings_is_stronger_than_the_overlay(tmp_path: Path) -> None:
    made = rendered(make_site(tmp_path, replicas=5))
    assert made["Deployment"]["spec"]["replicas"] == 5
    assert made["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 5


def test_a_size_in_the_settings_is_stronger_than_the_overlay(tmp_path: Path) -> None:
    made = container(rendered(make_site(tmp_path, memory="2g")))["resources"]
    assert made["limits"] == {"memory": "2Gi", "cpu": "1"}
    assert made["requests"] == {"memory": "2Gi", "cpu": "500m"}
    made = container(rendered(make_site(tmp_path, memory="300m", cpus=0.25)))["resources"]
    assert made["limits"] == made["requests"] == {"memory": "300Mi", "cpu": "250m"}


def test_more_pods_than_the_overlay_allows_are_allowed_if_the_settings_say_so(tmp_path: Path) -> None:
    made = rendered(make_site(tmp_path, "staging", replicas=9))
    assert made["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 9


def test_requests_come_in_by_the_port_alone_and_nothing_goes_out(manifests: dict[str, Record]) -> None:
    policy = manifests["NetworkPolicy"]["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": rendering.PORT}]}]
    assert policy["egress"] == []


def test_the_keys_are_in_the_secret_alone_and_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / "temporary"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    made = rendered(make_site(tmp_path))
    assert list(aside.iterdir()) == []
    secret = made.pop("Secret")
    assert list(secret["data"]) == ["keys"]
    text = json.dumps(made)
    assert KEY not in text
    assert secret["data"]["keys"] not in text
    (volume,) = [each for each in template(made)["spec"]["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    variables = {each["name"]: each["value"] for each in container(made)["env"]}
    (mount,) = [each for each in container(made)["volumeMounts"] if each["name"] == volume["name"]]
    assert variables["SCORING_KEYS_FILE"] == f"{mount['mountPath']}/keys"
    assert variables["SCORING_REQUIRE_KEYS"] == "1"
    assert variables["SCORING_PUBLIC_KEY"] == PUBLIC_KEY


def test_the_keys_file_that_is_missing_is_named(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    site.keys.unlink()
    with pytest.raises(PlatformError, match=re.escape(str(site.keys))):
        rendering.keys(site)


def test_what_a_version_is_can_be_read_from_the_cluster(manifests: dict[str, Record]) -> None:
    deployment = manifests["Deployment"]["metadata"]
    assert deployment["name"].endswith(f"-{DIGEST[:12]}")
    assert deployment["annotations"]["mlops/digest"] == DIGEST
    assert deployment["annotations"]["kubernetes.io/change-cause"] == "package aaaaaaaaaaaa, model version 12"
    assert deployment["labels"]["app.kubernetes.io/version"] == "12"
    for manifest in manifests.values():
        assert manifest["metadata"]["labels"]["app.kubernetes.io/name"] == "scoring"


def test_a_load_balancer_is_not_on_the_internet(tmp_path: Path) -> None:
    service = rendered(make_site(tmp_path, exposure="load_balancer"))["Service"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {
        "service.beta.kubernetes.io/azure-load-balancer-internal": "true"
    }
    kubernetes_validate.validate(service, SCHEMAS[0], strict=True)


def test_several_workers_are_asked_for_in_the_arguments(tmp_path: Path) -> None:
    assert container(rendered(make_site(tmp_path, workers=3)))["args"][-2:] == ["--workers", "3"]


def test_an_environment_without_an_overlay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"there are production, staging"):
        rendered(make_site(tmp_path, "test"))


@pytest.mark.parametrize(
    "service", ["demo", "my_model", "My.Model", "my-model", "1st", "_", "ünïcode", "x" * 100, "x" * 101]
)
def test_a_service_of_any_name_has_names_that_kubernetes_takes(service: str, tmp_path: Path) -> None:
    made = rendered(make_site(tmp_path, service=service))
    for manifest in made.values():
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
        assert len(manifest["metadata"]["name"]) <= 63
        kubernetes_validate.validate(manifest, SCHEMAS[1], strict=True)


def test_two_services_never_have_the_same_name() -> None:
    services = ["my-model", "my_model", "my.model", "My-Model", "x" * 100, "x" * 101, "1st", "s-1st"]
    assert len({rendering.name(each, "staging") for each in services}) == len(services)
