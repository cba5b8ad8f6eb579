"""Images made of Debian's packages: no hub can be reached where the tests run."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from utils.images.engines import Engine

# Filled by `make engine-base`.
DOWNLOADED = Path(__file__).parents[2] / ".engine"

# Not needed to run anything, and half of all files.
_LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/")


def missing(image: str) -> list[str]:
    """Return the packages of an image that haven't been downloaded."""
    return [name for name in _packages(image) if not list(DOWNLOADED.glob(f"{name}_*.deb"))]


def tar(image: str, cache: Path) -> Path:
    """Unpack the packages of an image into one sorted tar, once.

    Parameters
    ----------
    image : str
        "python" or "haproxy": ``<image>.packages`` beside this file names its packages.
    cache : Path
        Keeps the tar.
    """
    made = cache / f"{image}.tar"
    if made.exists():
        return made
    with tempfile.TemporaryDirectory(dir=cache) as aside:
        root = Path(aside) / "root"
        for name in _packages(image):
            package = max(DOWNLOADED.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
            subprocess.run(["dpkg", "--extract", str(package), str(root)], check=True)
        for folder in ("tmp", "etc", "proc", "sys", "dev", "run"):
            (root / folder).mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\n")
        with tarfile.open(Path(aside) / "image.tar", "w") as archive:
            for path in sorted(root.rglob("*")):
                name = path.relative_to(root).as_posix()
                if not f"{name}/".startswith(_LEFT_OUT):
                    archive.add(path, name, recursive=False, filter=_normalised)
        (Path(aside) / "image.tar").rename(made)
    return made


def _packages(image: str) -> list[str]:
    return (Path(__file__).parent / f"{image}.packages").read_text(encoding="utf-8").split()


def _normalised(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def load(engine: Engine, tar: Path, tag: str, *entrypoint: str) -> str:
    """Import a tar as an image, unless the engine has it.

    Returns
    -------
    str
        `tag`.
    """
    if engine.run("image", "inspect", tag).returncode:
        change = ["--change", f"ENTRYPOINT {json.dumps(list(entrypoint))}"] if entrypoint else []
        done = engine.run("import", *change, str(tar), tag, seconds=120)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return tag
