"""Reports that are written beside a run, by a process of their own: no step waits for them."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Self

from ci.runs import Run
from utils import project


class ReportError(RuntimeError):
    """A run's reports could not be written; its record is not affected. The message says what to do next."""


class Reporter:
    """Has a run's reports written anew whenever its record has changed.

    Entering starts the process, leaving waits until all that has been told is written.
    It reads the record from run.json, so that must be saved before it is told.
    """

    # Seconds that a run waits for its last pages at most.
    patience = 300.0

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._run = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ci.reports"],
            cwd=project.root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in the terminal is for the runner, who tells of it in the report.
            start_new_session=True,
        )
        return self

    def changed(self, run: Run) -> None:
        """Tell that a run's record has been saved."""
        self._run = run.id
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(f"{run.id}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has died; leaving tells why

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        try:
            said, _ = self._process.communicate(timeout=self.patience)
            problem = json.loads(said)["problem"] if said.strip() else ""
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            problem = f"they took longer than {self.patience:g} s"
        code, self._process = self._process.returncode, None
        if code and not problem:
            problem = f"the process that writes them ended with {code}"
        if problem and not isinstance(error, Exception):
            raise ReportError(
                f"The reports of run {self._run} could not be written ({problem}); "
                f"once that is mended, write them: python -m ci report {self._run}"
            )
