"""A notebook opened by itself has what it builds on made first; in a pipeline's run nothing is ever made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from utils import platforms, project, upstream
from utils.upstream import UpstreamError

# Each of these notebooks leaves its record, with the parameters that it was given.
RECORD = """
import json, os, pathlib
folder = pathlib.Path(os.environ["MLOPS_HOME"]) / (run_dir or f"runs/interactive-{scenario}")
record = folder / %r
record.parent.mkdir(parents=True, exist_ok=True)
record.write_text(json.dumps({"scenario": scenario, "alpha": alpha}))
"""
PARAMETERS = """
scenario: str = ""  # its name
run_dir: str = ""  # the run folder
alpha: float = 0.5  # a number
"""


def notebook(path: Path, *cells: str) -> None:
    document = nbformat.v4.new_notebook()
    document.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    document.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(document, path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose notebooks do nothing but leave their records."""
    folder = tmp_path / "project"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "parameters").mkdir()
    (folder / "parameters" / "demo.yml").write_text("alpha: 1.0e-05\nmetric: r2\n")
    (folder / "parameters" / "local.yml").write_text("# nothing\n")
    for name, record in upstream.RECORDS.items():
        notebook(folder / "notebooks" / f"{name}.ipynb", PARAMETERS, RECORD % record)
    monkeypatch.setattr(project, "root", lambda: folder)
    return folder


@pytest.fixture
def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the notebooks that were run, where only that they were is of interest."""
    names: list[str] = []
    monkeypatch.setattr(upstream, "_make", lambda name, folder, given: names.append(name))
    return names


def leave(folder: Path, *notebooks: str) -> None:
    for name in notebooks:
        record = folder / upstream.RECORDS[name]
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("{}")


def ensure(name: str, run_dir: str = "", **others: Any) -> Path:
    return upstream.ensure(name, run_dir, scenario="demo", platform="local", **others)


# ------------------------------------------------------------------ a person's own run folder


def test_what_is_missing_is_made_with_the_scenarios_parameters(
    root: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ensure("02_train")
    assert folder == home / "runs" / "interactive-demo"
    # Also a number that JSON and YAML write differently.
    assert json.loads((folder / "data" / "snapshot.json").read_text()) == {
        "scenario": "demo",
        "alpha": 1e-05,
    }
    assert (folder / "notebooks" / "01_setup.ipynb").exists()
    assert capsys.readouterr().out == "Running 01_setup first: interactive-demo has no results of it yet.\n"


def test_all_notebooks_before_it_are_run_in_their_order(made: list[str]) -> None:
    ensure("04_register")
    assert made == ["01_setup", "02_train", "03_evaluate"]


def test_what_is_there_already_is_not_made_again(made: list[str], home: Path) -> None:
    leave(home / "runs" / "mine", "01_setup", "03_evaluate")
    assert ensure("04_register", "runs/mine") == home / "runs" / "mine"
    assert made == ["02_train"]


def test_the_first_notebook_builds_on_none(made: list[str]) -> None:
    ensure("01_setup")
    assert made == []


def test_each_scenario_has_a_folder_of_its_own(made: list[str]) -> None:
    folders = {upstream.ensure("01_setup", "", scenario=name, platform="local").name for name in ("a", "b")}
    assert folders == {"interactive-a", "interactive-b"}


def test_a_failing_earlier_notebook_is_told_with_its_error(root: Path) -> None:
    notebook(root / "notebooks" / "01_setup.ipynb", PARAMETERS, "raise ValueError('the data is damaged')")
    with pytest.raises(UpstreamError, match=r"01_setup, which this notebook builds on, failed") as caught:
        ensure("02_train")
    assert "ValueError: the data is damaged" in str(caught.value)


def test_a_scenario_without_a_file_is_told(root: Path) -> None:
    with pytest.raises(UpstreamError, match=r"There is no file parameters/other\.yml"):
        upstream.ensure("02_train", "", scenario="other", platform="local")


# ------------------------------------------------------------------ services


class Endpoints:
    """Where a service is live or not; nothing else may be asked."""

    def __init__(self, live: Mapping[str, object]) -> None:
        self.live = live

    def find(self, service: str, environment: str) -> object | None:
        assert service == "demo"
        return self.live.get(environment)


def serve(monkeypatch: pytest.MonkeyPatch, **live: object) -> None:
    platform = SimpleNamespace(endpoints=Endpoints(live))
    monkeypatch.setattr(platforms, "get", lambda name: platform)


@pytest.fixture
def packaged(home: Path) -> Path:
    folder = home / "runs" / "interactive-demo"
    leave(folder, *upstream.RECORDS)
    return folder


@pytest.mark.usefixtures("packaged")
def test_a_service_that_is_missing_in_staging_is_deployed(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch)
    ensure("07_test", environment="staging")
    assert made == ["06_deploy"]


@pytest.mark.usefixtures("packaged")
def test_a_service_that_is_live_is_taken_as_it_is(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, staging="a service")
    ensure("07_test", environment="staging")
    assert made == []


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("environment", ["production", "Staging", "elsewhere"])
def test_nothing_is_ever_deployed_anywhere_but_in_staging(
    made: list[str], monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    serve(monkeypatch)
    ensure("07_test", environment=environment)
    assert made == []


# ------------------------------------------------------------------ a pipeline's run


def test_in_a_pipelines_run_nothing_is_ever_made(root: Path, home: Path) -> None:
    folder = home / "runs" / "r1"
    leave(folder, "01_setup")
    (folder / "run.json").write_text("{}")
    before = sorted(folder.rglob("*"))
    with pytest.raises(
        UpstreamError, match=r"r1 has no results of 02_train yet; run it: python -m ci resume r1"
    ):
        ensure("03_evaluate", "runs/r1")
    assert sorted(folder.rglob("*")) == before
    assert not upstream.interactive(folder)


def test_in_a_pipelines_run_no_service_is_deployed_either(
    root: Path, packaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch)
    (packaged / "run.json").write_text("{}")
    with pytest.raises(UpstreamError, match="no results of 06_deploy"):
        ensure("07_test", environment="staging")


def test_in_the_folder_of_a_sweeps_trial_nothing_is_made_either(root: Path, home: Path) -> None:
    trial = home / "runs" / "r1" / "trials" / "3"
    trial.mkdir(parents=True)
    (trial / "trial.json").touch()
    with pytest.raises(UpstreamError, match=r"r1/trials/3 has no .* run it: python -m ci resume r1$"):
        upstream.ensure("02_train", "runs/r1/trials/3", scenario="demo", platform="local")
    assert [path.name for path in trial.iterdir()] == ["trial.json"]
