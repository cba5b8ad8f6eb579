"""A copy of the project that has one platform more, `elsewhere`, whose compute runs steps as processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from ci.runs import Run
from utils import files, project


class Away:
    """What a person at a terminal does in such a copy.

    Parameters
    ----------
    folder : Path
        For the copy; what is there already stays.
    home : Path
        For runs/.
    service : Path
        The folder that stands for the platform's service.
    parts : sequence of str
        The folders that are copied.
    """

    def __init__(
        self, folder: Path, home: Path, service: Path, parts: Sequence[str] = ("ci", "utils")
    ) -> None:
        self.folder, self.home, self.service = folder, home, service
        service.mkdir()
        for name in parts:
            kept = shutil.ignore_patterns(".ipynb_checkpoints")
            shutil.copytree(project.root() / name, folder / name, ignore=kept)
        platforms = folder / "utils" / "platforms"
        shutil.copytree(Path(__file__).parent / "elsewhere", platforms / "elsewhere")
        with (platforms / "__init__.py").open("a") as module:
            module.write('\nNAMES = (*NAMES, "elsewhere")\n')

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Begin a command, as a terminal would: it heeds signals."""

        def as_a_terminal() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        given = {"MLOPS_HOME": str(self.home), "ELSEWHERE": str(self.service), "MLOPS_POLL_SECONDS": "0.1"}
        return subprocess.Popen(
            [sys.executable, "-m", "ci", *words],
            cwd=self.folder,
            env=os.environ | given | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=as_a_terminal,
        )

    def call(self, *words: str, code: int = 0, **environment: str) -> str:
        """Run a command to its end; its exit code has to be `code`."""
        process = self.start(*words, **environment)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == code, output + self.log
        return output

    def record(self, run: str = "r1") -> Run:
        """Read the record of a run."""
        return Run.model_validate(files.read_json(self.home / "runs" / run / "run.json"))

    def states(self, run: str = "r1") -> dict[str, str]:
        """Return the state of each step of a run."""
        return {step.name: step.state for step in self.record(run).steps}

    def wrong(self, **faults: Any) -> None:
        """Let something go wrong with the platform from now on."""
        (self.service / "faults.json").write_text(json.dumps(faults))

    @property
    def jobs(self) -> list[str]:
        """The ids of all jobs that were ever started."""
        return sorted(path.name for path in (self.service / "jobs").glob("*"))

    @property
    def log(self) -> str:
        """What the jobs' nodes have said."""
        return "\n".join(path.read_text() for path in sorted(self.service.glob("jobs/*/log")))

    def end(self) -> None:
        """End what a job has left running."""
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("ELSEWHERE") == str(self.service):
                process.kill()
