"""A trial's folder: what it has of the run's, and how what the best one has left becomes the run's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ci.sweeps.trials import RECORD

# What a trial's notebook finds in its folder as in the run's own: the data that setup has kept.
SHARED = ("data",)
NOTEBOOKS = "notebooks"


def share(run: Path, trial: Path) -> None:
    """Give a trial the run's data: by hard links, since a thousand copies may be more than the disk holds."""
    for name in SHARED:
        if (run / name).is_dir():
            shutil.copytree(run / name, trial / name, copy_function=_link)


def adopt(trial: Path, run: Path, executed: Path, notebook: Path) -> None:
    """Copy what a trial has left into the run's folder, in the place of what is there of the same name.

    Parameters
    ----------
    executed, notebook : Path
        The trial's executed notebook, and where the run has its own.
    """
    for entry in sorted(trial.iterdir()):
        if entry.name not in (*SHARED, RECORD, NOTEBOOKS):
            _replace(entry, run / entry.name)
    _replace(executed, notebook)


def _link(source: str, destination: str) -> str:
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, destination)
    return destination


def _replace(source: Path, destination: Path) -> None:
    aside = destination.with_name(f".{destination.name}.part")
    _remove(aside)
    if source.is_dir():
        shutil.copytree(source, aside)
        _remove(destination)
    else:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, aside)
    aside.replace(destination)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
