"""The software environment: registered and built anew only when the lock changes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.azure.cloud import Cloud, faults
from tests.azure.cloud.environments import Environments
from utils import project
from utils.platforms.azureml import environments
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError

ANY = r"/environments/mlops-notebooks/versions/\w+$"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock that a test may change, in a project that has nothing else."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setattr(project, "root", lambda: folder)
    path = folder / environments.LOCK
    path.write_text("numpy==2.1.0 --hash=sha256:abc\n")
    return path


def _registered(cloud: Cloud) -> list[str]:
    return [version for _, version in cloud.area(Environments).known]


def test_the_projects_own_lock_is_registered_and_built_once(cloud: Cloud, site: Site) -> None:
    made = environments.provision(site)
    assert (made.name, made.state) == ("environment", "created")
    assert environments.version(site) in made.location
    assert environments.provision(Site()).state == "found"
    assert environments.registered(site).version == environments.version(site)
    assert cloud.area(Environments).builds == [("mlops-notebooks", environments.version(site))]


def test_what_is_built_is_the_lock_with_its_hashes(cloud: Cloud, site: Site) -> None:
    environments.provision(site)
    (known,) = cloud.area(Environments).known.values()
    assert known["python"]["userManagedDependencies"] is True
    assert known["python"]["interpreterPath"] == environments.PYTHON
    folder = known["docker"]["buildContext"]["location"].split("/azureml/", 1)[1]
    blobs = {blob.name: blob for blob in cloud.blobs.get_container_client("azureml").list_blobs(folder)}
    assert set(blobs) == {f"{folder}Dockerfile", f"{folder}azureml.lock"}
    sent = cloud.blobs.get_blob_client("azureml", f"{folder}azureml.lock").download_blob().readall()
    assert sent == (project.root() / "azureml.lock").read_bytes()
    dockerfile = cloud.blobs.get_blob_client("azureml", f"{folder}Dockerfile").download_blob().readall()
    assert b"--require-hashes --requirement /opt/azureml.lock" in dockerfile


def test_another_lock_is_another_version_and_the_one_before_stays(
    cloud: Cloud, site: Site, lock: Path
) -> None:
    environments.provision(site)
    lock.write_text("numpy==2.2.0 --hash=sha256:def\n")
    assert environments.provision(site).state == "created"
    lock.write_text("numpy==2.1.0 --hash=sha256:abc\n")
    assert environments.provision(site).state == "found"
    assert len(_registered(cloud)) == len(cloud.area(Environments).builds) == 2


def test_another_base_image_is_another_version_too(
    cloud: Cloud, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments.provision(site)
    monkeypatch.setenv("MLOPS_AZUREML_ENVIRONMENT_BASE_IMAGE", "registry.example.com/base:1")
    other = Site()
    assert environments.dockerfile(other).startswith("FROM registry.example.com/base:1\n")
    assert environments.provision(other).state == "created"
    assert len(_registered(cloud)) == 2


def test_an_image_that_is_gone_is_built_again(cloud: Cloud, site: Site) -> None:
    environments.provision(site)
    cloud.area(Environments).images.clear()
    assert environments.provision(site).state == "created"
    assert len(_registered(cloud)) == 1
    assert len(cloud.area(Environments).builds) == 2


def test_two_jobs_at_the_same_time_end_with_one_version(cloud: Cloud, site: Site) -> None:
    sites, both, ended = [site, Site()], threading.Barrier(2, timeout=60), []
    for each in sites:
        assert each.workspace.name == "mlops"
    cloud.faults.add("GET", ANY, [faults.delayed(both.wait), faults.delayed(both.wait)])
    threads = [
        threading.Thread(target=lambda s=each: ended.append(environments.provision(s))) for each in sites
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 2
    assert len(_registered(cloud)) == 1


def test_a_build_that_fails_after_ten_polls_is_one_error_with_its_reason(cloud: Cloud, site: Site) -> None:
    cloud.operations.fail("environment", "BuildFailed", "the build failed", after=10)
    cloud.area(Environments).log = (
        "Step 3/4 : RUN conda\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES, fetched from https://x/y?sig=hush\n"
        "The command returned a non-zero code: 1\n"
    )
    with pytest.raises(PlatformError) as refused:
        environments.provision(site)
    told = str(refused.value)
    assert "\n" not in told
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in told
    assert "hush" not in told
    assert "BuildFailed" in told
    assert environments.provision(site).state == "created"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ANY),
        ("GET", ANY),
        ("POST", "/image$"),
        ("GET", "/image$"),
        ("GET", "/builds/"),
        ("POST", "/listKeys$"),
    ],
)
def test_passing_failures_on_the_way_do_no_harm(
    cloud: Cloud, site: Site, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from utils.platforms.azureml import faults as ours

    monkeypatch.setattr(ours, "delay", lambda fault, attempt: 0.0)
    assert site.workspace.name == "mlops"
    cloud.faults.add(method, path, [faults.too_many(1), faults.server_error(), faults.cut()])
    environments.provision(site)
    assert cloud.faults.left == 0
    assert environments.provision(Site()).state == "found"
    assert len(_registered(cloud)) == 1


def test_an_error_is_never_taken_for_no_environment(cloud: Cloud, site: Site) -> None:
    cloud.faults.add("GET", ANY, [faults.refused(403, "Forbidden", "no")])
    with pytest.raises(
        PlatformError, match=r"The environment 'mlops-notebooks' can't be read: no \(Forbidden, HTTP 403"
    ):
        environments.provision(site)
    assert _registered(cloud) == []


def test_where_the_caller_trains_none_is_made(
    cloud: Cloud, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_TARGET", "local")
    assert environments.provision(Site()).location == "this one, where the command runs"
    assert cloud.calls == []


def test_without_a_lock_it_is_said_how_to_make_one(site: Site, lock: Path) -> None:
    lock.unlink()
    with pytest.raises(PlatformError, match=r"azureml\.lock isn't there: `make lock`"):
        environments.provision(site)
