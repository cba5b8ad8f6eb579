"""Homes in every state of the lifecycle, each made once, by the commands of the README, and copied.

The story goes: a first run waits at the gate and is released; the same again reuses its model, which is no
better; `alpha 0.5` is blocked at first, for too few rows, then waits and is released. A test that wants to
go on from somewhere copies the home as it was then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import yaml
from click.testing import CliRunner

from ci import runs
from ci.cli import main
from ci.kernels import Kernels
from ci.pipeline import Pipeline, default_file
from utils import platforms, project
from utils.platforms.protocol import Endpoint, ModelVersion, Platform

SCENARIO = "diabetes"

# A network of this process' own, in which there is loopback and nothing else; then the command.
ISOLATE = """
import fcntl, os, socket, struct, sys
with socket.socket() as anything:
    fcntl.ioctl(anything, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up and running
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Home:
    """A folder with runs/ and workspace/, and what a person at a terminal does with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = ""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let MLOPS_HOME name this home."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(project.HOME_VARIABLE, str(self.folder))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.delenv("CI", raising=False)
            yield

    def call(self, *words: str, code: int = 0) -> str:
        """Run a command as `python -m ci` would; its exit code has to be `code`. Return what it says."""
        with self.entered():
            result = CliRunner().invoke(main, list(words), catch_exceptions=False)
        assert result.exit_code == code, result.output
        self.output = result.output
        return result.output

    def copy(self, folder: Path) -> Home:
        """Copy all of it, as to another machine: its services don't run there."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.sock"))
        other = Home(folder)
        other.output = self.output
        return other

    def run(self, run_id: str) -> runs.Run:
        """Read the record of a run."""
        with self.entered():
            return runs.load(run_id)

    def states(self, run_id: str) -> dict[str, str]:
        """Return the state of each step of a run."""
        return {step.name: step.state for step in self.run(run_id).steps}

    def attempts(self, run_id: str) -> dict[str, int]:
        """Return how often each step of a run was tried."""
        return {step.name: step.attempts for step in self.run(run_id).steps}

    def file(self, run_id: str, *path: str) -> Path:
        """Return the path of a run's file."""
        return self.folder.joinpath("runs", run_id, *path)

    def edit(self, run_id: str, path: str, **changes: Any) -> None:
        """Change a JSON record of a run, as somebody with an editor could."""
        file = self.file(run_id, path)
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    @property
    def platform(self) -> Platform:
        """The platform whose workspace is here."""
        with self.entered():
            return platforms.get("local")

    def champion(self, scenario: str = SCENARIO) -> str | None:
        """Return the champion's version, or None."""
        found = self.platform.registry.champion(scenario)
        return found.version if found else None

    def newest(self, scenario: str = SCENARIO) -> ModelVersion | None:
        """Return the version that was registered last."""
        return self.platform.registry.newest(scenario)

    def trainings(self, scenario: str = SCENARIO) -> list[str]:
        """Return the ids of all trainings in the run history."""
        return sorted(path.name for path in (self.folder / "workspace" / "artifacts" / scenario).iterdir())

    def live(self, environment: str, scenario: str = SCENARIO) -> Endpoint | None:
        """Return what is live."""
        return self.platform.endpoints.find(scenario, environment)

    def services(self) -> list[psutil.Process]:
        """Return the processes of all services that run from here."""
        return _processes(self.folder / "workspace")

    def down(self) -> None:
        """Stop the services, as `ci down` does."""
        self.call("down")


@dataclass(frozen=True)
class Project:
    """A copy of parameters/ and notebooks/, in which a test changes what it likes."""

    folder: Path

    @property
    def file(self) -> Path:
        """Its pipeline.yml."""
        return self.folder / "parameters" / "pipeline.yml"

    def fix(self, step: str, **parameters: Any) -> None:
        """Let the pipeline give a parameter to one step alone."""
        content = yaml.safe_load(self.file.read_text())
        content["steps"][step]["parameters"] |= parameters
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))
        for path in self.file.parent.glob("*.yml"):  # what the pipeline fixes, no other file may give
            values = yaml.safe_load(path.read_text()) or {}
            if path != self.file and values.keys() & parameters.keys():
                kept = {name: value for name, value in values.items() if name not in parameters}
                path.write_text(yaml.safe_dump(kept, sort_keys=False))

    @contextmanager
    def cell(self, notebook: str, source: str, *, before: str = "") -> Iterator[None]:
        """Put a cell into a notebook for a while, before the cell that holds some text, or as its last."""
        path = self.folder / "notebooks" / f"{notebook}.ipynb"
        original = path.read_bytes()
        document = nbformat.read(path, as_version=4)
        code = [index for index, cell in enumerate(document.cells) if cell.cell_type == "code"]
        found = [index for index in code if before and before in document.cells[index].source]
        assert found or not before, f"{notebook} has no cell with {before!r}"
        place = found[0] if found else len(document.cells)
        document.cells.insert(place, nbformat.v4.new_code_cell(source))
        nbformat.write(document, path)
        try:
            yield
        finally:
            path.write_bytes(original)


def _processes(folder: Path) -> list[psutil.Process]:
    """Return every process that has a path below a folder in its command line, but for its own children."""
    found = {}
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if any(word.startswith(f"{folder}{os.sep}") for word in process.info["cmdline"] or ()):
            found[process.pid] = process
    return [process for process in found.values() if process.info["ppid"] not in found]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for all homes. In the end no process may run from it."""
    folder = tmp_path_factory.mktemp("homes").resolve()
    yield folder
    for path in sorted(folder.iterdir()):
        Home(path).down()
    assert _processes(folder) == []


@pytest.fixture(scope="session")
def begin(place: Path) -> Callable[[str], Home]:
    """A function that makes an empty home."""

    def make(name: str) -> Home:
        (place / name).mkdir()
        return Home(place / name)

    return make


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernels]:
    """Kernels that are kept ready for all runs: each would pay the same seconds of imports for its own."""
    with pytest.MonkeyPatch.context() as patch:
        # Whoever connects to MLflow first sets it; a kernel server is of no use after it has changed.
        patch.setenv("MLFLOW_LOGGING_LEVEL", os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"))
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        with Kernels(Pipeline(default_file()).preload, listen=True) as kept:
            kept.ready()
            yield kept
            children = psutil.Process().children(recursive=True)
        assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.fixture
def copied(place: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Home], Home]]:
    """A function that copies a home for this test; its services are stopped afterwards."""
    homes: list[Home] = []

    def copy(home: Home) -> Home:
        homes.append(home.copy(place / f"{request.node.name[:60]}-{len(homes)}".replace("/", "-")))
        return homes[-1]

    yield copy
    for home in homes:
        home.down()
        assert home.services() == []
        shutil.rmtree(home.folder)


@pytest.fixture(scope="session")
def alter() -> Callable[[Path], Project]:
    """A function that copies the project's notebooks and parameters into a folder."""

    def copy(folder: Path) -> Project:
        for name in ("parameters", "notebooks"):
            kept = shutil.ignore_patterns(".ipynb_checkpoints")
            shutil.copytree(project.root() / name, folder / name, ignore=kept)
        return Project(folder)

    return copy


@pytest.fixture
def altered(alter: Callable[[Path], Project], tmp_path: Path) -> Project:
    """A copy of the project's notebooks and parameters, for this test."""
    return alter(tmp_path / "altered")


@pytest.fixture(scope="session")
def isolation() -> list[str]:
    """What to put before the words of a Python command so that it has no network; [] where that can't be."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", ISOLATE]
    try:
        subprocess.run([*command, "-c", "pass"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return command


@pytest.fixture(scope="session")
def waiting(begin: Callable[[str], Home], isolation: list[str]) -> Home:
    """The run "first", at the gate: made in a process of its own, with no network where that can be had."""
    home = begin("waiting")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "MLFLOW_TRACKING_URI")
    }
    ended = subprocess.run(
        [*(isolation or [sys.executable]), "-m", "ci", "run", "--scenario", SCENARIO, "--run-id", "first"],
        cwd=project.root(),
        # With kernels of its own: those that are kept ready have the network of this process.
        env=environment | {project.HOME_VARIABLE: str(home.folder), "XDG_RUNTIME_DIR": str(home.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    home.output = ended.stdout
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return home


@pytest.fixture(scope="session")
def story(waiting: Home, place: Path) -> Iterator[Home]:
    """The home in which the story goes on, from fixture to fixture; its services run."""
    home = waiting.copy(place / "story")
    yield home
    home.down()


@pytest.fixture(scope="session")
def released(story: Home, place: Path) -> Home:
    """The run "first", released: its model is the champion, version 1."""
    story.call("approve", "--by", "Ada")
    return story.copy(place / "released")


@pytest.fixture(scope="session")
def again(story: Home, released: Home, place: Path) -> Home:
    """The run "again", which compared the same model with the champion that it had become."""
    story.call("run", "--run-id", "again")
    return story.copy(place / "again")


@pytest.fixture(scope="session")
def blocked(story: Home, again: Home, place: Path) -> Home:
    """The run "better", trained with `alpha 0.5`, whose evaluation was blocked: more rows were asked for."""
    story.call("run", "--run-id", "better", "-p", "alpha", "0.5", "-p", "minimum_rows", "100000", code=1)
    return story.copy(place / "blocked")


@pytest.fixture(scope="session")
def better(story: Home, blocked: Home, place: Path) -> Home:
    """The run "better", resumed with fewer rows to be asked for, at the gate."""
    story.call("resume", "better", "-p", "minimum_rows", "30")
    return story.copy(place / "better")


@pytest.fixture(scope="session")
def promoted(story: Home, better: Home, place: Path) -> Home:
    """The run "better", released: its model is the champion, version 2."""
    story.call("approve", "--by", "Ada")
    return story.copy(place / "promoted")


@pytest.fixture(scope="session")
def ask() -> Any:
    """A function that posts a package's golden rows to a home's service, and says whether they're right."""

    def post(home: Home, endpoint: Endpoint, package: Path) -> bool:
        key = home.platform.endpoints.keys(endpoint.service, endpoint.environment)[0]
        golden: Mapping[str, Sequence[Any]] = json.loads((package / "golden.json").read_text())
        request = urllib.request.Request(
            f"{endpoint.url}/score",
            json.dumps({"data": golden["data"]}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.loads(response.read())
        return bool(answer["result"] == pytest.approx(golden["expected"]))

    return post
