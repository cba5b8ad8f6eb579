"""Images: from a package to a container image, in an engine or a registry, known by its digest.

An image runs with nothing to write to, no rights and no root::

    docker run --read-only --tmpfs /tmp --user 65532 --cap-drop ALL --security-opt no-new-privileges \
        --publish 5001:5001 <reference>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from utils import packaging
from utils.images import context, engines, registries
from utils.images.faults import ImageError
from utils.packaging import Package

__all__ = ["Image", "ImageError", "Layer", "build", "context", "engines", "pull"]


@dataclass(frozen=True)
class Layer:
    """A layer that an image has beside those of its base.

    Attributes
    ----------
    what : str
        "packages", "service" or "model".
    digest : str
        Of the layer as it is unpacked: "sha256:" and 64 hexadecimal digits.
    size : int
        Its files, in bytes.
    """

    what: str
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image that was built.

    Attributes
    ----------
    reference : str
        What to run: "repository@sha256:…" from a registry, or the image's id in the engine.
    digest : str
        The registry's digest of it, or without a registry the id: "sha256:" and 64 hexadecimal digits.
    size : int
        What it adds to its base: the files of its layers, in bytes.
    layers : list of Layer
        From the lowest, which changes seldom, to the highest, which is the model.
    engine : str
        Which engine built it: "docker", "podman" or "buildah".
    base_image : str
    """

    reference: str
    digest: str
    size: int
    layers: list[Layer]
    engine: str
    base_image: str


def build(
    package: Package,
    *,
    folder: Path,
    cache: Path,
    base_image: str = "",
    engine: str = engines.AUTO,
    registry: str = "",
) -> Image:
    """Build the image of a package, and push it if there is a registry.

    The same package gives the same layers by every engine; Podman, Buildah and Docker from 23 on also give
    the same image each time. When it failed, the same call goes on: what was built or pushed is there.

    Parameters
    ----------
    package : Package
        Verified again before.
    folder : Path
        Of the build context, such as ``runs/<run-id>/image``; replaced if it is there. It holds all that
        another builder needs.
    cache : Path
        Keeps the layers of packages, such as ``workspace/images/layers``.
    base_image : str
        Has the package's Python as ``python3``, and Debian 12's C library or a later one. The official slim
        image of that Python if empty.
    engine : str
        "docker", "podman", "buildah", or "auto" for the first that answers.
    registry : str
        With a path if need be, such as "127.0.0.1:5000/mlops" or "myregistry.azurecr.io/mlops". If empty,
        the image stays in the engine.

    Raises
    ------
    PackageError
        If the package isn't as its manifest says.
    ImageError
        If no engine answers, a Python package or the base image can't be had, the disk is full, or the
        registry doesn't answer or doesn't let us in.
    ValueError
        If there is no engine of that name, or the registry's address is none.
    """
    if registry and not _ADDRESS.fullmatch(registry):
        raise ValueError(f"{registry!r} is no registry's address: write it such as 127.0.0.1:5000/mlops.")
    packaging.verify(package.folder)
    builder = engines.find(engine)
    base = base_image or context.base_image(package.manifest)
    tars = context.write(package, folder, cache)
    name, tag = _name(package.manifest.name), package.digest[:12]
    image = engines.build(builder, folder, base, f"localhost/{name}:{tag}")
    digests = engines.layers(builder, image)[-len(tars) :]
    digest = reference = image
    if registry:
        repository = f"{registry.rstrip('/')}/{name}"
        digest = registries.push(builder, image, repository, tag)
        reference = f"{repository}@{digest}"
    return Image(
        reference=reference,
        digest=digest,
        size=sum(tar.size for tar in tars),
        layers=[Layer(tar.what, layer, tar.size) for tar, layer in zip(tars, digests, strict=True)],
        engine=builder.name,
        base_image=base,
    )


def pull(reference: str, *, engine: str = engines.AUTO) -> None:
    """Have an engine get an image from its registry.

    Parameters
    ----------
    reference : str
        "repository@sha256:…", as an image that was pushed has it.
    engine : str
        As for `build`.

    Raises
    ------
    ImageError
        If the registry doesn't have it, doesn't answer or doesn't let us in, or no engine answers.
    """
    registries.pull(engines.find(engine), reference)


# A host that has a dot or a port, as engines tell it from a path, and a path.
_ADDRESS = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+|[\w.-]+:\d+|\[[\da-f:]+\]:\d+)(:\d+)?(/[a-z0-9._-]+)*/?")


def _name(model: str) -> str:
    """Return a model's name as registries allow it: small letters and digits, with single separators."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
