"""The container engine as the targets use it: commands whose failures are told as what they are."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from utils.images import engines, faults
from utils.images.engines import Engine
from utils.images.faults import ImageError
from utils.platforms.protocol import PlatformError

LOG_LINES = 15
COMMAND_SECONDS = 60.0
PULL_SECONDS = 900.0

_MISSING = re.compile(r"no such (container|object|network|image)|no container with|not known|not found", re.I)


@functools.cache
def find(name: str) -> Engine:
    """Find the engine that runs containers; it is looked for once.

    Raises
    ------
    PlatformError
        If none answers, or the one that does can only build.
    """
    try:
        engine = engines.find(name)
    except ImageError as error:
        raise PlatformError(str(error)) from error
    if engine.name == "buildah":
        raise PlatformError(
            "Buildah builds images but runs no containers: start Docker or Podman, or name it."
        )
    return engine


def do(engine: Engine, doing: str, *words: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run a command of the engine.

    Parameters
    ----------
    engine : Engine
    doing : str
        What for, such as "start the router"; told when it fails.
    *words : str
        The command.

    Returns
    -------
    str
        What it printed, without the blanks at its end.

    Raises
    ------
    PlatformError
        If the engine is gone, doesn't end in time or refuses.
    """
    try:
        done = engine.run(*words, seconds=seconds)
    except ImageError as error:
        raise PlatformError(str(error)) from error
    if done.returncode:
        raise PlatformError(str(faults.explain(done.stderr or done.stdout, doing, engine=engine.name)))
    return done.stdout.strip()


def attempt(engine: Engine, doing: str, *words: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run a command as `do` does; that a container or network isn't there is no error here."""
    try:
        return do(engine, doing, *words, seconds=seconds)
    except PlatformError as error:
        if _MISSING.search(str(error)):
            return ""
        raise


def inspect(engine: Engine, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what the engine knows of containers, by name; those that aren't there are left out.

    Raises
    ------
    PlatformError
        If the engine is gone.
    """
    if not names:
        return {}
    try:
        done = engine.run("container", "inspect", *names, seconds=COMMAND_SECONDS)
    except ImageError as error:
        raise PlatformError(str(error)) from error
    if done.returncode and not _MISSING.search(done.stderr):
        raise PlatformError(str(faults.explain(done.stderr, "inspect its containers", engine=engine.name)))
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return {each["Name"].removeprefix("/"): each for each in found}


def labelled(engine: Engine, labels: Mapping[str, str]) -> list[str]:
    """Return the names of all containers with these labels, whether or not they run."""
    filters = [word for name, value in labels.items() for word in ("--filter", f"label={name}={value}")]
    listed = do(engine, "list its containers", "ps", "--all", *filters, "--format", "{{.Names}}")
    return sorted(listed.split())


def remove(engine: Engine, names: Sequence[str], seconds: int) -> None:
    """Stop containers, each politely for some seconds and then by force, and delete them."""
    if not names:
        return
    limit = seconds + COMMAND_SECONDS
    attempt(engine, "stop its containers", "stop", "--time", str(seconds), *names, seconds=limit)
    attempt(engine, "delete its containers", "rm", "--force", "--volumes", *names)


def available(engine: Engine, image: str) -> None:
    """See that the engine has an image; one that a registry has is pulled.

    Raises
    ------
    PlatformError
        If it can't be had.
    """
    try:
        if engine.run("image", "inspect", image).returncode == 0:
            return
    except ImageError as error:
        raise PlatformError(str(error)) from error
    do(engine, "answer", "version")
    if image.startswith("sha256:") or "/" not in image:
        raise PlatformError(
            f"{engine.name} has no image {image}: run the package step again, which builds it."
        )
    try:
        do(engine, f"pull {image}", "pull", image, seconds=PULL_SECONDS)
    except PlatformError as error:
        raise PlatformError(
            f"The image {image} is not in the engine and can't be pulled: build it again, or see that its "
            f"registry can be reached.\n{error}"
        ) from error


def logging(engine: Engine) -> tuple[str, ...]:
    """Return the options by which a container's log doesn't fill the disk."""
    if engine.name == "docker":
        return ("--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3")
    return ("--log-opt", "max-size=10m")


def answer(engine: Engine, *words: str, seconds: float = COMMAND_SECONDS) -> str:
    """Return what a command printed, or "" if it has failed.

    Raises
    ------
    PlatformError
        If the engine can't be asked at all.
    """
    try:
        done = engine.run(*words, seconds=seconds)
    except ImageError as error:
        raise PlatformError(str(error)) from error
    return done.stdout if done.returncode == 0 else ""


def ending(engine: Engine, name: str) -> str:
    """Return the last lines of a container's log."""
    try:
        done = engine.run("logs", "--tail", str(LOG_LINES), name, seconds=COMMAND_SECONDS)
    except ImageError as error:
        return f"(no log: {error})"
    return (done.stdout + done.stderr).strip() or "(nothing)"


def cause(told: Mapping[str, Any]) -> str:
    """Say in words how a container has ended, after what `inspect` told of it."""
    state = told["State"]
    if state.get("OOMKilled"):
        memory = int(told["HostConfig"].get("Memory") or 0) // 2**20
        return f"was killed because it needed more than its {memory} MB of memory: raise serving.memory"
    if state.get("Error"):
        return f"could not be started: {state['Error']}"
    if state["ExitCode"] == 137:
        return "was killed from outside (exit code 137)"
    return f"ended with exit code {state['ExitCode']}"
