"""The project's own notebooks put out the same in warm kernels as in ordinary ones, cell by cell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Home

pytestmark = pytest.mark.end_to_end

STEPS = ("setup", "train", "evaluate", "register", "package")
# What no two runs have alike: ids and digests of what holds them, and times.
VOLATILE = re.compile(
    r"(?<![.\w])(?=[0-9a-f]*[a-f])[0-9a-f]{12,64}(?!\w)|\d{4}-\d\d-\d\d[T ][\d:.]+(\+00:00|Z)?"
)


def alike(found: Any) -> Any:
    """Return what was put out, with ids and times in its texts made alike."""
    if isinstance(found, str):
        return VOLATILE.sub("<volatile>", found)
    if isinstance(found, dict):
        return {name: alike(content) for name, content in found.items()}
    return [alike(content) for content in found] if isinstance(found, list) else found


def outputs(home: Home, step: str) -> list[list[Any]]:
    """Return what each code cell of a run's notebook has put out."""
    cells = json.loads(home.file("first", "notebooks", f"{step}.ipynb").read_text())["cells"]
    return [alike(cell["outputs"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def cold(begin: Callable[[str], Home]) -> Home:
    """The same run as "first", each notebook in an ordinary kernel."""
    home = begin("cold")
    home.call("run", "--run-id", "first", "--until", "package", "--kernel", "cold")
    return home


@pytest.mark.parametrize("step", STEPS)
def test_each_cell_puts_out_the_same(waiting: Home, cold: Home, step: str) -> None:
    warm, ordinary = outputs(waiting, step), outputs(cold, step)
    assert any(warm)
    assert warm == ordinary


@pytest.mark.parametrize("step", STEPS)
def test_the_scraps_are_the_same(waiting: Home, cold: Home, step: str) -> None:
    warm, ordinary = (alike(home.run("first").step(step).scraps) for home in (waiting, cold))
    assert warm == ordinary
