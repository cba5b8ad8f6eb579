"""What a kernel server does before it serves: it imports, and finds out whether it can still be forked."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

# What every kernel imports, before the notebook's first cell.
KERNEL_MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.iostream",
    "ipykernel.displayhook",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "tornado.platform.asyncio",
)
INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
# Native threads that look after themselves when a process forks: jemalloc (inside Arrow) restarts its own.
FORK_AWARE_THREADS = frozenset({"jemalloc_bg_thd"})
# What such variables start with: they are read when Python starts or a library is loaded, and never again.
READ_ONCE = (
    "ARROW_",
    "BLIS_",
    "DYLD_",
    "GOTO_",
    "HOME",
    "KMP_",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "MLFLOW_CONFIGURE_LOGGING",
    "MLFLOW_LOGGING_LEVEL",
    "MPL",
    "NUMBA_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "VECLIB_",
    "XDG_",
)


class LateStream:
    """Stands in for a standard stream while modules are imported.

    Whoever keeps it, such as a logging handler, later writes to what the stream
    is then: the notebook's output, as after an import in the kernel itself. What
    is written during the imports is dropped.
    """

    def __init__(self, name: str, original: TextIO) -> None:
        self._name = name
        self._original = original

    def write(self, text: str) -> int:
        """Write to the stream of that name, unless that is this one."""
        stream = getattr(sys, self._name)
        return len(text) if stream is self else int(stream.write(text))

    def __getattr__(self, attribute: str) -> Any:
        stream = getattr(sys, self._name)
        return getattr(self._original if stream is self else stream, attribute)


@contextmanager
def late_streams() -> Iterator[None]:
    """Put a `LateStream` in the place of stdout and stderr."""
    original = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = LateStream("stdout", sys.stdout), LateStream("stderr", sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = original


@contextmanager
def notebook_path() -> Iterator[None]:
    """Let the current folder be imported from, at the place in sys.path where IPython puts it."""
    folders = [Path(entry).name for entry in sys.path]
    place = next((folders.index(name) for name in folders if name in {"site-packages", "dist-packages"}), 0)
    sys.path.insert(place, "")
    try:
        yield
    finally:
        sys.path.remove("")


def import_kernel() -> dict[str, ModuleType]:
    """Import what a kernel is made of; return all that an ordinary one has before its first cell."""
    with late_streams():
        for module in KERNEL_MODULES:
            importlib.import_module(module)
    return dict(sys.modules)


def preload(modules: Sequence[str]) -> tuple[list[str], str]:
    """Import modules, and find out whether the process can still be forked.

    Parameters
    ----------
    modules : sequence of str
        Full names.

    Returns
    -------
    warnings : list of str
        Which modules could not be imported, and why.
    unsafe : str
        Which threads a fork would lose, and who started them; "" if none.
    """
    # ipykernel sets it before the first cell; matplotlib reads it when it is imported.
    os.environ.setdefault("MPLBACKEND", INLINE_BACKEND)
    failures = []
    starters = dict.fromkeys(threads(), "the server")
    with late_streams(), notebook_path():
        for module in modules:
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:
                failures.append(f"{module} could not be preloaded: {type(error).__name__}: {error}")
            starters = dict.fromkeys(threads(), module) | starters
    # It finds IPython's shell when it is imported, and there is none yet.
    sys.modules.pop("matplotlib_inline.backend_inline", None)
    lost = {starters.get(thread, "?"): name for thread, name in lost_threads().items()}
    unsafe = ", ".join(f"importing {module} started the thread {name!r}" for module, name in lost.items())
    return failures, unsafe


def threads() -> dict[int, str]:
    """Return the name of every thread but the main one, by its native id; where /proc is, native ones too."""
    main = threading.main_thread()
    found = {thread.native_id or 0: thread.name for thread in threading.enumerate() if thread is not main}
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        for task in tasks.iterdir():
            if int(task.name) != os.getpid():
                try:
                    found.setdefault(int(task.name), (task / "comm").read_text().strip())
                except OSError:  # it has just ended
                    continue
    return found


def lost_threads() -> dict[int, str]:
    """Return the threads that a forked kernel would miss.

    Forking is what tells: OpenBLAS ends its threads before a fork and starts them
    when next it needs them (pthread_atfork), so those that are left after one are not so careful.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of the very threads that are looked for here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return {thread: name for thread, name in threads().items() if name not in FORK_AWARE_THREADS}


def packages() -> str:
    """Return a digest of what is installed; it changes when any package is installed or removed."""
    found = []
    for folder in sys.path:
        if Path(folder).name in {"site-packages", "dist-packages"} and Path(folder).is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith((".dist-info", ".egg-info", ".pth")):
                        found.append(f"{entry.path} {entry.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def report(modules: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Import modules, and describe what kernels that are forked from here will be like.

    Parameters
    ----------
    modules : sequence of str
        Full names.
    environment : mapping
        What this process was started with.

    Returns
    -------
    dict
        warnings (list of str), unsafe (str), modules, executable, packages, and environment:
        those variables that are read only once.
    """
    state = packages()
    warnings, unsafe = preload(modules)
    once = {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}
    return {
        "warnings": warnings,
        "unsafe": unsafe,
        "modules": list(modules),
        "executable": sys.executable,
        "packages": state,
        "environment": once,
    }
