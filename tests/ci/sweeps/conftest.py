"""A toy pipeline whose one step can be swept, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from ci.cli import main

if TYPE_CHECKING:
    from tests.conftest import Toy

PARAMETERS = """
alpha: float = 1.0  # searched
word: str = "a"  # searched, too
folds: int = 0  # cross-validation folds
run_dir: str = ""  # the run folder
"""
# What scrapbook.glue displays, without the seconds that importing it takes in each kernel.
GLUE = """
from IPython.display import display
def glue(name, data):
    scrap = {"name": name, "data": data, "encoder": "json", "version": 1}
    about = {"scrapbook": {"name": name, "data": True, "display": False}}
    display({"application/scrapbook.scrap.json+json": scrap}, metadata=about, raw=True)
"""
# The nearer alpha is to 2, the better; whatever it makes is in its run folder.
SCORE = """
import os
from pathlib import Path
folder = Path(os.environ["MLOPS_HOME"], run_dir, "model")
folder.mkdir(parents=True, exist_ok=True)
(folder / "model.txt").write_text(f"alpha {alpha}")
found = {"metric": "max_error", "direction": "minimize", "mean": abs(alpha - 2), "standard_error": 0.1}
glue("validation", found)
"""


@pytest.fixture
def swept(toy: Toy) -> Callable[..., Toy]:
    """A function that makes the toy: of cells before the one that glues the score, and declarations."""

    def make(*cells: str, **declared: Any) -> Toy:
        toy.step(
            "train", GLUE, *cells, SCORE, parameters=PARAMETERS, gives={"validation": "dict"}, **declared
        )
        return toy

    return make


@pytest.fixture
def call() -> Callable[..., Result]:
    """A function that runs a command on the toy; its exit code has to be `code`."""

    def invoke(toy: Toy, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [*words, "--pipeline", str(toy.file)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke
