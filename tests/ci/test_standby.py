"""The next notebook's kernel is booted while the current one runs, and then is its client's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from ci.kernels import Kernels
from ci.kernels.standby import Standby


@pytest.fixture(scope="module", params=["warm", "cold"])
def options(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """For nbclient: both kinds of kernels."""
    with Kernels([], warm=request.param == "warm") as kernels:
        yield kernels.engine_options()


def client(source: str, options: dict[str, Any]) -> NotebookClient:
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    return NotebookClient(document, kernel_name="python3", **options)


def kernels_below() -> list[psutil.Process]:
    """Return the kernels that run for this process."""
    return [child for child in psutil.Process().children(recursive=True) if "-f" in child.cmdline()]


def test_each_notebook_has_a_kernel_of_its_own_in_the_folder_that_was_said(
    options: dict[str, Any], tmp_path: Path
) -> None:
    said = []
    with closing(Standby(tmp_path, options)) as standby:
        standby.order("python3")
        for _ in range(3):
            notebook = client("import os; x = 'x' in globals(); print(os.getpid(), os.getcwd(), x)", options)
            standby.hand_over(notebook)
            assert notebook.km is not None
            standby.order("python3")
            notebook.execute()
            said.append(notebook.nb.cells[0].outputs[0].text.split())
            assert notebook.km is None  # its client has ended it
    assert len({pid for pid, _, _ in said}) == 3
    assert [rest for _, *rest in said] == [[str(tmp_path), "False"]] * 3
    assert not any(psutil.pid_exists(int(pid)) for pid, _, _ in said)


def test_a_kernel_that_nobody_takes_is_ended(options: dict[str, Any], tmp_path: Path) -> None:
    with closing(Standby(tmp_path, options)) as standby:
        standby.order("python3")
        first = client("1", options)
        standby.hand_over(first)
        standby.order("python3")
        first.execute()
    standby.close()
    assert kernels_below() == []


def test_without_an_order_a_client_starts_its_own(options: dict[str, Any], tmp_path: Path) -> None:
    with closing(Standby(tmp_path, options)) as standby:
        notebook = client("print('mine')", options)
        standby.hand_over(notebook)
        assert notebook.km is None
        notebook.execute()
    assert notebook.nb.cells[0].outputs[0].text == "mine\n"


def test_another_kernel_than_was_ordered_is_started_by_the_client(
    options: dict[str, Any], tmp_path: Path
) -> None:
    with closing(Standby(tmp_path, options)) as standby:
        standby.order("python3")
        notebook = client("print('mine')", options)
        notebook.kernel_name = "other"
        standby.hand_over(notebook)
        assert notebook.km is None


def test_a_kernel_that_dies_before_its_notebook_begins_is_a_dead_kernel(
    options: dict[str, Any], tmp_path: Path
) -> None:
    with closing(Standby(tmp_path, options)) as standby:
        standby.order("python3")
        notebook = client("1", options)
        standby.hand_over(notebook)
        manager: Any = notebook.km
        psutil.Process(manager.provisioner.pid).kill()
        with pytest.raises(DeadKernelError):
            notebook.execute()
