"""One notebook, executed headless by papermill."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError, strip_color
from papermill.iorw import LocalHandler, papermill_io
from papermill.log import logger

from ci import memory
from ci.kernels.standby import CONFIG, Standby
from ci.runs import Failure, StepFailure
from utils import files, project

CellObserver = Callable[[int, int], None]
TRACEBACK_LINES = 12
_ENGINE = "observed"


class ObservedEngine(NBClientEngine):  # type: ignore[misc] # papermill has no types
    """papermill's own engine, in a kernel that has been booted ahead, telling an observer of each cell."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        on_cell: CellObserver,
        standby: Standby,
        another: bool,
        memory_mb: int,
        options: Mapping[str, Any],
        **_: Any,
    ) -> None:
        """Execute, calling `on_cell(done, all)` at the start and after each code cell."""
        code = [index for index, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]
        complete = nb_man.cell_complete

        def observed(cell: Any, cell_index: int | None = None, **rest: Any) -> None:
            complete(cell, cell_index=cell_index, **rest)
            if cell_index in code:
                on_cell(code.index(cell_index) + 1, len(code))

        nb_man.cell_complete = observed
        on_cell(0, len(code))
        client = PapermillNotebookClient(
            nb_man,
            kernel_name=kernel_name,
            log=logger,
            **options,
        )
        standby.order(kernel_name)
        standby.hand_over(client)
        if client.km is not None:
            memory.limit(client.km.provisioner.pid, memory_mb)
        if another:
            standby.order(kernel_name)
        client.execute()


class AtomicHandler(LocalHandler):  # type: ignore[misc] # papermill has no types
    """papermill's way to local files: a notebook, written after each cell, is never seen half-written."""

    def write(self, buf: str, path: str) -> None:
        """Write a notebook aside, and rename it."""
        files.write_text(Path(path), buf, durable=False)


papermill_engines.register(_ENGINE, ObservedEngine)
papermill_io.register(project.root().anchor, AtomicHandler())  # all paths that are absolute


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    *,
    cell_timeout: int,
    on_cell: CellObserver,
    engine_options: Mapping[str, Any],
    memory_mb: int,
    standby: Standby,
    another: bool,
) -> None:
    """Execute a notebook in a kernel of its own; write it with its outputs as each cell ends.

    Parameters
    ----------
    notebook, output : Path
        What to run, and where to write it with its outputs.
    parameters : mapping
        Injected below the notebook's own defaults.
    cell_timeout : int
        Seconds that one cell may take.
    on_cell : callable
        Called with the number of code cells that have run, and of all.
    engine_options : mapping
        Passed to nbclient, such as the class that starts kernels.
    memory_mb : int
        What its kernel may have, in MB; 0 for no limit.
    standby : Standby
        Has a kernel ready for it.
    another : bool
        Whether to order a kernel there for the next notebook.

    Raises
    ------
    StepFailure
        If a cell raised, took too long, or the kernel died.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    killed = memory.kills()
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=dict(parameters),
            engine_name=_ENGINE,
            progress_bar=False,
            cwd=str(project.root()),
            on_cell=on_cell,
            standby=standby,
            another=another,
            memory_mb=memory_mb,
            options={"config": CONFIG, "timeout": cell_timeout, **engine_options},
        )
    except PapermillExecutionError as error:
        raise StepFailure(_raised(error)) from error
    except CellTimeoutError as error:
        message = f"a cell took longer than {cell_timeout} s, the step's cell_timeout in pipeline.yml"
        raise StepFailure(_running_cell(output, "CellTimeoutError", message)) from error
    except DeadKernelError as error:
        failure = _running_cell(output, "DeadKernelError", "the kernel died; was it killed?")
        if memory.kills() > killed:
            failure.name = "OutOfMemory"
            failure.message = f"out of memory in cell {failure.cell}: the system ended the kernel"
        raise StepFailure(failure) from error
    finally:
        # A notebook cut off by a full disk is no JSON; the error that cut it off is the one to tell.
        with contextlib.suppress(ValueError):
            _forget_paths(notebook, output)


def _raised(error: PapermillExecutionError) -> Failure:
    """Describe the exception that a cell raised."""
    number, name, message = error.cell_index + 1, error.ename, strip_color(error.evalue)
    if name.endswith("MemoryError"):  # numpy has one of its own
        name, message = "OutOfMemory", f"out of memory in cell {number}" + (f": {message}" if message else "")
    lines = strip_color("\n".join(error.traceback)).splitlines()
    return Failure(
        cell=number, source=error.source, name=name, message=message, traceback=lines[-TRACEBACK_LINES:]
    )


def _running_cell(output: Path, name: str, message: str) -> Failure:
    """Describe a failure that raised in no cell: the last one that was started is to blame."""
    failure = Failure(name=name, message=message)
    cells = files.read_json(output)["cells"] if output.exists() else []
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] == "code" and cell["metadata"].get("papermill", {}).get("start_time"):
            failure.cell, failure.source = number, "".join(cell["source"])
    return failure


def _forget_paths(notebook: Path, output: Path) -> None:
    """Keep the executed notebook free of this machine's paths, so that a run can be copied."""
    if not output.exists():
        return
    document = files.read_json(output)
    about = document["metadata"].get("papermill", {})
    about["input_path"] = f"{notebook.parent.name}/{notebook.name}"
    about["output_path"] = f"{output.parent.name}/{output.name}"
    files.write_json(output, document)
