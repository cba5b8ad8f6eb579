"""From a judged challenger to the champion in production: refused unless all that allows it holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from utils import approvals, data, evaluation, files, models, packaging, releases, training
from utils.approvals import ApprovalError
from utils.decisions import Policy
from utils.evaluation import EvaluationError
from utils.models import ModelError
from utils.releases import ReleaseError
from utils.splits import SplitPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from utils.packaging import Package
    from utils.platforms.protocol import Platform

RMSE = "root_mean_squared_error"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a snapshot, a trained challenger, and its evaluation, which says promote."""
    folder = tmp_path_factory.mktemp("judged") / "the-run"
    frame = data.load("sklearn:diabetes", "target", [])
    rows = data.take_snapshot(
        frame, source="sklearn:diabetes", target="target", plan=SplitPlan(), run_folder=folder
    )
    X, y = rows.training
    model = models.fit(models.build("sklearn.linear_model.Ridge", {"alpha": 0.1}, X), X, y)
    learned = rows.row_hashes[~rows.held_out_rows]
    schema = models.schema(X, y, model)
    training.save(training.Trained(model, schema, rows.record["split"], learned), folder / "model")
    judge(folder)
    return folder


def judge(folder: Path, least: float = 0.0) -> None:
    """Evaluate the challenger of a run folder against the baseline; `least` is asked of it."""
    rows = data.open_snapshot(folder)
    found = evaluation.evaluate(
        training.load(folder / "model"),
        None,
        held_out=rows.held_out,
        row_hashes=rows.row_hashes[rows.held_out_rows],
        training=rows.training,
        split=rows.record["split"],
        policy=Policy(metric=RMSE, minimum_improvement=least),
    )
    found.save(folder / "evaluation")


@pytest.fixture
def folder(judged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(judged, tmp_path / "the-run"))


def record(platform: Platform, folder: Path) -> str:
    """Put the model of a run folder into the run history."""
    return platform.history.record("demo", parameters={}, metrics={}, tags={}, files=folder / "model")


# ------------------------------------------------------------------ challenger and champion


def test_the_challenger_is_what_the_run_history_has(platform: Platform, folder: Path) -> None:
    found = releases.challenger(platform, record(platform, folder), folder)
    assert found.digest == files.sha256(folder / "model" / "model.skops")


def test_there_is_no_champion_before_the_first_promotion(platform: Platform, folder: Path) -> None:
    releases.register(platform, "demo", folder, record(platform, folder), "promote", {})
    assert releases.champion(platform, "demo", folder) is None


def test_the_champion_is_the_promoted_version_and_is_read_when_it_is_asked_for(
    platform: Platform, folder: Path
) -> None:
    version = releases.register(platform, "demo", folder, record(platform, folder), "promote", {})
    platform.registry.promote("demo", version.version)
    found = releases.champion(platform, "demo", folder)
    assert found is not None
    assert found.version == version.version
    assert not (folder / "evaluation" / "champion").exists()
    assert found.read().digest == files.sha256(folder / "model" / "model.skops")


def test_a_champion_that_cannot_be_read_is_no_absent_champion(platform: Platform, folder: Path) -> None:
    (folder / "model" / "model.skops").write_bytes(b"damaged")
    version = platform.registry.register("demo", record(platform, folder), tags={}, key="k")
    platform.registry.promote("demo", version.version)
    found = releases.champion(platform, "demo", folder)
    assert found is not None
    with pytest.raises(ModelError):
        found.read()


# ------------------------------------------------------------------ register


def test_a_version_has_its_lineage_and_what_it_was_judged_by(platform: Platform, folder: Path) -> None:
    run = record(platform, folder)
    version = releases.register(platform, "demo", folder, run, "promote", {"commit": "abc"})
    evidence = files.read_json(folder / "evaluation" / "evaluation.json")
    assert version.tags["commit"] == "abc"
    assert version.tags["training"] == run
    assert version.tags["champion"] == "none"
    assert float(version.tags[RMSE]) == pytest.approx(evidence["challenger"][RMSE], rel=1e-5)


def test_registering_again_gives_the_same_version(platform: Platform, folder: Path) -> None:
    run = record(platform, folder)
    versions = {releases.register(platform, "demo", folder, run, "promote", {}).version for _ in range(2)}
    assert versions == {"1"}


@pytest.mark.parametrize("outcome", ["not_better", "blocked", "Promote", "promote ", ""])
def test_another_outcome_than_the_evidence_says_registers_nothing(
    platform: Platform, folder: Path, outcome: str
) -> None:
    with pytest.raises(EvaluationError, match="only what all of them promote is registered"):
        releases.register(platform, "demo", folder, record(platform, folder), outcome, {})
    assert platform.registry.newest("demo") is None


def test_a_forged_promote_registers_nothing(platform: Platform, folder: Path) -> None:
    judge(folder, least=1000.0)
    with pytest.raises(EvaluationError, match="its evidence 'not_better'"):
        releases.register(platform, "demo", folder, record(platform, folder), "promote", {})
    assert platform.registry.newest("demo") is None


def test_a_promote_forged_in_the_record_as_well_registers_nothing(platform: Platform, folder: Path) -> None:
    judge(folder, least=1000.0)
    path = folder / "evaluation" / "evaluation.json"
    files.write_json(path, {**files.read_json(path), "outcome": "promote"})
    with pytest.raises(EvaluationError, match="its evidence 'not_better'"):
        releases.register(platform, "demo", folder, record(platform, folder), "promote", {})
    assert platform.registry.newest("demo") is None


def test_another_model_file_than_the_evaluated_one_is_not_registered(
    platform: Platform, folder: Path
) -> None:
    X, y = data.open_snapshot(folder).training
    other = models.fit(models.build("sklearn.linear_model.Ridge", {"alpha": 9.0}, X), X, y)
    models.save(other, folder / "model" / "model.skops")
    with pytest.raises(EvaluationError, match="another model file"):
        releases.register(platform, "demo", folder, record(platform, folder), "promote", {})
    assert platform.registry.newest("demo") is None


def test_without_a_recorded_evaluation_nothing_is_registered(platform: Platform, folder: Path) -> None:
    shutil.rmtree(folder / "evaluation")
    with pytest.raises(EvaluationError, match="evaluate again"):
        releases.register(platform, "demo", folder, record(platform, folder), "promote", {})
    assert platform.registry.newest("demo") is None


# ------------------------------------------------------------------ what deploying demands


@pytest.fixture
def compared(package: Path, rewritten: Callable[..., Package]) -> Callable[[str], Package]:
    """A function that returns a package whose model was compared with that champion."""

    def rewrite(champion: str) -> Package:
        lineage = files.read_json(package / packaging.MANIFEST)["lineage"]
        return rewritten(package, lineage={**lineage, "champion": champion})

    return rewrite


def demand(platform: Platform, folder: Path, package: Package, environment: str, expected: str = "") -> None:
    releases.demand(platform, "demo", folder, package, environment=environment, expected=expected)


def promote(platform: Platform, folder: Path, times: int = 1) -> None:
    """Make a version the champion, and another after it as often as asked."""
    for number in range(times):
        version = platform.registry.register("demo", record(platform, folder), tags={}, key=f"k{number}")
        platform.registry.promote("demo", version.version)


@pytest.mark.parametrize("environment", ["", "Production", "test"])
def test_an_unknown_environment_is_refused(
    platform: Platform, folder: Path, built: Package, environment: str
) -> None:
    with pytest.raises(ReleaseError, match="choose from: staging, production"):
        demand(platform, folder, built, environment)


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_another_package_than_was_built_is_refused(
    platform: Platform, folder: Path, built: Package, environment: str
) -> None:
    approvals.write(folder, "approved", by="Ada", digest=built.digest)
    with pytest.raises(ReleaseError, match=f"has the digest {built.digest}, but {'0' * 64} was built"):
        demand(platform, folder, built, environment, expected="0" * 64)


def test_staging_needs_nobodys_approval(platform: Platform, folder: Path, built: Package) -> None:
    demand(platform, folder, built, "staging", expected=built.digest)


def test_production_needs_an_approval(
    platform: Platform, folder: Path, compared: Callable[[str], Package]
) -> None:
    with pytest.raises(ApprovalError, match="Nobody has approved"):
        demand(platform, folder, compared("none"), "production")


def test_a_rejected_package_is_refused(
    platform: Platform, folder: Path, compared: Callable[[str], Package]
) -> None:
    package = compared("none")
    approvals.write(folder, "rejected", by="Ada", digest=package.digest, comment="too slow")
    with pytest.raises(ApprovalError, match="rejected by Ada: too slow"):
        demand(platform, folder, package, "production")


def test_an_approval_holds_for_no_other_package(
    platform: Platform, folder: Path, compared: Callable[[str], Package]
) -> None:
    approvals.write(folder, "approved", by="Ada", digest="0" * 64)
    with pytest.raises(ApprovalError, match="look at it"):
        demand(platform, folder, compared("none"), "production")


@pytest.mark.parametrize(("champion", "promotions"), [("none", 0), ("1", 1), ("2", 2)])
def test_an_approved_package_that_met_todays_champion_is_admitted(
    platform: Platform, folder: Path, compared: Callable[[str], Package], champion: str, promotions: int
) -> None:
    promote(platform, folder, promotions)
    package = compared(champion)
    approvals.write(folder, "approved", by="Ada", digest=package.digest)
    demand(platform, folder, package, "production", expected=package.digest)


@pytest.mark.parametrize(("champion", "promotions"), [("none", 1), ("1", 2), ("1", 0), ("unknown", 1)])
def test_a_champion_that_has_changed_since_the_comparison_refuses(
    platform: Platform, folder: Path, compared: Callable[[str], Package], champion: str, promotions: int
) -> None:
    promote(platform, folder, promotions)
    package = compared(champion)
    approvals.write(folder, "approved", by="Ada", digest=package.digest)
    now = str(promotions) if promotions else "none"
    with pytest.raises(ReleaseError, match=f"champion {champion}, but the champion is {now} by now"):
        demand(platform, folder, package, "production")


def test_a_release_that_broke_off_after_the_promotion_can_be_repeated(
    platform: Platform, folder: Path, compared: Callable[[str], Package]
) -> None:
    promote(platform, folder, 3)
    package = compared("2")
    assert package.manifest.version == "3"
    approvals.write(folder, "approved", by="Ada", digest=package.digest)
    demand(platform, folder, package, "production")


# ------------------------------------------------------------------ consequences of a test


@pytest.fixture
def registered(platform: Platform, folder: Path) -> Platform:
    """The platform with versions 1 to 4; the packages are versions 3 and 4."""
    run = record(platform, folder)
    for number in range(4):
        platform.registry.register("demo", run, tags={}, key=f"k{number}")
    return platform


def champion(platform: Platform) -> str:
    found = platform.registry.champion("demo")
    return found.version if found else ""


@pytest.mark.parametrize("passed", [True, False])
def test_staging_is_taken_down_whatever_the_test_said(
    registered: Platform, built: Package, passed: bool
) -> None:
    registered.endpoints.deploy(built.folder, "demo", "staging")
    assert releases.conclude(registered, "demo", "staging", "3", passed=passed) is False
    assert registered.endpoints.find("demo", "staging") is None
    assert champion(registered) == ""


def test_a_production_service_that_passed_is_confirmed_and_its_model_the_champion(
    registered: Platform, built: Package
) -> None:
    registered.endpoints.deploy(built.folder, "demo", "production")
    assert releases.conclude(registered, "demo", "production", "3", passed=True) is False
    live = registered.endpoints.find("demo", "production")
    assert live is not None
    assert live.confirmed
    assert champion(registered) == "3"
    # Repeated, as after a crash in between, it changes nothing.
    assert releases.conclude(registered, "demo", "production", "3", passed=True) is False
    assert champion(registered) == "3"


def test_a_production_service_that_failed_gives_way_to_the_one_before(
    registered: Platform, built: Package, challenger: Package
) -> None:
    registered.endpoints.deploy(built.folder, "demo", "production")
    releases.conclude(registered, "demo", "production", "3", passed=True)
    registered.endpoints.deploy(challenger.folder, "demo", "production")
    assert releases.conclude(registered, "demo", "production", "4", passed=False) is True
    live = registered.endpoints.find("demo", "production")
    assert live is not None
    assert live.digest == built.digest
    assert champion(registered) == "3"


def test_a_first_service_that_failed_leaves_nothing_live_and_no_champion(
    registered: Platform, built: Package
) -> None:
    registered.endpoints.deploy(built.folder, "demo", "production")
    assert releases.conclude(registered, "demo", "production", "3", passed=False) is False
    assert registered.endpoints.find("demo", "production") is None
    assert champion(registered) == ""
