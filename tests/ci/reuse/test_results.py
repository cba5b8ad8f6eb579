"""What a step has made is told from what was there before, and copied whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.reuse import results
from utils import files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run."""
    folder = tmp_path / "run"
    for name in ("run.json", "index.html", "kernels.log", "data/rows.csv", "notebooks/setup.ipynb"):
        files.write_text(folder / name, name)
    return folder


def make(folder: Path, *names: str) -> dict[str, str]:
    for name in names:
        files.write_text(folder / name, f"made anew: {name}")
    return {name: files.sha256(folder / name) for name in names}


TRAIN = ("notebooks/train.ipynb", "model/weights.bin", "model/plots/fit.png")


def test_what_is_new_or_changed_was_made_and_what_belongs_to_the_run_was_not(run: Path) -> None:
    before = results.scan(run)
    expected = make(run, *TRAIN, "data/rows.csv")
    make(run, "run.json", "index.html", "summary.md", "kernels.log", "approval.json", "notebooks/train.html")
    assert results.made(run, "train", before, others=["data/rows.csv"]) == expected


def test_what_an_earlier_attempt_left_counts_unless_it_is_another_steps(run: Path) -> None:
    left = make(run, "model/left.bin")
    before = results.scan(run)
    expected = make(run, *TRAIN)
    assert results.made(run, "train", before, others=["data/rows.csv"]) == expected | left
    assert results.made(run, "train", before, others=before) == expected


def test_a_result_is_copied_with_all_its_folders(run: Path, tmp_path: Path) -> None:
    expected = make(run, *TRAIN)
    results.copy(run, tmp_path / "other", "train", expected)
    for name in TRAIN:
        assert (tmp_path / "other" / name).read_bytes() == (run / name).read_bytes()
    assert results.scan(tmp_path / "other").keys() == expected.keys()


def test_of_a_damaged_result_nothing_is_copied_and_each_damage_is_named(run: Path, tmp_path: Path) -> None:
    expected = make(run, *TRAIN)
    (run / "model/weights.bin").write_bytes(b"changed")
    (run / "model/plots/fit.png").unlink()
    with pytest.raises(results.DamageError, match=r"model/weights\.bin, model/plots/fit\.png"):
        results.copy(run, tmp_path / "other", "train", expected)
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_a_result_without_its_notebook_is_damaged(run: Path, tmp_path: Path) -> None:
    with pytest.raises(results.DamageError, match=r"notebooks/train\.ipynb"):
        results.copy(run, tmp_path / "other", "train", make(run, "model/weights.bin"))


@pytest.mark.parametrize("name", ["../run.json", "/etc/hostname", "model/../../x", "run.json", "./x", ""])
def test_a_path_that_leads_out_of_the_result_is_damage(run: Path, tmp_path: Path, name: str) -> None:
    expected = make(run, *TRAIN) | {name: files.sha256(run / "run.json")}
    with pytest.raises(results.DamageError):
        results.copy(run, tmp_path / "other", "train", expected)
    assert not (tmp_path / "other" / "notebooks").exists()


def test_a_copy_that_is_interrupted_while_it_is_put_in_place_is_taken_back(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make(run, *TRAIN)
    real = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if target.name == "fit.png":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.copy(run, tmp_path / "other", "train", expected)
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_what_a_killed_process_left_aside_is_neither_found_nor_in_the_way(run: Path, tmp_path: Path) -> None:
    expected = make(run, *TRAIN)
    make(tmp_path / "other", ".reuse-train/0", ".reuse-train/1")
    assert results.scan(tmp_path / "other") == {}
    results.copy(run, tmp_path / "other", "train", expected)
    assert not (tmp_path / "other" / ".reuse-train").exists()
