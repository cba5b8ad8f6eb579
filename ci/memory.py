"""What happens to a kernel that asks for more memory than there is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def limit(pid: int, megabytes: int) -> None:
    """Let a process have at most so much memory of its own; what asks for more gets a MemoryError.

    Only Linux and FreeBSD can do that for another process; elsewhere nothing is limited.

    Parameters
    ----------
    pid : int
        Of the process; those that it starts inherit the limit.
    megabytes : int
        0 for no limit.
    """
    if not megabytes or not hasattr(psutil, "RLIMIT_DATA"):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).rlimit(psutil.RLIMIT_DATA, (megabytes << 20, megabytes << 20))


def kills() -> int:
    """Return how many processes the system has killed for want of memory, ever; 0 where it doesn't say.

    The line oom_kill of /proc/vmstat counts those of all control groups.
    """
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
