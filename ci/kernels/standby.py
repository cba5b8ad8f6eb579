"""The next notebook's kernel, booted while the current one runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from traitlets.config import Config

# What kernel and runner say to each other is nobody else's business, also on a shared machine.
CONFIG = Config({"KernelManager": {"transport_encryption": "auto"}})

_PATIENCE = 5.0


class Standby:
    """Boots a kernel ahead of the notebook that it is for.

    It does so in the thread's event loop, while nbclient waits there for the current notebook's cells.

    Parameters
    ----------
    folder : Path
        In which kernels are started.
    options : mapping
        For nbclient, such as the class that manages kernels.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._folder = folder
        self._options = {"config": CONFIG, **options}
        self._client: NotebookClient | None = None
        self._task: asyncio.Task[None] | None = None

    def order(self, kernel_name: str) -> None:
        """Begin to boot a kernel, unless one is on its way."""
        if self._task is None:
            self._client = NotebookClient(
                nbformat.v4.new_notebook(), kernel_name=kernel_name, **self._options
            )
            self._task = ensure_event_loop().create_task(self._boot(self._client))

    def begin(self, kernel_name: str) -> None:
        """Order a kernel, and wait until it has booted; other threads go on meanwhile."""
        self.order(kernel_name)
        self._wait()

    def hand_over(self, client: NotebookClient) -> None:
        """Give a client the kernel that was ordered for it; it ends it as one that it had started itself.

        Without one, or where it could not be booted, the client starts its own.
        """
        booted, task = self._client, self._task
        if booted is None or task is None or booted.kernel_name != client.kernel_name:
            return
        self._wait()
        self._client = self._task = None
        # A kernel that could not be booted has been cleaned up, and the client's manager is gone with it.
        if booted.kc is not None:
            client.km, client.kc, client.owns_km = booted.km, booted.kc, True

    def close(self) -> None:
        """End a kernel that nobody has taken, and what else an interrupted notebook has left in the loop."""
        client, task = self._client, self._task
        self._client = self._task = None
        loop = ensure_event_loop()
        if client is not None and task is not None:
            task.cancel()
            self._settle({task})
            if client.km is not None:
                client.shutdown_kernel = "immediate"
                # Whatever keeps it, it ends with the kernel server, or with this process.
                with contextlib.suppress(Exception):
                    loop.run_until_complete(client._async_cleanup_kernel())
        left = asyncio.all_tasks(loop)
        for other in left:
            other.cancel()
        self._settle(left)

    def _wait(self) -> None:
        if self._task is not None:
            self._settle({self._task}, None)

    @staticmethod
    def _settle(tasks: set[asyncio.Task[Any]], seconds: float | None = _PATIENCE) -> None:
        """Wait until tasks have ended, however they do.

        A loop that is asked to run until the end of a task which KeyboardInterrupt has ended already would
        run for ever (since bpo-22429), so this waits beside it.
        """
        if not tasks:
            return
        ensure_event_loop().run_until_complete(asyncio.wait(tasks, timeout=seconds))
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()  # whoever started it has been told, or will meet the same

    async def _boot(self, client: NotebookClient) -> None:
        client.create_kernel_manager()
        await client.async_start_new_kernel(cwd=str(self._folder))
        await client.async_start_new_kernel_client()
