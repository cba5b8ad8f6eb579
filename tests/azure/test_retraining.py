"""The published retraining pipeline: made once, and started, watched and ended as a job that really runs."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.azure import projects
from tests.azure.cloud import Cloud, faults
from tests.azure.cloud.artifacts import Artifacts
from tests.azure.cloud.computes import Computes
from tests.azure.cloud.datastores import CONTAINER
from tests.azure.cloud.pipeline_jobs import Jobs
from tests.azure.cloud.pipelines import Pipelines
from tests.azure.cloud.snapshots import Snapshots
from tests.azure.projects import STEPS, ended, until
from utils.platforms.azureml import publishing
from utils.platforms.azureml.retraining import AzureRetraining
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError, Stint


@pytest.fixture
def stint(tmp_path: Path) -> Stint:
    """Two steps of a project that is as small as can be."""
    return projects.make(tmp_path / "project")


@pytest.fixture
def retraining(workspace: Any) -> AzureRetraining:
    return AzureRetraining(Site())


def other(tmp_path: Path, digest: str, name: str = "other") -> Stint:
    """The same project after a change."""
    return projects.make(tmp_path / name, digest * 64)


def told(cloud: Cloud, step: str = STEPS[-1]) -> list[dict[str, Any]]:
    """Return what the only job's steps up to this one have written down."""
    container = cloud.blobs.get_container_client(CONTAINER)
    (name,) = (each.name for each in container.list_blobs() if each.name.endswith(f"after_{step}/told.json"))
    return list(json.loads(container.download_blob(name).readall()))


def called(cloud: Cloud, method: str, end: str) -> int:
    """Count the calls of a path that ends so."""
    return sum(call.method == method and call.path.endswith(end) for call in cloud.calls)


def post(address: str, content: Any, token: str = "") -> Any:
    """Call an address as curl does."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(address, json.dumps(content).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class TestPublishing:
    def test_the_same_is_published_once(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        first, second = retraining.publish(stint), retraining.publish(stint)
        assert (first.state, second.state) == ("created", "found")
        assert first.location == second.location
        assert called(cloud, "POST", "/Pipelines/Create") == 1
        (published,) = cloud.area(Pipelines).pipelines.values()
        assert stint.digest in published.description

    def test_a_change_is_a_new_default_version_at_the_same_address(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, tmp_path: Path
    ) -> None:
        before = retraining.publish(stint)
        after = retraining.publish(other(tmp_path, "b"))
        assert (after.state, after.location) == ("created", before.location)
        (endpoint,) = cloud.area(Pipelines).endpoints.values()
        assert (endpoint.default_version, len(endpoint.pipeline_version_list)) == ("1", 2)

    def test_what_was_published_before_is_the_default_again_without_being_published(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, tmp_path: Path
    ) -> None:
        retraining.publish(stint)
        retraining.publish(other(tmp_path, "b"))
        assert retraining.publish(stint).state == "found"
        (endpoint,) = cloud.area(Pipelines).endpoints.values()
        assert (endpoint.default_version, len(endpoint.pipeline_version_list)) == ("0", 2)

    def test_another_compute_is_published_anew(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        retraining.publish(stint)
        monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_NAME", "another")
        assert AzureRetraining(Site()).publish(stint).state == "created"

    @pytest.mark.parametrize("service", ["as it is", "strict", "twins"])
    @pytest.mark.parametrize("before", [False, True], ids=["nothing before", "something before"])
    def test_two_at_once_end_with_one_default_version_at_one_address(
        self,
        cloud: Cloud,
        retraining: AzureRetraining,
        stint: Stint,
        tmp_path: Path,
        service: str,
        before: bool,
    ) -> None:
        pipelines = cloud.area(Pipelines)
        pipelines.strict, pipelines.twins = service == "strict", service == "twins"
        if before:
            retraining.publish(other(tmp_path, "b"))
        both = threading.Barrier(2, timeout=60)
        cloud.faults.add("POST", "/Pipelines/Create", [faults.delayed(both.wait)] * 2)
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda _: AzureRetraining(Site()).publish(stint), range(2)))
        (endpoint,) = [each for each in pipelines.endpoints.values() if each.entity_status == "Active"]
        assert [each.location for each in made] == [endpoint.url] * 2
        versions = {
            each.version: pipelines.pipelines[each.pipeline_id] for each in endpoint.pipeline_version_list
        }
        default = versions[endpoint.default_version]
        active = [
            each
            for each in pipelines.pipelines.values()
            if each.version == default.version and each.entity_status == "Active"
        ]
        assert stint.digest in default.description
        assert active == [default]

    def test_an_answer_that_was_lost_leaves_nothing_twice(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        cloud.faults.add("POST", "/Pipelines/Create", [faults.lost()])
        cloud.faults.add("POST", "/PipelineEndpoints/Create", [faults.lost()])
        retraining.publish(stint)
        assert cloud.faults.left == 0
        assert len(cloud.area(Pipelines).pipelines) == len(cloud.area(Pipelines).endpoints) == 1

    def test_a_process_that_was_ended_between_is_gone_on_from(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        cloud.faults.add("POST", "/PipelineEndpoints/Create", [faults.refused(403, "UserError", "not now")])
        with pytest.raises(PlatformError, match=r"retrain-diabetes can't be published: not now .*HTTP 403"):
            retraining.publish(stint)
        assert retraining.publish(stint).location
        assert called(cloud, "POST", "/Pipelines/Create") == 1

    def test_a_snapshot_that_can_not_be_uploaded_publishes_nothing(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        cloud.faults.add("POST", "/snapshots/getblob", [faults.refused(403, "UserError", "no storage")])
        with pytest.raises(PlatformError, match="can't be published"):
            retraining.publish(stint)
        assert not cloud.area(Pipelines).endpoints

    def test_an_endpoint_that_was_disabled_is_enabled(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        retraining.publish(stint)
        (endpoint,) = cloud.area(Pipelines).endpoints.values()
        endpoint.entity_status = "Disabled"
        assert retraining.publish(stint).state == "found"
        (endpoint,) = cloud.area(Pipelines).endpoints.values()
        assert endpoint.entity_status == "Active"

    def test_nothing_is_told_of_the_git_remote_with_its_token(
        self,
        cloud: Cloud,
        retraining: AzureRetraining,
        stint: Stint,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for words in (
            ("init", "--quiet"),
            ("remote", "add", "origin", "https://ci:token-of-the-remote@git.example.com/project"),
        ):
            subprocess.run(["git", *words], cwd=tmp_path, check=True)
        monkeypatch.chdir(tmp_path)
        retraining.publish(stint)
        retraining.submit(stint, "r1", {}, key="r1.1")
        pipelines = cloud.area(Pipelines)
        jobs = [job.entity for job in cloud.area(Jobs).found.values()]
        entities = [
            *pipelines.modules.values(),
            *pipelines.pipelines.values(),
            *pipelines.endpoints.values(),
            *jobs,
        ]
        kept = [each.properties for each in (*entities, *cloud.area(Snapshots).found.values())]
        assert len(kept) > 4
        assert "token-of-the-remote" not in json.dumps(kept)

    def test_what_can_not_be_a_pipeline_is_refused(
        self, retraining: AzureRetraining, stint: Stint, tmp_path: Path
    ) -> None:
        with pytest.raises(PlatformError, match="can't be called run"):
            retraining.publish(Stint(STEPS, ("alpha", "run"), stint.digest, "diabetes", stint.source))
        with pytest.raises(PlatformError, match="without steps"):
            retraining.publish(Stint((), (), stint.digest, "diabetes", stint.source))
        with pytest.raises(PlatformError, match=r"lack utils/platforms/azureml/node\.py"):
            retraining.publish(Stint(STEPS, (), stint.digest, "diabetes", tmp_path))

    def test_a_scenario_whose_name_azure_does_not_take_is_refused(
        self, retraining: AzureRetraining, stint: Stint
    ) -> None:
        with pytest.raises(PlatformError, match=r"'retrain-a\.b' can't be the name of an experiment"):
            retraining.publish(Stint(STEPS, (), stint.digest, "a.b", stint.source))

    def test_an_endpoint_among_more_than_are_listed_is_found_by_its_name(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = retraining.publish(stint).location
        monkeypatch.setattr(publishing, "MOST", 0)
        assert retraining.publish(stint).location == address

    def test_where_the_compute_is_local_nothing_is_remote(
        self, cloud: Cloud, stint: Stint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_AZUREML_COMPUTE_TARGET", "local")
        retraining = AzureRetraining(Site())
        assert not retraining.remote
        with pytest.raises(PlatformError, match=r"compute\.target is local"):
            retraining.publish(stint)
        assert cloud.calls == []


class TestStarting:
    def test_each_step_is_a_process_that_gets_the_parameters_and_the_folder_of_the_one_before(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        retraining.publish(stint)
        given = {"alpha": "0.5", "target": "a; [1, 2] 100 %", "hang": ""}
        job = retraining.submit(stint, "r1", given, key="r1.1")
        seen = ended(retraining, job)
        assert (seen.state, seen.reason) == ("succeeded", "")
        assert list(seen.steps.items()) == [(step, "succeeded") for step in STEPS]
        assert seen.url.startswith("https://")
        assert f"/runs/{job}" in seen.url
        first, second = told(cloud)
        assert (first["step"], second["step"]) == STEPS
        for each in (first, second):
            assert each["run"] == "r1"
            assert each["given"] == {"alpha": "0.5", "target": "a; [1, 2] 100 %"}
            assert (each["scenario"], each["platform"]) == ("diabetes", "azureml")
            assert each["poll_seconds"] == "0.05"  # as this process has it from its environment
        assert first["azureml_run"] != second["azureml_run"]
        logs = cloud.area(Artifacts).below("ExperimentRun", f"dcid.{first['azureml_run']}")
        assert [each.path for each in logs] == ["user_logs/std_log.txt"]

    def test_the_same_key_is_the_same_job_whatever_became_of_it(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        retraining.publish(stint)
        job = retraining.submit(stint, "r1", {"fail": "train"}, key="r1.1")
        assert ended(retraining, job).state == "failed"
        assert retraining.submit(stint, "r1", {"fail": "train"}, key="r1.1") == job
        assert AzureRetraining(Site()).submit(stint, "r1", {}, key="r1.1") == job
        assert retraining.submit(stint, "r1", {}, key="r1.2") != job

    @pytest.mark.parametrize("history", ["in time", "behind"])
    def test_an_answer_that_was_lost_starts_no_second_job(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, history: str
    ) -> None:
        retraining.publish(stint)
        cloud.faults.add("POST", "/PipelineEndpointSubmit/", [faults.lost()])
        if history == "behind":
            cloud.area(Jobs).unseen = True
        job = retraining.submit(stint, "r1", {}, key="r1.1")
        assert list(cloud.area(Jobs).found) == [job]
        assert cloud.faults.left == 0

    def test_a_service_that_fails_in_passing_is_asked_again(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        cloud.faults.add("GET", "/PipelineEndpoints$", [faults.too_many(0), faults.server_error(503)])
        cloud.faults.add("POST", "/PipelineEndpointSubmit/", [faults.too_many(0), faults.server_error(500)])
        retraining.publish(stint)
        job = retraining.submit(stint, "r1", {}, key="r1.1")
        cloud.faults.add("GET", f"/PipelineRuns/{job}$", [faults.cut(), faults.too_many(0)])
        assert ended(retraining, job).state == "succeeded"
        assert cloud.faults.left == 0
        assert list(cloud.area(Jobs).found) == [job]

    def test_a_job_is_of_the_version_that_was_asked_for_though_another_is_the_default(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, tmp_path: Path
    ) -> None:
        retraining.publish(stint)
        AzureRetraining(Site()).publish(other(tmp_path, "b"))
        job = retraining.submit(stint, "r1", {}, key="r1.1")
        published = cloud.area(Pipelines).pipelines[cloud.area(Jobs).found[job].entity.pipeline_id]
        assert stint.digest in published.description

    def test_what_is_not_published_or_not_declared_is_refused(
        self, retraining: AzureRetraining, stint: Stint, tmp_path: Path
    ) -> None:
        with pytest.raises(PlatformError, match="isn't published as the project is now"):
            retraining.submit(stint, "r1", {}, key="r1.1")
        retraining.publish(stint)
        with pytest.raises(PlatformError, match="isn't published as the project is now"):
            retraining.submit(other(tmp_path, "b"), "r1", {}, key="r1.1")
        with pytest.raises(PlatformError, match=r"has no parameter alfa; there are: alpha"):
            retraining.submit(stint, "r1", {"alfa": "1"}, key="r1.1")

    def test_its_address_starts_it_for_whoever_has_a_token(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        address = retraining.publish(stint).location
        token = cloud.token()
        sent = {"ExperimentName": "retrain-diabetes", "ParameterAssignments": {"alpha": "0.5"}}
        job = post(address, sent, token)["Id"]
        assert ended(retraining, job).state == "succeeded"
        first, second = told(cloud)
        assert first["given"] == {"alpha": "0.5"}
        # It begins a run, which is the same for all of its steps.
        assert first["run"] == ""
        assert first["begun"] == second["begun"] == f"job-{job}"

    @pytest.mark.parametrize("minutes", [None, -1], ids=["no token", "one that has expired"])
    def test_its_address_starts_nothing_for_others(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint, minutes: float | None
    ) -> None:
        address = retraining.publish(stint).location
        token = cloud.token(minutes) if minutes is not None else ""
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(address, {"ExperimentName": "retrain-diabetes"}, token)
        assert refused.value.code == 401
        assert not cloud.area(Jobs).found

    def test_an_empty_text_that_somebody_posts_is_told_in_azures_words(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        address = retraining.publish(stint).location
        sent = {"ExperimentName": "retrain-diabetes", "ParameterAssignments": {"alpha": ""}}
        seen = ended(retraining, post(address, sent, cloud.token())["Id"])
        assert seen.state == "failed"
        assert "Assignment for parameter given_alpha is not specified" in seen.reason


class TestWatching:
    def test_a_step_that_fails_ends_the_job_with_azures_reason(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        retraining.publish(stint)
        seen = ended(retraining, retraining.submit(stint, "r1", {"fail": "train"}, key="r1.1"))
        assert (seen.state, seen.steps) == ("failed", {"train": "failed", "evaluate": "cancelled"})
        assert seen.reason.startswith("train failed: AzureMLCompute job failed. JobFailed: Submitted script")
        assert "UserError, request " in seen.reason
        assert "\n" not in seen.reason

    def test_a_job_that_is_cancelled_ends_with_its_process(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        retraining.publish(stint)
        job = retraining.submit(stint, "r1", {"hang": "evaluate"}, key="r1.1")
        until(lambda: retraining.progress(job), lambda seen: seen.steps.get("evaluate") == "running")
        execution = cloud.area(Jobs).found[job].execution
        retraining.cancel(job)
        seen = ended(retraining, job)
        assert (seen.state, seen.steps) == ("cancelled", {"train": "succeeded", "evaluate": "cancelled"})
        assert execution is not None
        assert execution.process is not None
        assert execution.process.poll() is not None
        retraining.cancel(job)
        assert retraining.progress(job) == seen

    def test_a_job_waits_for_a_node_and_says_so(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        cloud.area(Computes).nodes = False
        retraining.publish(stint)
        job = retraining.submit(stint, "r1", {}, key="r1.1")
        seen = until(lambda: retraining.progress(job), lambda seen: bool(seen.reason))
        assert (seen.state, seen.steps) == ("queued", dict.fromkeys(STEPS, "queued"))
        assert seen.reason.startswith("no node of cpu-cluster is free")
        cloud.area(Computes).nodes = True
        assert ended(retraining, job).state == "succeeded"

    def test_a_job_that_never_gets_a_node_is_cancelled(
        self, cloud: Cloud, workspace: Any, stint: Stint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLOPS_AZUREML_TIMEOUTS_NODES", "0.3")
        retraining = AzureRetraining(Site())
        cloud.area(Computes).nodes = False
        retraining.publish(stint)
        seen = ended(retraining, retraining.submit(stint, "r1", {}, key="r1.1"))
        assert (seen.state, seen.steps) == ("cancelled", dict.fromkeys(STEPS, "cancelled"))
        assert "no node of cpu-cluster is free" in seen.reason
        assert "timeouts.nodes in parameters/azureml.yml" in seen.reason

    def test_a_token_that_expires_meanwhile_is_renewed(
        self, cloud: Cloud, retraining: AzureRetraining, stint: Stint
    ) -> None:
        retraining.publish(stint)
        job = retraining.submit(stint, "r1", {}, key="r1.1")
        expired = faults.refused(401, "UserError", "Received a token that has expired.")
        cloud.area(Jobs).between.append(
            lambda step: cloud.faults.add("GET", f"/PipelineRuns/{job}$", [expired] * (step == "evaluate"))
        )
        assert ended(retraining, job).state == "succeeded"
        assert cloud.faults.happened == 1

    def test_a_job_that_nobody_knows_is_refused(self, retraining: AzureRetraining, workspace: Any) -> None:
        with pytest.raises(PlatformError, match="There is no job 123 in the workspace mlops"):
            retraining.progress("123")
        with pytest.raises(PlatformError, match="There is no job 123 in the workspace mlops"):
            retraining.cancel("123")


@pytest.mark.parametrize("minutes", [60, 1], ids=["a token in time", "one that is about to expire"])
def test_the_process_of_a_step_keeps_and_fetches_run_folders_as_the_run_that_it_is(
    cloud: Cloud, retraining: AzureRetraining, tmp_path: Path, minutes: float
) -> None:
    cloud.area(Jobs).minutes = minutes
    stint = projects.make(tmp_path / "whole", whole=True)
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1" / "run.json").write_text("{}")
    retraining.keep("r1", tmp_path / "r1")
    retraining.publish(stint)
    seen = ended(retraining, retraining.submit(stint, "r1", {"keep": "r1"}, key="r1.1"))
    assert seen.state == "succeeded", seen.reason
    assert retraining.fetch("r1", tmp_path / "back")
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"run.json", "train"}
