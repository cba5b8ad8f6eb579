"""The build context of an image: a Dockerfile and the layers that it takes in, and nothing else.

No step of it runs a command or needs a network, so that any builder makes the same layers of it: Docker,
Podman, Buildah, and Azure Machine Learning, whose environments take such a folder as they are
(``Environment(build=BuildContext(path=folder))``, or ``az acr build folder``).

References
----------
Open Container Initiative, "Annotations", https://specs.opencontainers.org/image-spec/annotations/
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from string import Template

from utils import files
from utils.images import faults, layers
from utils.images.faults import ImageError
from utils.packaging import Manifest, Package

PORT = 5001
USER = 65532  # "nonroot" where images have such a user; it needs no entry in /etc/passwd

# What begins the names of those labels that no standard knows.
LABELS = "mlops-notebooks"

# Asked by a bare socket: a healthy answer is looked for often, and importing an HTTP client takes longer
# than all the rest.
_HEALTHY = (
    f"import socket; s = socket.create_connection(('127.0.0.1', {PORT}), 3); "
    "s.sendall(b'GET /health/live HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in s.recv(64))"
)

_DOCKERFILE = Template("""\
# Written by the package step: see its notebook. Nothing in it depends on when or where it is built.
ARG BASE_IMAGE=$base
FROM $${BASE_IMAGE}

# From what changes seldom to what changes with each model.
$adds

# -I would hide the packages' folder from Python; -s and -P leave out the rest that could get between.
ENV PYTHONPATH=$packages PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER $user:$user
EXPOSE $port
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \\
    CMD ["python3", "-I", "-S", "-c", "$healthy"]
ENTRYPOINT ["python3", "-s", "-P", "-B", "$service/serve.py", "--host", "0.0.0.0", "--port", "$port"]
LABEL $labels
""")


def base_image(manifest: Manifest) -> str:
    """Name the image to build on where nobody names another: the official slim Python."""
    return f"docker.io/library/python:{manifest.python}-slim-bookworm"


def write(package: Package, folder: Path, cache: Path) -> list[layers.Tar]:
    """Write the build context of a package's image. A folder that was there is replaced.

    Parameters
    ----------
    package : Package
    folder : Path
        Such as ``runs/<run-id>/image``.
    cache : Path
        Keeps the layers of packages, for all images with the same requirements.

    Returns
    -------
    list of Tar
        The layers, in `folder`, from the lowest to the highest.

    Raises
    ------
    ImageError
        If a package can't be had, or the disk is full. `folder` is as it was then.
    """
    libraries = layers.packages(package.folder / "requirements.txt", package.manifest.python, cache)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
            made = Path(aside) / "context"
            made.mkdir()
            _share(libraries.path, made / "packages.tar")
            tars = [
                layers.Tar("packages", made / "packages.tar", libraries.size),
                layers.service(package.folder, made / "service.tar"),
                layers.model(package.folder, made / "model.tar"),
            ]
            files.write_text(made / "Dockerfile", dockerfile(package, [tar.what for tar in tars]))
            if folder.exists():
                folder.rename(Path(aside) / "replaced")
            made.rename(folder)
    except OSError as error:
        raise faults.full(error, str(folder.parent)) or ImageError(
            f"The build context {folder} can't be written: {error}"
        ) from error
    return [layers.Tar(tar.what, folder / tar.path.name, tar.size) for tar in tars]


def _share(origin: Path, target: Path) -> None:
    """Give a file that is never changed a second name, or copy it to another disk."""
    try:
        os.link(origin, target)
    except OSError:
        shutil.copyfile(origin, target)


def dockerfile(package: Package, tars: list[str]) -> str:
    """Return the Dockerfile of a package's image.

    Parameters
    ----------
    package : Package
    tars : list of str
        Its layers, from the lowest to the highest: "packages" is the tar packages.tar.
    """
    return _DOCKERFILE.substitute(
        base=base_image(package.manifest),
        adds="\n".join(f"ADD {what}.tar /" for what in tars),
        packages=layers.PACKAGES,
        service=layers.SERVICE,
        user=USER,
        port=PORT,
        healthy=_HEALTHY.replace("\\", "\\\\"),
        labels=" \\\n    ".join(f"{name}={_quoted(value)}" for name, value in labels(package).items()),
    )


def labels(package: Package) -> dict[str, str]:
    """Return what an image says of itself: nothing that differs from one build to the next."""
    manifest, lineage = package.manifest, package.manifest.lineage
    return {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": manifest.version,
        "org.opencontainers.image.revision": lineage.get("commit", "unknown"),
        f"{LABELS}.run": lineage.get("run", "unknown"),
        f"{LABELS}.data-fingerprint": lineage.get("fingerprint", "unknown"),
        f"{LABELS}.model-version": manifest.version,
        f"{LABELS}.package-digest": package.digest,
    }


def _quoted(value: str) -> str:
    """Quote a value for a Dockerfile, where some characters end a string or begin a variable."""
    escaped = "".join(f"\\{letter}" if letter in '\\"$' else letter for letter in value)
    return '"' + "".join(letter if letter.isprintable() else " " for letter in escaped) + '"'
