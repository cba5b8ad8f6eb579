"""How jupyter_client comes to a warm kernel: a manager and a provisioner of kernels."""

from __future__ import annotations

import asyncio
import atexit
import os
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

if TYPE_CHECKING:
    from ci.kernels import Kernels


class WarmProvisioner(LocalProvisioner):
    """Launches a kernel by a fork of the kernel server, or as usual where that can't be.

    All but the launch is jupyter_client's own: it treats a `ForkedProcess` as
    the `subprocess.Popen` that it knows. Registered as `warm-provisioner`, for
    kernels that JupyterLab starts; these share one server, which starts with the first.
    """

    kernels: Kernels | None = None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel.

        Parameters
        ----------
        cmd : list of str
            The command that would start an ordinary one.
        **kwargs
            cwd, env and whatever else `subprocess.Popen` takes.
        """
        options = {name: value for name, value in self._scrub_kwargs(kwargs).items() if value is not None}
        cwd, env = str(options.pop("cwd", None) or Path.cwd()), options.pop("env", None) or dict(os.environ)
        process = None
        # Who asks for streams of his own, or the like, gets them from Popen.
        if not options:
            # As jupyter_client's launcher sets it.
            env = env | {"JPY_PARENT_PID": str(os.getpid())}
            if self.kernels is not None:
                process = self.kernels.fork(cmd, cwd, env)
            else:
                # JupyterLab has others to serve while the first kernel waits for the imports.
                process = await asyncio.to_thread(_shared().fork, cmd, cwd, env)
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = process  # type: ignore[assignment]
        self.pid = self.pgid = process.pid
        self.cwd = cwd
        return self.connection_info

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel's process group, unless the kernel has ended."""
        # The server has reaped a kernel that ended: its id may be another's by now.
        if await self.poll() is None:
            await super().send_signal(signum)


class WarmKernelManager(AsyncKernelManager):
    """Manages a kernel that is forked from a kernel server.

    The two talk by sockets in a folder that is this person's alone. Ports, as an ordinary kernel has them,
    are chosen before the kernel takes them: where many start, another process may take one in between.
    """

    kernels: ClassVar[Kernels | None] = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        folder = self.kernels.sockets if self.kernels is not None else None
        if folder is not None:
            self.transport, self.ip = "ipc", str(folder / uuid.uuid4().hex[:8])
            self.transport_encryption = "disabled"  # what is for nobody else's eyes doesn't get before them

    async def start_kernel(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Start the kernel, by a `WarmProvisioner` unless its specification names another."""
        spec = self.kernel_spec
        if self.provisioner is None and spec and "kernel_provisioner" not in spec.metadata:
            self.kernel_id = self.kernel_id or kwargs.pop("kernel_id", str(uuid.uuid4()))
            self.provisioner = WarmProvisioner(kernel_id=self.kernel_id, kernel_spec=spec, parent=self)
            self.provisioner.kernels = self.kernels
        await super().start_kernel(**kwargs)

    async def _async_wait(self, pollinterval: float = 0.1) -> None:  # noqa: ARG002 - jupyter_client's signature
        # A kernel that is asked to end does so in some milliseconds, and each notebook waits for it.
        await super()._async_wait(pollinterval=0.005)


@cache
def _shared() -> Kernels:
    """Return the kernels of this process, for whoever starts them by name: JupyterLab, or stock papermill."""
    from ci.kernels import Kernels
    from ci.pipeline import Pipeline, default_file

    kernels = Kernels(Pipeline(default_file()).preload)
    kernels.__enter__()
    atexit.register(kernels.__exit__, None, None, None)
    return kernels
