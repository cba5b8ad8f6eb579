"""Each notebook runs from top to bottom without ci/.

Under nbval, which starts kernels in the notebooks' folder as JupyterLab does, and under stock papermill. A
fresh kernel takes seconds to import what the notebooks need. This is the one place in all tests that pays for
that in every notebook; the others run them by the pipeline, in kernels that are forked. nbval runs beside
papermill, so that two cores have work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import scrapbook

from utils import platforms, project
from utils.platforms.local.targets import processes

pytestmark = pytest.mark.end_to_end
LIMIT = 900  # seconds; some minutes on a busy machine


class Command:
    """A command of the environment that runs in the project's folder, as a person would call it."""

    def __init__(self, home: Path, *words: str) -> None:
        self.home = home
        self.before = _listing()
        self._said = home.with_suffix(".txt").open("w+")
        # Variables of this pytest and of coverage would make the inner pytest another one than a person's.
        given = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=project.root(),
            env={**given, project.HOME_VARIABLE: str(home)},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> str:
        """Wait for a good end; return what the command said."""
        code = self.process.wait(LIMIT)
        self._said.seek(0)
        said = self._said.read()
        assert code == 0, said[-4000:]
        return said

    def close(self) -> None:
        """End it, and the kernel that it waits for, if it still runs."""
        self.process.terminate()
        self.process.wait(LIMIT)
        self._said.close()
        for process in processes.below(self.home):
            process.terminate()


def _listing() -> dict[str, bytes]:
    """Return what is in the notebooks' folder."""
    found = (project.root() / "notebooks").rglob("*")
    return {str(path): path.read_bytes() for path in found if path.is_file()}


@pytest.fixture(scope="module")
def nbval(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    home = tmp_path_factory.mktemp("nbval") / "home"
    home.mkdir()
    # But for the cache, which the command of a person may write into the checkout.
    command = Command(home, "pytest", "--nbval-lax", "notebooks", "-p", "no:cacheprovider")
    yield command
    command.close()


def test_stock_papermill_takes_a_scenarios_file_and_makes_what_is_missing_first(
    nbval: Command, tmp_path: Path
) -> None:
    home = tmp_path / "empty"
    home.mkdir()
    given = ("notebooks/02_train.ipynb", str(tmp_path / "out.ipynb"), "-f", "parameters/breast_cancer.yml")
    command = Command(home, "papermill", *given)
    try:
        command.wait()
    finally:
        command.close()
    folder = home / "runs" / "interactive-breast_cancer"
    assert (folder / "notebooks" / "01_setup.ipynb").exists()
    assert (folder / "model" / "model.skops").exists()
    scraps = scrapbook.read_notebook(str(tmp_path / "out.ipynb")).scraps.data_dict
    assert scraps["estimator"] == "sklearn.linear_model.LogisticRegression"
    assert scraps["metrics"]["roc_auc"] > 0.95


def test_nbval_passes_in_order_with_the_defaults_and_leaves_nothing_behind(
    nbval: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebooks = sorted((project.root() / "notebooks").glob("*.ipynb"))
    cells = [cell for path in notebooks for cell in nbformat.read(path, as_version=4).cells]
    code = [cell for cell in cells if cell.cell_type == "code"]
    said = nbval.wait()
    assert f"{len(code)} passed" in said
    assert "warning" not in said
    assert {path.name for path in nbval.home.iterdir()} == {"runs", "workspace"}
    assert _listing() == nbval.before
    monkeypatch.setenv(project.HOME_VARIABLE, str(nbval.home))
    assert platforms.get("local").endpoints.everything() == []
    assert processes.below(nbval.home) == []
