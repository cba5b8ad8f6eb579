"""Registries: an image is pushed once, and known by its digest from then on.

Who may push is the engine's business: its own login is used, and no password passes through here.
"""

from __future__ import annotations

import ipaddress
import json
import tempfile
from pathlib import Path

from utils.images import engines
from utils.images.engines import Engine
from utils.images.faults import ImageError

PUSH_SECONDS = 1_800.0


def push(engine: Engine, image: str, repository: str, tag: str) -> str:
    """Push an image.

    If the registry goes away for a moment, the engine tries several times by itself: Podman and Buildah for
    some seconds, Docker for up to a minute. What the registry has already is never sent again, in none of
    these tries nor in a later push.

    Parameters
    ----------
    image : str
        Its id.
    repository : str
        Such as "myregistry.azurecr.io/mlops/diabetes".
    tag : str
        So that the registry's own cleaning doesn't take it for left over.

    Returns
    -------
    str
        The digest of its manifest in the registry: "sha256:" and 64 hexadecimal digits.

    Raises
    ------
    ImageError
        If the registry doesn't answer, doesn't let us in, or has no room.
    """
    name = f"{repository}:{tag}"
    if engine.name == "docker":
        _do(engine, repository, "tag", image, name)
        _do(engine, repository, "push", name)
        return _known(engine, image, repository)
    with tempfile.TemporaryDirectory(prefix="image.") as aside:
        answer = Path(aside) / "digest"
        _do(
            *(engine, repository, "push", "--digestfile", str(answer), "--format", "v2s2"),
            *(*_secure(repository), image, f"docker://{name}"),
        )
        return answer.read_text(encoding="utf-8").strip()


def _known(engine: Engine, image: str, repository: str) -> str:
    """Ask Docker by which digest it has pushed an image."""
    done = _do(engine, repository, "image", "inspect", "--format", "{{json .RepoDigests}}", image)
    for known in json.loads(done) or []:
        name, _, digest = known.partition("@")
        if name == repository:
            return str(digest)
    raise ImageError(f"{engine.name} does not say by which digest {repository} has the image: push it again.")


def pull(engine: Engine, reference: str) -> None:
    """Have the engine get an image, by its digest.

    Parameters
    ----------
    reference : str
        "repository@sha256:…".

    Raises
    ------
    ImageError
        If the registry doesn't have it, doesn't answer or doesn't let us in.
    """
    repository = reference.partition("@")[0]
    _do(engine, repository, "pull", *_secure(repository, engine), reference)


def _secure(repository: str, engine: Engine | None = None) -> list[str]:
    """Let Podman and Buildah do as Docker does: on this machine itself, a registry needs no certificate."""
    if engine is not None and engine.name == "docker":
        return []
    host = repository.partition("/")[0].rpartition(":")[0].strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return ["--tls-verify=false"] if local else []


def _do(engine: Engine, repository: str, *words: str) -> str:
    done = engine.run(*words, seconds=PUSH_SECONDS)
    if done.returncode:
        registry = repository.partition("/")[0]
        raise engines.failure(engine, done, f"{words[0]} the image", registry=registry)
    return done.stdout
