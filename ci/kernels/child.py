"""A process that a kernel server has forked, and how it becomes a kernel like any other."""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn


def become_kernel(
    request: dict[str, Any], set_by_imports: dict[str, str], home: Path, own: Mapping[str, ModuleType]
) -> None:
    """Make a forked process what `python -m ipykernel_launcher` makes of a fresh one, and run it.

    Parameters
    ----------
    request : dict
        command (of the fresh kernel), cwd, env, and server (its process id).
    set_by_imports : dict
        Environment variables that the preloaded modules set.
    home : Path
        The folder in which the server imported.
    own : mapping
        The modules that an ordinary kernel has before its first cell.
    """
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(set_by_imports | request["env"])
    time.tzset()
    command = request["command"]
    sys.argv = [launcher(), *command[command.index("ipykernel_launcher") + 1 :]]
    sys.orig_argv = command
    importlib.invalidate_caches()
    # Python itself seeds `random` after a fork; numpy doesn't.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()

    from ipykernel.kernelapp import IPKernelApp

    # The kernel ends when its parent does, and that is the server, whatever JPY_PARENT_PID says.
    app: Any = IPKernelApp.instance(parent_handle=request["server"])
    with only(own):
        app.initialize()
    forget_shadowed(home)
    app.start()
    # It may still be at the message that ends the kernel. ipykernel closes what it needs for that before it
    # waits for it, at exit, and would wait for ten seconds.
    control = app.control_thread
    if control is not None:
        with suppress(RuntimeError):  # its loop has been closed meanwhile
            control.stop()
        control.join()
    leave()


@contextmanager
def only(own: Mapping[str, ModuleType]) -> Iterator[None]:
    """Let ipykernel take these modules alone for its own.

    It looks at all that there are when it starts, for the debugger to step over them: in an ordinary kernel
    these are its own. To look at each of some thousand modules would also copy the pages they are on.
    """
    from ipykernel import ipkernel

    class Sys(ModuleType):
        modules: ClassVar = dict(own)

        def __getattr__(self, name: str) -> Any:
            return getattr(sys, name)

    kernel: Any = ipkernel
    kernel.sys = Sys("sys")
    try:
        yield
    finally:
        kernel.sys = sys


def leave() -> NoReturn:
    """End the process, as a forked one of `multiprocessing` ends: without taking the interpreter apart.

    That would write to most of the memory that is shared with the server, and take a fifth of a second. All
    else is done that Python does at its end: it waits for threads, calls what was registered by atexit,
    and writes what files that are still open hold back.
    """
    threading._shutdown()  # type: ignore[attr-defined] # as multiprocessing does
    atexit._run_exitfuncs()
    # Not the streams of a notebook, which are of another kind: nobody listens to them any more.
    files = [thing for thing in gc.get_objects() if isinstance(thing, io.TextIOWrapper)]
    buffers = [
        thing for thing in gc.get_objects() if isinstance(thing, io.BufferedWriter | io.BufferedRandom)
    ]
    for file in (*files, *buffers, sys.__stdout__, sys.__stderr__):
        with suppress(AttributeError, OSError, ValueError):
            file.flush()  # type: ignore[union-attr] # a process may be without standard streams
    os._exit(0)


def launcher() -> str:
    """Return the path of ipykernel_launcher.py, a kernel's sys.argv[0]."""
    spec = importlib.util.find_spec("ipykernel_launcher")
    return spec.origin or "" if spec else ""


def forget_shadowed(home: Path) -> None:
    """Forget modules that an import here would find elsewhere, or not at all.

    They are those which lie in the folder where the server imported, and those
    of whose names there is a file in the current folder, which goes before site-packages.

    Parameters
    ----------
    home : Path
        The folder in which the server imported.
    """
    tops = {name for name in sys.modules if "." not in name} - sys.stdlib_module_names
    here = {entry.name.partition(".")[0] for entry in Path().iterdir()}
    for name in tops - {"__main__"}:
        spec = getattr(sys.modules[name], "__spec__", None)
        origin = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if not (name in here or (origin and home in (origin.parent, origin.parent.parent))):
            continue
        module = sys.modules.pop(name)
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        if spec and found and found.origin == spec.origin:
            sys.modules[name] = module
            continue
        for other in [other for other in sys.modules if other.startswith(f"{name}.")]:
            del sys.modules[other]
