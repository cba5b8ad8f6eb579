"""Compile the modules of a folder, so that a service needs not when it starts.

    python bytecode.py FOLDER PREFIX

It is run in a process of its own, as a script: what Python writes depends on which strings that process
has met before, and so the same modules give the same bytes only after the same beginning. What is written
is never compared with its source ("unchecked"): nobody changes a module in an image, and times are no part
of it.

References
----------
PEP 552, "Deterministic pycs", https://peps.python.org/pep-0552/
"""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path


def compile_below(folder: Path, prefix: str) -> None:
    """Compile every module below a folder, into the ``__pycache__`` beside it.

    The running interpreter does it, anew.

    Parameters
    ----------
    folder : Path
    prefix : str
        Where the folder will be in the image, for tracebacks.

    Raises
    ------
    OSError
        If it can't be done; its text says why.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-S", "-s", "-P", __file__, str(folder), prefix],
        capture_output=True,
        text=True,
        # No other variable of ours may have a say; the order of a set of strings depends on this one.
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        check=False,
    )
    if done.returncode:
        raise OSError(f"the modules can't be compiled: {done.stderr.strip().rpartition(chr(10))[2]}")


def _compile(folder: str, prefix: str) -> None:
    for source in _modules(folder):
        try:
            py_compile.compile(
                source,
                dfile=prefix + source.removeprefix(folder),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError:
            continue  # a template, or for another version of Python: no service imports it


def _modules(folder: str) -> list[str]:
    return sorted(
        os.path.join(parent, file)  # noqa: PTH118 - pathlib would intern other strings than those compiled
        for parent, _, names in os.walk(folder)
        for file in names
        if file.endswith(".py")
    )


if __name__ == "__main__":
    _compile(*sys.argv[1:])
