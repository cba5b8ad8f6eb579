"""The tests of this folder run in a sandbox of their own, a process for each file; here is how they report.

Outside, each file is one item, which starts pytest for the file in a sandbox and passes on what that
reports of each test. Inside, each report is a line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure import azurite, sandbox
from utils import project

PYTHON = project.root() / ".venv-azureml" / "bin" / "python"
SCORING = project.root() / ".venv-inference-server" / "bin" / "azmlinfsrv"
REPORTS = "MLOPS_AZURE_REPORTS"
NAME = "in its sandbox"


class File(pytest.File):
    """A file of tests, as it is seen from outside."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield one item, which runs all of them."""
        yield Sandboxed.from_parent(self, name=NAME)


class Sandboxed(pytest.Item):
    """All tests of a file, in a sandbox."""

    _speaks_for = ""

    @property
    def nodeid(self) -> str:
        """Its name, or that of the test whose report is just passed on."""
        return self._speaks_for or super().nodeid

    def runtest(self) -> None:
        """Run them, and pass on what is reported of each."""
        demand()
        with tempfile.TemporaryDirectory(prefix="azure-") as name:
            folder, reports = Path(name) / "sandbox", Path(name) / "reports"
            folder.mkdir()
            reports.touch()
            command = [
                str(PYTHON),
                "-m",
                "pytest",
                "-p",
                "no:xdist",
                "-p",
                "no:cacheprovider",
                str(self.path),
            ]
            environ = {REPORTS: str(reports), "PYTEST_ADDOPTS": ""}
            process = sandbox.run(command, folder, environ)
            try:
                output, _ = process.communicate()
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait()
            reported = self._pass_on(reports)
        if process.returncode not in (0, 1, 5) or not reported:
            raise SandboxError(f"pytest ended with {process.returncode} in the sandbox:\n{output[-6000:]}")

    def _pass_on(self, reports: Path) -> int:
        hook = self.config.hook
        lines = reports.read_text().splitlines()
        for line in lines:
            report = hook.pytest_report_from_serializable(config=self.config, data=json.loads(line))
            # A worker of pytest-xdist passes on no report but that of the item that it is at.
            self._speaks_for = report.nodeid
            self.ihook.pytest_runtest_logreport(report=report)
        self._speaks_for = ""
        return len(lines)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        """Show what the sandbox has printed, rather than where it was started."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Say what this is."""
        return self.path, None, f"sandbox: {self.path.name}"


class SandboxError(RuntimeError):
    """The tests could not be run; the message has what was printed."""


def demand() -> None:
    """Skip where the SDK, the storage emulator or the sandbox isn't to be had."""
    for there, words in (
        (PYTHON.exists(), "azureml-sdk isn't installed: make azureml"),
        (azurite.PROGRAM.exists(), "the storage emulator isn't installed: make azurite"),
        (shutil.which("node"), "the storage emulator needs Node.js"),
        (SCORING.exists(), "Azure's own scoring server isn't installed: make inference-server"),
    ):
        if not there:
            pytest.skip(words)
    impossible = sandbox.possible()
    if impossible:
        pytest.skip(impossible)


def write(config: pytest.Config, report: pytest.TestReport) -> None:
    """Inside: add a report to the file that the environment names, if it does."""
    path = os.environ.get(REPORTS)
    if path:
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        with Path(path).open("a") as lines:
            lines.write(json.dumps(data) + "\n")
