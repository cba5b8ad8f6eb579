"""A project of small notebooks with a platform more, whose compute runs steps as processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.away import Away
from tests.ci.test_runner import glue

if TYPE_CHECKING:
    from tests.conftest import Toy

# Where a notebook is executed: in which home, from which copy of the project's files.
WHERE = """
import os
from pathlib import Path
import utils
where = {"home": os.environ["MLOPS_HOME"], "code": str(Path(utils.__file__).parent.parent)}
"""
TELL = "\nglue('where', where)"
SCORE = "alpha: float = 1.0  # what the challenger's score is\nrun_dir: str = ''  # the run folder"
TRAIN = """
folder = Path(os.environ["MLOPS_HOME"], run_dir, "model")
folder.mkdir(parents=True, exist_ok=True)
(folder / "model.txt").write_text(f"alpha {alpha}")
"""
JUDGE = """
model = Path(os.environ["MLOPS_HOME"], run_dir, "model", "model.txt").read_text()
assert model == f"alpha {score}", model
better = score > 1.5
glue("outcome", "promote" if better else "not_better")
glue("reason", f"{score} against 1.5")
"""


# A cell that waits, a function that waits until it does, and one that lets it go on.
Gate = tuple[str, Callable[[], None], Callable[[], None]]


class Small(Away):
    """A project of small notebooks: setup and release run here, train, evaluate and package elsewhere."""

    def __init__(self, toy: Toy, home: Path, service: Path) -> None:
        super().__init__(toy.folder, home, service)
        (service / "provisioned").touch()
        self.toy = toy
        toy.write("elsewhere", {})
        toy.step(
            "setup",
            WHERE,
            glue(rows=3) + TELL,
            gives={"rows": "int", "where": "dict"},
            stage="build",
        )
        self.train()
        self.evaluate()
        toy.step(
            "package",
            WHERE,
            glue(digest="d" * 64) + TELL,
            when={"evaluate.outcome": "promote"},
            gives={"digest": "str", "where": "dict"},
            reuse=False,
            remote=True,
        )
        toy.step(
            "release",
            WHERE,
            glue() + TELL,
            parameters="digest: str = ''  # of the package",
            takes={"digest": "package.digest"},
            gives={"where": "dict"},
            stage="staging",
            reuse=False,
        )

    def train(self, *cells: str) -> None:
        """Let train do more than to write a model."""
        self.toy.step(
            "train",
            WHERE + TRAIN,
            *cells,
            glue(training_run="none") + "\nglue('score', alpha)" + TELL,
            parameters=SCORE + "\nrows: int = 0  # of the data",
            takes={"rows": "setup.rows"},
            gives={"training_run": "str", "score": "float", "where": "dict"},
            remote=True,
        )

    def evaluate(self, *cells: str) -> None:
        """Let evaluate do more than to judge."""
        self.toy.step(
            "evaluate",
            WHERE,
            *cells,
            glue() + JUDGE + TELL,
            parameters="score: float = 0.0  # of the model\nrun_dir: str = ''  # the run folder",
            takes={"score": "train.score"},
            gives={"outcome": "outcome", "reason": "str", "where": "dict"},
            remote=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Begin the run r1 on the platform elsewhere."""
        about = ("--scenario", "scenario", "--platform", "elsewhere", "--run-id", "r1")
        return self.call("run", *about, *words, code=code)

    def where(self, step: str) -> str:
        """Say where a step was executed: here or elsewhere."""
        home = self.record().step(step).scraps["where"]["home"]
        return "here" if home == str(self.home) else "elsewhere"


@pytest.fixture
def away(toy: Toy, home: Path, tmp_path: Path) -> Iterator[Small]:
    """A project whose remote steps run elsewhere."""
    made = Small(toy, home, tmp_path / "service")
    yield made
    made.end()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A cell that waits, a function that waits until it does, and one that lets it go on."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    passed = tmp_path / "passed"
    cell = f"""
if not Path({str(passed)!r}).exists():
    open({str(fifo)!r}, "w").close()
    open({str(fifo)!r}).close()
"""

    def reached() -> None:
        fifo.open().close()

    def go_on() -> None:
        passed.touch()
        fifo.open("w").close()

    return cell, reached, go_on
