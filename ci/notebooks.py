"""Notebooks executed one after the other: none waits for what can be ready before it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ci.kernels import Kernels
from ci.pipeline import Step
from utils import files, project

if TYPE_CHECKING:
    from ci.execution import CellObserver
    from ci.kernels.standby import Standby


class Notebooks:
    """Executes notebooks in kernels that are booted ahead.

    Entering starts the kernel server. papermill is imported beside, while the server imports what the
    notebooks need, or while the first kernel boots. scrapbook, which imports pandas, follows while the first
    notebook runs.

    Parameters
    ----------
    preload : sequence of str
        Modules to import once for all kernels.
    output : Path
        The file for what kernels print outside of any notebook.
    warm : bool
        Whether kernels are forked from the kernel server, where that can be.
    """

    def __init__(self, preload: Sequence[str], output: Path, *, warm: bool = True) -> None:
        self.kernels = Kernels(preload, output, warm=warm)
        self._stack = ExitStack()
        self._standby: Standby | None = None
        self._imports = threading.Thread(target=_import, name="imports", daemon=True)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.kernels)
        self._imports.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._standby is not None:
            self._standby.close()
        self._stack.close()

    def execute(
        self,
        notebook: Path,
        output: Path,
        parameters: Mapping[str, Any],
        declared: Step,
        on_cell: CellObserver,
        *,
        another: bool,
    ) -> None:
        """Execute a notebook; see `ci.execution.execute`.

        Parameters
        ----------
        notebook, output : Path
            What to run, and where to write it with its outputs.
        parameters : mapping
            Injected below the notebook's own defaults.
        declared : Step
            Says how long a cell may take, and how much memory its kernel may have.
        on_cell : callable
            Called with the number of code cells that have run, and of all.
        another : bool
            Whether another notebook is likely to follow, for which a kernel should be ready.
        """
        from ci.kernels.standby import Standby

        if self._standby is None:
            self._standby = Standby(project.root(), self.kernels.engine_options())
            self._standby.begin(_kernel_name(notebook))
        from ci import execution

        execution.execute(
            notebook,
            output,
            parameters,
            cell_timeout=declared.cell_timeout,
            memory_mb=declared.memory_mb,
            on_cell=on_cell,
            engine_options=self.kernels.engine_options(),
            standby=self._standby,
            another=another,
        )


def _import() -> None:
    import scrapbook  # noqa: F401


def _kernel_name(notebook: Path) -> str:
    about = files.read_json(notebook)["metadata"].get("kernelspec", {})
    return str(about.get("name", "python3"))
