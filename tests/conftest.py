"""What every test shares: a home of its own, so that none writes into the checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import nbformat
import pytest
import yaml

from ci import reports
from ci.reporter import Reporter
from ci.runs import Run
from utils import project

# Tests, kernels and services share the processors; their matrices are small, and threads would only wait.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# These share one story of runs, which is told once and then copied.
STORY = tuple(
    f"end_to_end/test_{name}.py" for name in ("evidence", "gate", "kernels", "lifecycle", "rollback")
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under pytest-xdist, keep the tests of a file in one process, and those of the story too."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "story" if file.endswith(STORY) else file

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs/ and workspace/ that is this test's alone."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv(project.HOME_VARIABLE, str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("CI", raising=False)
    return folder


class HereReporter(Reporter):
    """Writes a run's reports at its end and in this process, as `python -m ci report` would."""

    def __enter__(self) -> Self:
        self.run: Run | None = None
        return self

    def changed(self, run: Run) -> None:
        self.run = run

    def __exit__(self, *_: object) -> None:
        if self.run is not None:
            reports.refresh(self.run)


@pytest.fixture(autouse=True)
def _reports_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare runs in this process the second that a process for their reports takes to start."""
    monkeypatch.setattr("ci.runner.Reporter", HereReporter)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A project with a pipeline of small notebooks, to be filled by the test."""
    return Toy(tmp_path / "toy")


class Toy:
    """A small project: parameters/ and notebooks/ with whatever a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: dict[str, Any] = {}
        self.file = folder / "parameters" / "pipeline.yml"
        (folder / "parameters").mkdir(parents=True)
        (folder / "notebooks").mkdir()
        self.write("scenario", {})
        self.write("local", {})

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a YAML file of parameters."""
        (self.file.parent / f"{name}.yml").write_text(yaml.safe_dump(content, sort_keys=False))

    def notebook(self, name: str, parameters: str, *cells: str) -> None:
        """Write a notebook with a parameters cell and further code cells."""
        document = nbformat.v4.new_notebook()
        document.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        head = nbformat.v4.new_code_cell(parameters)
        head.metadata["tags"] = ["parameters"]
        document.cells = [head, *map(nbformat.v4.new_code_cell, cells)]
        nbformat.write(document, self.folder / "notebooks" / f"{name}.ipynb")

    def step(self, name: str, *cells: str, parameters: str = "", notebook: str = "", **declared: Any) -> None:
        """Add a step with a notebook of its own, or with another step's."""
        if not notebook:
            self.notebook(name, parameters or "label: str = 'x'  # a word", *cells)
        self.steps[name] = {"notebook": notebook or name, "stage": "train", **declared}
        self.save()

    def save(self, **top: Any) -> None:
        """Write pipeline.yml."""
        content = {"notebooks": "../notebooks", "steps": self.steps, **top}
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))
