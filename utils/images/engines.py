"""Container engines: Docker, Podman or Buildah, whichever is there and answers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.images import faults
from utils.images.faults import ImageError

NAMES = ("docker", "podman", "buildah")
AUTO = "auto"

# An engine that is there answers in milliseconds; one that starts at the first question takes some seconds.
ANSWER_SECONDS = 20.0
BUILD_SECONDS = 1_800.0


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Attributes
    ----------
    name : str
        "docker", "podman" or "buildah".
    command : str
        The program, with its folder: several of the same name may be on the search path.
    """

    name: str
    command: str

    def run(
        self,
        *words: str,
        seconds: float = ANSWER_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its commands to the end, whatever the end is.

        Parameters
        ----------
        *words : str
            The command, such as "image", "inspect", "sha256:…".
        seconds : float
            It is ended after these.
        environment : mapping
            Variables beside ours.

        Raises
        ------
        ImageError
            If it doesn't end in time, or can't be started.
        """
        try:
            return subprocess.run(
                [self.command, *words],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ImageError(
                f"{self.name} {words[0]} has not ended after {seconds:g} seconds: see whether the engine is "
                "well, then run this again."
            ) from None
        except OSError as error:
            raise ImageError(f"{self.command} can't be started: {error}") from error


# ------------------------------------------------------------------ which one


def find(name: str = AUTO) -> Engine:
    """Find an engine that answers and can build.

    Parameters
    ----------
    name : str
        "docker", "podman" or "buildah", or "auto" for the first of them.

    Raises
    ------
    ImageError
        If none does; it tells what each of those that are there answered.
    ValueError
        If there is no engine of this name.
    """
    if name not in (AUTO, *NAMES):
        raise ValueError(f"There is no engine {name!r}: name one of {', '.join((AUTO, *NAMES))}.")
    answers = []
    for wanted in NAMES if name == AUTO else (name,):
        for command in _on_path(wanted):
            engine = Engine(wanted, command)
            if (fault := _fault(engine)) is None:
                return engine
            answers.append(f"    {command}: {fault}")
    which = "Docker, Podman or Buildah" if name == AUTO else name
    if not answers:
        raise ImageError(f"There is no container engine: install {which}, or go on without an image.")
    tried = "\n".join(answers)
    raise ImageError(f"No container engine answers: start {which}. These were asked:\n{tried}")


def _on_path(name: str) -> Iterator[str]:
    """Yield all programs of a name: a client that has no engine may stand before one that has."""
    seen = set()
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder) / name
        if folder and os.access(path, os.X_OK) and path.is_file() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield str(path)


def _fault(engine: Engine) -> str | None:
    """Return why an engine can't build images, or None if it can."""
    questions: list[tuple[str, ...]] = [("info",)]
    if engine.name == "docker":
        # Its client alone answers many questions; and only BuildKit makes layers that others make too.
        questions = [("version", "--format", "{{.Server.Version}}"), ("build", "--help")]
    for words in questions:
        try:
            done = engine.run(*words, environment={"DOCKER_BUILDKIT": "1"})
        except ImageError as error:
            return str(error)
        if done.returncode:
            return (done.stderr.strip() or "it doesn't answer").splitlines()[0]
    return None


def failure(engine: Engine, done: subprocess.CompletedProcess[str], doing: str, **words: str) -> ImageError:
    """Make an error of a command that failed.

    Parameters
    ----------
    engine : Engine
        Asked whether it is still there: a client that loses its engine says this or that.
    done : CompletedProcess
        The command.
    doing : str
        What was tried, such as "build the image".
    **words
        As for `faults.explain`.
    """
    output = done.stdout + done.stderr
    if (fault := _fault(engine)) is not None:
        output = f"{output}\n{fault}"
    return faults.explain(output, doing, engine=engine.name, **words)


# ------------------------------------------------------------------ building


def build(engine: Engine, context: Path, base_image: str, tag: str) -> str:
    """Build an image.

    Parameters
    ----------
    context : Path
        Holds the Dockerfile and the layers.
    base_image : str
        Pulled if the engine hasn't got it.
    tag : str
        What the engine calls the image, so that it keeps it.

    Returns
    -------
    str
        The image's id: "sha256:" and 64 hexadecimal digits.

    Raises
    ------
    ImageError
        If the base image can't be had, the disk is full, the engine ends, or doesn't let us in.
    """
    with tempfile.TemporaryDirectory(prefix="image.") as aside:
        answer = Path(aside) / "id"
        done = engine.run(
            "build",
            *_options(engine),
            *(
                "--build-arg",
                f"BASE_IMAGE={base_image}",
                "--tag",
                tag,
                "--iidfile",
                str(answer),
                str(context),
            ),
            seconds=BUILD_SECONDS,
            environment={"DOCKER_BUILDKIT": "1"},
        )
        if done.returncode or not answer.exists():
            raise failure(engine, done, "build the image", base=base_image)
        return answer.read_text(encoding="utf-8").strip()


def _options(engine: Engine) -> Sequence[str]:
    """Return what makes a builder leave out the time of building, where it can."""
    if engine.name == "docker":
        # BuildKit knows this name since 0.11 (Docker 23); an older one takes no notice.
        return ("--progress", "plain", "--build-arg", "SOURCE_DATE_EPOCH=0")
    # OCI's own format has no health check.
    return ("--format", "docker", "--layers", "--timestamp", "0", "--identity-label=false")


def layers(engine: Engine, image: str) -> list[str]:
    """Return the digests of an image's layers, as they are unpacked, from the lowest to the highest.

    Raises
    ------
    ImageError
        If the engine has no such image.
    """
    words = ["inspect", "--type", "image", image] if engine.name == "buildah" else ["image", "inspect", image]
    done = engine.run(*words)
    if done.returncode:
        raise failure(engine, done, f"find the image {image}")
    told = json.loads(done.stdout)
    if isinstance(told, list):
        return list(told[0]["RootFS"]["Layers"])
    return list(told["Docker"]["rootfs"]["diff_ids"])
