"""The project's commands, as a CI job calls them on the platform of Azure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils import project

SECONDS = 3600


class Caller:
    """A home for runs, and commands in it.

    Parameters
    ----------
    home : Path
        Gets runs/.
    environ : mapping
        Where on Azure, and who signs in.
    """

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        self.environ = {**os.environ, **environ, project.HOME_VARIABLE: str(home), "NO_COLOR": "1"}
        self.output = ""

    def ci(self, *words: str, code: int = 0) -> str:
        """Call `python -m ci`; its exit code has to be `code`. Return what it says."""
        ended = subprocess.run(
            [sys.executable, "-m", "ci", *words],
            cwd=project.root(),
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.output = ended.stdout
        assert ended.returncode == code, ended.stdout
        return ended.stdout

    def record(self, run: str) -> dict[str, Any]:
        """Return the record of a run."""
        found: dict[str, Any] = json.loads((self.home / "runs" / run / "run.json").read_text())
        return found

    def states(self, run: str) -> dict[str, str]:
        """Return the state of each step of a run."""
        return {step["name"]: step["state"] for step in self.record(run)["steps"]}

    def scraps(self, run: str, step: str) -> dict[str, Any]:
        """Return what a step gave."""
        (found,) = (each for each in self.record(run)["steps"] if each["name"] == step)
        return dict(found["scraps"])
