"""Approvals: a person's decision on one package, and on no other."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from utils import approvals, project
from utils.approvals import ApprovalError

ONE = "1" * 64
OTHER = "2" * 64


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "20261123-101502-3fa2"
    folder.mkdir(parents=True)
    return folder


def test_an_approval_names_who_when_and_what(run_folder: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    approvals.write(run_folder, "approved", by="  Ada Lovelace ", digest=ONE, comment="better by far")
    found = approvals.read(run_folder)
    assert found is not None
    assert (found.decision, found.by, found.digest, found.comment) == (
        "approved",
        "Ada Lovelace",
        ONE,
        "better by far",
    )
    assert before <= found.at <= datetime.now(UTC)
    assert approvals.demand(run_folder, ONE) == found


def test_without_an_approval_nothing_may_pass_and_the_command_is_told(run_folder: Path) -> None:
    assert approvals.read(run_folder) is None
    with pytest.raises(ApprovalError, match="python -m ci approve 20261123-101502-3fa2"):
        approvals.demand(run_folder, ONE)


def test_an_approval_holds_for_its_own_package_alone(run_folder: Path) -> None:
    approvals.write(run_folder, "approved", by="Ada", digest=ONE)
    with pytest.raises(ApprovalError, match=f"Ada approved the package {ONE}, but this is {OTHER}"):
        approvals.demand(run_folder, OTHER)


def test_a_rejected_package_does_not_pass(run_folder: Path) -> None:
    approvals.write(run_folder, "rejected", by="Ada", digest=ONE, comment="worse for the young")
    with pytest.raises(ApprovalError, match="rejected by Ada: worse for the young"):
        approvals.demand(run_folder, ONE)


@pytest.mark.parametrize("by", ["", "   ", "\t\n"])
def test_nobody_can_not_approve(run_folder: Path, by: str) -> None:
    with pytest.raises(ApprovalError, match="needs a person"):
        approvals.write(run_folder, "approved", by=by, digest=ONE)
    assert list(run_folder.iterdir()) == []


@pytest.mark.parametrize("digest", ["", "abc", "G" * 64, ONE + "\n", "1" * 65])
def test_only_a_whole_digest_can_be_approved(run_folder: Path, digest: str) -> None:
    with pytest.raises(ApprovalError, match="digest"):
        approvals.write(run_folder, "approved", by="Ada", digest=digest)
    assert list(run_folder.iterdir()) == []


def test_approving_twice_keeps_the_first_approval(run_folder: Path) -> None:
    first = approvals.write(run_folder, "approved", by="Ada", digest=ONE)
    assert approvals.write(run_folder, "approved", by="Grace", digest=ONE) == first
    assert approvals.read(run_folder) == first


@pytest.mark.parametrize(("first", "second"), [("approved", "rejected"), ("rejected", "approved")])
def test_a_decision_is_not_turned_round(
    run_folder: Path, first: approvals.Decision, second: approvals.Decision
) -> None:
    made = approvals.write(run_folder, first, by="Ada", digest=ONE)
    with pytest.raises(ApprovalError, match=f"was {first} by Ada"):
        approvals.write(run_folder, second, by="Grace", digest=ONE)
    assert approvals.read(run_folder) == made


def test_a_package_that_was_built_again_can_be_decided_on_anew(run_folder: Path) -> None:
    approvals.write(run_folder, "rejected", by="Ada", digest=ONE)
    approvals.write(run_folder, "approved", by="Ada", digest=OTHER)
    assert approvals.demand(run_folder, OTHER).decision == "approved"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"decision": "approved"}',
        '{"decision": "yes", "by": "Ada", "at": "2026-11-23T10:00:00Z", "digest": "' + ONE + '"}',
        '{"decision": "approved", "by": " ", "at": "2026-11-23T10:00:00Z", "digest": "' + ONE + '"}',
        '{"decision": "approved", "by": "Ada", "at": "2026-11-23T10:00:00", "digest": "' + ONE + '"}',
        '{"decision": "approved", "by": "Ada", "at": "2026-11-23T10:00:00Z", "digest": "'
        + ONE
        + '", "for": 1}',
    ],
)
def test_a_damaged_or_forged_record_is_no_approval(run_folder: Path, content: str) -> None:
    (run_folder / "approval.json").write_text(content)
    with pytest.raises(ApprovalError, match="can't be read"):
        approvals.demand(run_folder, ONE)
    with pytest.raises(ApprovalError, match="can't be read"):
        approvals.write(run_folder, "approved", by="Ada", digest=ONE)


IMAGE = "127.0.0.1:5000/diabetes@sha256:" + "a" * 64
OTHER_IMAGE = "127.0.0.1:5000/diabetes@sha256:" + "b" * 64


def test_an_approval_of_an_image_holds_for_that_image_alone(run_folder: Path) -> None:
    made = approvals.write(run_folder, "approved", by="Ada", digest=ONE, image=IMAGE)
    assert approvals.read(run_folder) == made
    assert approvals.demand(run_folder, ONE, IMAGE) == made
    with pytest.raises(ApprovalError, match=f"Ada approved {IMAGE}, but this is {OTHER_IMAGE}: .*approve"):
        approvals.demand(run_folder, ONE, OTHER_IMAGE)
    with pytest.raises(ApprovalError, match="approved the package"):
        approvals.demand(run_folder, OTHER, IMAGE)


def test_an_image_is_the_same_in_another_registry(run_folder: Path) -> None:
    made = approvals.write(run_folder, "approved", by="Ada", digest=ONE, image=IMAGE)
    assert approvals.demand(run_folder, ONE, IMAGE.replace("127.0.0.1:5000", "registry.example")) == made


def test_the_package_of_an_approved_image_may_be_deployed_without_it(run_folder: Path) -> None:
    made = approvals.write(run_folder, "approved", by="Ada", digest=ONE, image=IMAGE)
    assert approvals.demand(run_folder, ONE) == made


def test_an_image_that_nobody_looked_at_is_refused(run_folder: Path) -> None:
    approvals.write(run_folder, "approved", by="Ada", digest=ONE)
    with pytest.raises(ApprovalError, match="Ada approved no image"):
        approvals.demand(run_folder, ONE, IMAGE)
    made = approvals.write(run_folder, "approved", by="Grace", digest=ONE, image=IMAGE)
    assert made.by == "Grace"
    assert approvals.demand(run_folder, ONE, IMAGE) == made


def test_approving_an_image_twice_keeps_the_first_approval(run_folder: Path) -> None:
    first = approvals.write(run_folder, "approved", by="Ada", digest=ONE, image=IMAGE)
    assert approvals.write(run_folder, "approved", by="Grace", digest=ONE, image=IMAGE) == first
    assert approvals.write(run_folder, "approved", by="Grace", digest=ONE) == first


def test_an_image_that_was_built_again_can_be_decided_on_anew(run_folder: Path) -> None:
    approvals.write(run_folder, "rejected", by="Ada", digest=ONE, image=IMAGE)
    made = approvals.write(run_folder, "approved", by="Ada", digest=ONE, image=OTHER_IMAGE)
    assert approvals.demand(run_folder, ONE, OTHER_IMAGE) == made


@pytest.mark.parametrize(("first", "second"), [(IMAGE, ""), ("", IMAGE), (IMAGE, IMAGE)])
def test_a_decision_is_not_turned_round_by_naming_or_leaving_out_the_image(
    run_folder: Path, first: str, second: str
) -> None:
    approvals.write(run_folder, "rejected", by="Ada", digest=ONE, image=first)
    with pytest.raises(ApprovalError, match="was rejected by Ada"):
        approvals.write(run_folder, "approved", by="Grace", digest=ONE, image=second)


@pytest.mark.parametrize(
    "image", ["diabetes:latest", "diabetes@sha256:abc", "@sha256:" + "a" * 64, IMAGE + "\n"]
)
def test_only_an_image_by_its_digest_can_be_approved(run_folder: Path, image: str) -> None:
    with pytest.raises(ApprovalError, match="image"):
        approvals.write(run_folder, "approved", by="Ada", digest=ONE, image=image)


def test_a_record_from_before_there_were_images_still_reads(run_folder: Path) -> None:
    (run_folder / "approval.json").write_text(
        '{"decision": "approved", "by": "Ada", "at": "2026-11-23T10:00:00Z", "digest": "'
        + ONE
        + '", "comment": ""}'
    )
    assert approvals.demand(run_folder, ONE).image == ""


def test_approvals_need_none_of_the_scientific_packages() -> None:
    code = "import sys; import utils.approvals; print([m for m in ('numpy', 'mlflow') if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root(), capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
