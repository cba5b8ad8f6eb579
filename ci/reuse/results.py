"""What a step has made in its run's folder: found, verified, and copied into another run's."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from ci.reuse import digests
from utils import files

Files = dict[str, digests.Stamp]

# In a run's folder, but of the run as a whole.
_OF_THE_RUN = ("run.json", ".lock", "approval.json", "index.html", "junit.xml", "kernels.log", "summary.md")
_ASIDE = ".reuse-"
# Where what a platform's compute has made is brought to.
FETCHED = ".fetched"
_NAMED_AT_MOST = 3


class DamageError(RuntimeError):
    """A result isn't what it was when it was made; the message names the files."""


def scan(folder: Path) -> Files:
    """Return the stamps of all files that a step could have made, by their paths in a run's folder."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: digests.stamp(path) for name, path in sorted(found.items()) if _counts(name)}


def made(folder: Path, step: str, before: Files, others: Iterable[str]) -> dict[str, str]:
    """Digest what a step has made.

    Parameters
    ----------
    folder : Path
        Of the run.
    step : str
        Its name; the executed notebook is one of the files.
    before : dict
        What `scan` found before it ran.
    others : iterable of str
        What is not this step's, as long as it has not changed: what the run's other steps have made. What is
        nobody's was left by an earlier attempt of this step, which may have gone on from there.

    Returns
    -------
    dict
        The SHA-256 of each file by its path.
    """
    owned = {name for name in others if name != notebook(step)}
    after = scan(folder)
    return {
        name: digests.of(folder / name)
        for name, stamp in after.items()
        if name == notebook(step)
        or (not name.startswith("notebooks/") and (before.get(name) != stamp or name not in owned))
    }


def notebook(step: str) -> str:
    """Return where a step's executed notebook is."""
    return f"notebooks/{step}.ipynb"


def page(step: str) -> str:
    """Return where the page of a step's notebook is."""
    return f"notebooks/{step}.html"


def of_the_run(name: str) -> bool:
    """Whether a path in a run's folder is of the run as a whole, rather than made by a step."""
    return name in _OF_THE_RUN


def fit(name: str) -> bool:
    """Whether a path is one that a step could have made, and doesn't lead out of the run's folder."""
    return _counts(name) and _inside(name)


def copy(origin: Path, destination: Path, step: str, expected: Mapping[str, str]) -> None:
    """Copy what a step has made into another run's folder: all of it, as it was made, or nothing.

    Parameters
    ----------
    origin, destination : Path
        The two runs' folders.
    step : str
        Its name.
    expected : mapping
        The SHA-256 of each file by its path.

    Raises
    ------
    DamageError
        If a file is missing, or isn't what it was.
    OSError
        If it can't be written.
    """
    aside = destination / f"{_ASIDE}{step}"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    placed: list[Path] = []
    try:
        _stage(origin, aside, step, expected)
        for number, name in enumerate(expected):
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            placed.append(target)
            (aside / str(number)).replace(target)
    except BaseException:
        for target in placed:
            target.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _stage(origin: Path, aside: Path, step: str, expected: Mapping[str, str]) -> None:
    damaged = [] if notebook(step) in expected else [notebook(step)]
    for number, (name, digest) in enumerate(expected.items()):
        # A record that somebody has edited must not lead out of the folder, nor bring an approval along.
        if not fit(name):
            damaged.append(name)
            continue
        try:
            if digests.of(files.copy(origin / name, aside / str(number))) != digest:
                damaged.append(name)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            damaged.append(name)
    if damaged:
        more = len(damaged) - _NAMED_AT_MOST
        raise DamageError(", ".join(damaged[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else ""))


def _counts(name: str) -> bool:
    last = name.rpartition("/")[2]
    return (
        name not in _OF_THE_RUN
        and not name.startswith((_ASIDE, f"{FETCHED}/", "trials/"))
        and not (last.startswith(".") and last.endswith(".part"))  # utils.files writes aside
        and not (name.startswith("notebooks/") and name.endswith(".html"))
    )


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and str(path) == name
