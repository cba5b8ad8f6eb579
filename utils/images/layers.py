"""The layers of an image, as tars that are the same bytes whenever they are made of the same things.

In them, everything is as old as the epoch, may be read by all, and belongs to nobody who runs anything; the
entries are sorted. An engine takes them in by `ADD`, which keeps all of this.
"""

from __future__ import annotations

import hashlib
import io
import platform
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import filelock

from utils import files
from utils.images import bytecode, faults, pruning
from utils.images.faults import ImageError

PACKAGES = "/packages"
SERVICE = "/service"

# Not root, and not the user that the service runs as, who would be allowed to change its files. Docker would
# write root's name beside its number, which Podman and Buildah don't: this number has no name anywhere.
OWNER = 65531

# The oldest C library that images are built for: that of Debian 12, Ubuntu 22.04 and all since.
LIBC = "manylinux_2_34"
# Whose code decides what is in the layer of packages, beside this module's.
_TOOLS = (str(bytecode.__file__), str(pruning.__file__))
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Tar:
    """A layer that is to be.

    Attributes
    ----------
    what : str
        "packages", "service" or "model".
    path : Path
        The tar.
    size : int
        What it adds to an image: all of its files, in bytes.
    """

    what: str
    path: Path
    size: int


# ------------------------------------------------------------------ what changes seldom: the packages


def packages(requirements: Path, python: str, cache: Path) -> Tar:
    """Install what a service imports, and keep it as a tar, for all images with the same requirements.

    Parameters
    ----------
    requirements : Path
        The requirements.txt of a package: all that shall be installed, pinned.
    python : str
        The image's Python, such as "3.11". If it is this one too, the modules are compiled.
    cache : Path
        Keeps the tars.

    Returns
    -------
    Tar
        In `cache`; not to be changed.

    Raises
    ------
    ImageError
        If a package can't be had, or the disk is full.
    """
    target = _platform()
    lines = requirements.read_text(encoding="utf-8")
    # Two patch releases of Python may compile a module to different code that both can run.
    compiler = sys.version if python == _python() else "none"
    tools = [Path(module).read_text(encoding="utf-8") for module in (__file__, *_TOOLS)]
    parts = [lines, python, target, compiler, *tools]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / ".lock"):
            path = _cached(cache, key)
            if path is None:
                path = _install(requirements, python, target, cache, key)
    except OSError as error:
        raise faults.full(error, str(cache)) or ImageError(
            f"The packages of the image can't be laid into {cache}: {error}"
        ) from error
    return Tar("packages", path, _size(path))


def _cached(cache: Path, key: str) -> Path | None:
    """Return the tar of these inputs, if there is one whose bytes are still those that were written."""
    for path in cache.glob(f"{key}-*.tar"):
        if files.sha256(path) == path.stem.rpartition("-")[2]:
            return path
        path.unlink()
    return None


def _install(requirements: Path, python: str, target: str, cache: Path, key: str) -> Path:
    with tempfile.TemporaryDirectory(dir=cache, prefix=".layer.") as aside:
        folder = Path(aside) / "packages"
        _uv(requirements, python, target, folder)
        if python == _python():
            bytecode.compile_below(folder, PACKAGES)
        kept = (path for path in folder.rglob("*") if pruning.keeps(path.relative_to(folder).as_posix()))
        made = _write(
            Path(aside) / "layer.tar",
            ((f"{PACKAGES}/{path.relative_to(folder).as_posix()}", path) for path in kept if path.is_file()),
        )
        return made.rename(cache / f"{key}-{files.sha256(made)}.tar")


def _uv(requirements: Path, python: str, target: str, folder: Path) -> None:
    """Install by uv: at first from what it has downloaded before, else from the package index."""
    import uv

    command = [
        *(uv.find_uv_bin(), "pip", "install", "--quiet", "--system-certs", "--python", sys.executable),
        *("--target", str(folder), "--python-version", python, "--python-platform", target),
        *("--only-binary", ":all:", "--no-deps", "--requirement", str(requirements)),
    ]
    # pip wants hashes for all or none, and so the package step writes them.
    if "--hash=" in requirements.read_text(encoding="utf-8"):
        command.append("--require-hashes")
    for how in (["--offline"], []):
        done = subprocess.run([*command, *how], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    raise faults.explain(
        done.stderr, "install the packages", engine="uv", where=f" where {folder.parent.parent} is"
    )


def _platform() -> str:
    """Name Linux on this machine's processor as uv does: images are run on the same kind."""
    architecture = _ARCHITECTURES.get(platform.machine().lower())
    if architecture is None:
        raise ImageError(
            f"There are no packages for the processor {platform.machine()}: use another machine."
        )
    return f"{architecture}-{LIBC}"


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


# ------------------------------------------------------------------ what changes with code and model


def service(package: Path, destination: Path) -> Tar:
    """Write a package's code as a layer: all of its Python files."""
    return Tar("service", destination, _size(_write(destination, _below(package, code=True))))


def model(package: Path, destination: Path) -> Tar:
    """Write all else in a package as a layer: the model, its schema, manifest and signature."""
    return Tar("model", destination, _size(_write(destination, _below(package, code=False))))


def _below(package: Path, *, code: bool) -> Iterator[tuple[str, Path]]:
    for path in package.rglob("*"):
        if path.is_file() and (path.suffix == ".py") == code:
            yield f"{SERVICE}/{path.relative_to(package).as_posix()}", path


# ------------------------------------------------------------------ tars


def _write(tar: Path, entries: Iterable[tuple[str, Path]]) -> Path:
    """Write files into a tar under absolute names, with the folders that they are in."""
    found = dict(entries)
    folders = {parent.as_posix() for name in found for parent in PurePosixPath(name).parents} - {"/"}
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted({*found, *folders}):
            # tar's names are relative to where it is unpacked.
            entry = tarfile.TarInfo(name.removeprefix("/"))
            entry.uid = entry.gid = OWNER
            if name in found:
                content = found[name].read_bytes()
                runs = bool(found[name].stat().st_mode & stat.S_IXUSR)
                entry.size, entry.mode = len(content), 0o755 if runs else 0o644
                archive.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
    return tar


def _size(tar: Path) -> int:
    with tarfile.open(tar) as archive:
        return sum(entry.size for entry in archive if entry.isreg())
