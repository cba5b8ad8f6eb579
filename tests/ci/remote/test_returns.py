"""What a job has made is taken back whole, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from ci import runs
from ci.remote import returns
from ci.remote.job import Job
from ci.remote.returns import ReturnError
from ci.runs import Failure, Run, Step
from utils import files

if TYPE_CHECKING:
    from utils.platforms.protocol import Retraining

NAMES = ("setup", "train", "evaluate", "release")


class Kept:
    """A run folder that the platform keeps."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run.model_copy(deep=True), folder
        self.run.job = None

    def file(self, name: str, content: str) -> str:
        """Write a file of the folder; return its digest."""
        return files.sha256(files.write_text(self.folder / name, content))

    def step(self, which: str, **record: Any) -> None:
        """Change the record of a step."""
        step = self.run.step(which)
        for attribute, value in record.items():
            setattr(step, attribute, value)

    def fetch(self, run: str, destination: Path) -> bool:
        """As `Retraining.fetch`."""
        if not self.folder.exists():
            return False
        shutil.copytree(self.folder, destination)
        files.write_text(destination / "run.json", self.run.model_dump_json())
        return True


@pytest.fixture
def run(home: Path) -> Run:
    """A run whose train and evaluate have been handed over."""
    steps = [Step(name=name, notebook=name, stage="train") for name in NAMES]
    made = Run(
        id="r1",
        scenario="s",
        platform="p",
        created=runs.now(),
        commit="c",
        dirty=False,
        lock_digest="l",
        steps=steps,
    )
    made.job = Job(steps=["train", "evaluate"], kept=True, id="j")
    setup = made.step("setup")
    setup.state, setup.executed = "succeeded", "notebooks/setup.ipynb"
    for name in ("notebooks/setup.ipynb", "notebooks/setup.html", "approval.json", "data/rows", "index.html"):
        files.write_text(made.folder / name, "mine")
    setup.made = {name: files.sha256(made.folder / name) for name in ("notebooks/setup.ipynb", "data/rows")}
    made.save()
    return made


@pytest.fixture
def kept(run: Run, tmp_path: Path) -> Kept:
    """What the platform keeps of it: train has succeeded, evaluate has failed."""
    made = Kept(run, tmp_path / "kept")
    for name in ("notebooks/setup.ipynb", "notebooks/setup.html", "approval.json", "data/rows", "index.html"):
        made.file(name, "theirs")
    digests = {name: made.file(name, "new") for name in ("model/model.txt", "notebooks/train.ipynb")}
    made.step("train", state="succeeded", made=digests, executed="notebooks/train.ipynb", scraps={"score": 1})
    made.step("evaluate", state="failed", failure=Failure(name="E", message="m"), reason="m")
    made.step("release", state="succeeded")
    return made


def take(run: Run, kept: Kept, *, final: bool = True) -> list[str]:
    """Take back what is kept; return the names of the steps."""
    return [step.name for step in returns.take(run, cast("Retraining", kept), final=final)]


def test_the_jobs_steps_are_taken_over_with_their_files_and_no_others(run: Run, kept: Kept) -> None:
    assert take(run, kept) == ["train", "evaluate"]
    assert run.step("train").scraps == {"score": 1}
    assert run.step("evaluate").failure is not None
    assert run.step("release").state == "pending"
    assert (run.folder / "model" / "model.txt").read_text() == "new"
    assert take(run, kept) == ["evaluate"]


def test_what_this_run_has_of_its_own_stays(run: Run, kept: Kept) -> None:
    take(run, kept)
    for name in ("notebooks/setup.ipynb", "notebooks/setup.html", "approval.json", "data/rows", "index.html"):
        assert (run.folder / name).read_text() == "mine", name
    assert not (run.folder / ".fetched").exists()
    assert runs.load("r1").step("train").state == "pending", "the runner saves it"


def test_as_long_as_the_job_goes_on_a_failed_step_may_be_tried_again(run: Run, kept: Kept) -> None:
    assert take(run, kept, final=False) == ["train"]
    assert run.step("evaluate").state == "pending"


def test_where_nothing_is_kept_nothing_is_taken(run: Run, kept: Kept) -> None:
    shutil.rmtree(kept.folder)
    assert take(run, kept) == []


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("train", {"made": {"model/model.txt": "0" * 64}}),
        ("train", {"made": {"model/gone.txt": "0" * 64}}),
        ("train", {"made": {"../../outside": "0" * 64}}),
        ("train", {"made": {"approval.json": "0" * 64}}),
        ("train", {"executed": "../train.ipynb"}),
        ("train", {"html": "https://example.org"}),
        ("evaluate", {"name": "judge"}),
        ("evaluate", {"notebook": "other"}),
        ("setup", {"made": {"data/rows": "0" * 64}}),
        ("setup", {"scraps": {"rows": 4}}),
    ],
)
def test_what_is_not_whole_or_of_another_pipeline_is_refused_and_nothing_is_taken(
    run: Run, kept: Kept, name: str, record: dict[str, Any]
) -> None:
    before = run.model_copy(deep=True)
    kept.step(name, **record)
    with pytest.raises(ReturnError, match="what p keeps of it"):
        take(run, kept)
    assert run == before
    assert not (run.folder / "model").exists()
    assert not (run.folder / ".fetched").exists()


def test_a_record_of_another_run_or_none_is_refused(run: Run, kept: Kept) -> None:
    kept.run.id = "r2"
    with pytest.raises(ReturnError, match="is of run r2"):
        take(run, kept)
    kept.run = cast("Run", Failure(name="no", message="record"))
    with pytest.raises(ReturnError, match="has no readable record"):
        take(run, kept)


@pytest.fixture
def elsewhere(run: Run, kept: Kept) -> Kept:
    """A run that was begun on the compute, by a schedule: train has succeeded there, and it isn't here."""
    for name in ("evaluate", "release"):
        kept.step(name, state="pending", failure=None)
    kept.step("setup", made={name: kept.file(name, "new") for name in ("notebooks/setup.ipynb", "data/rows")})
    shutil.rmtree(run.folder)
    return kept


def _adopt(kept: Kept) -> Run:
    return returns.adopt("r1", "p", cast("Retraining", kept), ["setup", "train", "evaluate"])


def test_a_run_that_was_begun_on_the_compute_is_taken_over_as_it_is(elsewhere: Kept) -> None:
    found = _adopt(elsewhere)
    assert [step.state for step in found.steps] == ["succeeded", "succeeded", "pending", "pending"]
    assert (found.folder / "data" / "rows").read_text() == "new"
    assert runs.ids() == ["r1"]


def test_no_approval_and_no_release_is_taken_over(elsewhere: Kept) -> None:
    elsewhere.step("release", state="succeeded")
    elsewhere.run.approval = {"by": "Mallory"}
    found = _adopt(elsewhere)
    assert found.approval is None
    assert not (found.folder / "approval.json").exists()
    assert found.step("release").state == "pending"


def test_a_run_whose_files_were_changed_is_not_taken_over(elsewhere: Kept) -> None:
    elsewhere.file("data/rows", "changed")
    with pytest.raises(runs.RunError, match=r"can't be taken from p: .*isn't as setup made it: data/rows"):
        _adopt(elsewhere)
    assert runs.ids() == []


def test_a_run_that_nobody_keeps_is_told(elsewhere: Kept) -> None:
    shutil.rmtree(elsewhere.folder)
    with pytest.raises(runs.RunError, match=r"no run 'r1' here, and p keeps none"):
        _adopt(elsewhere)
