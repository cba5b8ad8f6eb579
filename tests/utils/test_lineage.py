"""A model's tags lead back to the run, the code, the data and the packages that made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils import data, lineage, project
from utils.splits import SplitPlan


@pytest.fixture
def snapshot(tmp_path: Path) -> data.Snapshot:
    frame = data.load("sklearn:diabetes", "target", [])
    return data.take_snapshot(
        frame, source="sklearn:diabetes", target="target", plan=SplitPlan(), run_folder=tmp_path / "the-run"
    )


def test_the_lineage_names_run_code_data_and_packages(
    snapshot: data.Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "revision", lambda: project.Revision("c" * 40, dirty=False))
    assert lineage.of(tmp_path / "the-run", snapshot) == {
        "run": "the-run",
        "commit": "c" * 40,
        "dirty": "no",
        "data": "sklearn:diabetes",
        "fingerprint": snapshot.fingerprint,
        "lock": project.lock_digest(),
    }


def test_changed_code_is_told_from_the_commit_it_was_changed_from(
    snapshot: data.Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "revision", lambda: project.Revision("c" * 40, dirty=True))
    assert lineage.of(tmp_path / "the-run", snapshot)["dirty"] == "yes"
