"""A notebook opened by itself: what it builds on is made first, by the notebooks before it.

In a run of the pipeline everything is there already and nothing happens here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import yaml

from utils import platforms, project

# The record that each notebook leaves in the run folder, in the order in which they run.
RECORDS = {
    "01_setup": "data/snapshot.json",
    "02_train": "training.json",
    "03_evaluate": "evaluation/evaluation.json",
    "04_register": "registration.json",
    "05_package": "package/manifest.json",
}


class UpstreamError(RuntimeError):
    """What a notebook builds on isn't there, or could not be made."""


def ensure(notebook: str, run_dir: str, *, scenario: str, platform: str, environment: str = "") -> Path:
    """Make sure that the results of all earlier notebooks are in the run folder.

    Parameters
    ----------
    notebook : str
        The notebook that asks, such as "03_evaluate".
    run_dir : str
        The run folder; "" for one that belongs to the scenario, runs/interactive-<scenario>.
        In the folder of a pipeline's run nothing is ever made here: the pipeline's steps
        make it. In any other, missing results are made by running the notebooks that
        give them, with the scenario's parameters.
    scenario, platform : str
        Their names.
    environment : str
        Where a service is needed. Only ever staging is deployed here: what goes
        to production goes there through the gate.

    Returns
    -------
    Path
        The run folder, absolute.

    Raises
    ------
    UpstreamError
        If something is missing from a pipeline's run, or an earlier notebook failed.
    """
    folder = project.resolve(run_dir or f"runs/interactive-{scenario}")
    given = {"scenario": scenario, "platform": platform, "run_dir": run_dir}
    for earlier, record in RECORDS.items():
        if earlier >= notebook:
            break
        if not (folder / record).exists():
            _make(earlier, folder, given)
    if environment == "staging" and platforms.get(platform).endpoints.find(scenario, environment) is None:
        _make("06_deploy", folder, given)
    return folder


def interactive(folder: Path) -> bool:
    """Whether a run folder is a person's at a notebook, not that of a pipeline's run or a trial's."""
    return not any((folder / record).exists() for record in ("run.json", "trial.json"))


def _make(notebook: str, folder: Path, given: dict[str, str]) -> None:
    if not interactive(folder):
        raise UpstreamError(
            f"The run {project.run_name(folder)} has no results of {notebook} yet; run it: "
            f"python -m ci resume {project.run_name(folder).partition('/')[0]}"
        )
    source = project.root() / "notebooks" / f"{notebook}.ipynb"
    output = folder / "notebooks" / f"{notebook}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    print(f"Running {notebook} first: {folder.name} has no results of it yet.")
    command = [sys.executable, "-m", "papermill", str(source), str(output), "--no-progress-bar"]
    # YAML as it is written here reads back as the same numbers; JSON's 1e-05 would come back as a text.
    parameters = yaml.safe_dump(_parameters(source, given))
    ended = subprocess.run(
        [*command, "--parameters_yaml", parameters],
        cwd=project.root(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise UpstreamError(
            f"{notebook}, which this notebook builds on, failed; all of it is in {output}:\n"
            f"{ended.stderr[-2000:]}"
        )


def _parameters(notebook: Path, given: dict[str, str]) -> dict[str, Any]:
    """Return what a notebook takes of the scenario's and the platform's parameters, and of those given."""
    known: dict[str, Any] = {}
    for name in (given["scenario"], given["platform"]):
        file = project.root() / "parameters" / f"{name}.yml"
        try:
            known |= yaml.safe_load(file.read_text()) or {}
        except FileNotFoundError:
            raise UpstreamError(
                f"There is no file parameters/{name}.yml: write it, or name another scenario or platform."
            ) from None
    cells = nbformat.read(notebook, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    declared = {
        node.target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return {name: value for name, value in {**known, **given}.items() if name in declared}
