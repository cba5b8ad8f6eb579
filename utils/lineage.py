"""Where a model comes from: run, code, data and packages."""

from __future__ import annotations

from pathlib import Path

from utils import project
from utils.data import Snapshot


def of(run_folder: Path, snapshot: Snapshot) -> dict[str, str]:
    """Return what made a model, as tags for the run history and the registry.

    Parameters
    ----------
    run_folder : Path
        Whose name is the run's id, or that of a trial in it.
    snapshot : Snapshot
        The data that the model is trained and judged on.

    Returns
    -------
    dict of str
        run, commit (40 hexadecimal digits or "unknown"), dirty ("yes" or
        "no"), data, fingerprint and lock (SHA-256, 64 hexadecimal digits, or "none").
    """
    revision = project.revision()
    return {
        "run": project.run_name(run_folder),
        "commit": revision.commit,
        "dirty": "yes" if revision.dirty else "no",
        "data": snapshot.source,
        "fingerprint": snapshot.fingerprint,
        "lock": project.lock_digest(),
    }
