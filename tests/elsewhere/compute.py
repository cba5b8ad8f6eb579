"""Compute that really runs `python -m ci step …`, from what was published and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from utils import files
from utils.platforms.protocol import PlatformError, Progress, Resource, Stint

OPEN = ("queued", "running")


class Compute:
    """See `utils.platforms.protocol.Retraining`.

    Parameters
    ----------
    service : Path
        Has published/<scenario>/, kept/<run>.tar and jobs/<key>/. Its faults.json says what shall go wrong:
        `repeat` and `kill` name steps, `nodes` says why there are none, `unreachable` what isn't answered.
    """

    remote = True

    def __init__(self, service: Path) -> None:
        self._service = service

    def publish(self, stint: Stint) -> Resource:
        place = self._service / "published" / stint.scenario
        record = place / "stint.json"
        self._answer("publish")
        if record.exists() and files.read_json(record)["digest"] == stint.digest:
            return Resource("retraining pipeline", "found", stint.scenario)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(stint.source, place / "source")
        about = {"digest": stint.digest, "steps": list(stint.steps), "parameters": list(stint.parameters)}
        files.write_json(record, about)
        return Resource("retraining pipeline", "created", stint.scenario)

    def submit(self, stint: Stint, run: str, parameters: Mapping[str, str], *, key: str) -> str:
        job = self._service / "jobs" / key
        if not job.exists():
            unknown = parameters.keys() - set(stint.parameters)
            assert not unknown, unknown
            record = {"run": run, "scenario": stint.scenario, "parameters": dict(parameters)}
            files.write_json(job / "job.json", record)
            files.write_json(job / "state.json", {"state": "queued"})
            with (job / "log").open("wb") as log:
                machine = subprocess.Popen(
                    [sys.executable, "-m", "utils.platforms.elsewhere.compute", self._service, key],
                    cwd=self._service / "published" / stint.scenario / "source",
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            files.write_json(job / "machine.json", {"pid": machine.pid})
        self._answer("submit")
        return key

    def progress(self, job: str) -> Progress:
        self._answer("progress")
        return Progress(**files.read_json(self._service / "jobs" / job / "state.json"))

    def cancel(self, job: str) -> None:
        if self.progress(job).state in OPEN:
            os.kill(files.read_json(self._service / "jobs" / job / "machine.json")["pid"], signal.SIGTERM)

    def keep(self, run: str, folder: Path) -> None:
        self._answer("keep")
        kept = self._service / "kept" / f"{run}.tar"
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        with tarfile.open(aside, "w") as archive:
            archive.add(folder, arcname=".")
        aside.replace(kept)

    def fetch(self, run: str, destination: Path) -> bool:
        assert not destination.exists()
        kept = self._service / "kept" / f"{run}.tar"
        if not kept.exists():
            return False
        with tarfile.open(kept) as archive:
            archive.extractall(destination, filter="data")
        return True

    def _answer(self, call: str) -> None:
        if call in faults(self._service).get("unreachable", ()):
            raise PlatformError(f"The service doesn't answer: {call}.")


def faults(service: Path) -> dict[str, Any]:
    """Return what shall go wrong."""
    told = service / "faults.json"
    found: dict[str, Any] = json.loads(told.read_text()) if told.exists() else {}
    return found


class Machine:
    """Goes through the nodes of one job, as long as nobody cancels it."""

    def __init__(self, service: Path, key: str) -> None:
        self._service = service
        self._job = service / "jobs" / key
        self._order = files.read_json(self._job / "job.json")
        self._published = files.read_json(Path.cwd().parent / "stint.json")
        self._states: dict[str, str] = dict.fromkeys(self._published["steps"], "queued")

    def run(self) -> None:
        told = faults(self._service)
        if "nodes" in told:
            self._tell("failed", told["nodes"])
            return
        before = ""
        for step in self._states:
            self._states[step] = "running"
            self._tell("running")
            give = self._job / "handed on" / step
            command = self._command(step, before, give)
            if step in told.get("kill", ()):
                self._kill(command, step)
            codes = [self._node(command, step) for _ in range(2 if step in told.get("repeat", ()) else 1)]
            if any(codes):
                self._states[step] = "failed"
                self._tell("failed", f"node {step} ended with {codes}")
                return
            self._states[step] = "succeeded"
            self._tell("running")
            before = str(give)
        self._tell("succeeded")

    def cancelled(self, *_: object) -> None:
        for child in psutil.Process().children(recursive=True):
            child.terminate()
        psutil.wait_procs(psutil.Process().children(recursive=True), timeout=30)
        self._tell("cancelled")
        os._exit(0)

    def _command(self, step: str, take: str, give: Path) -> list[str]:
        names = self._published["parameters"]
        values = [f"{name}={self._order['parameters'].get(name, '')}" for name in names]
        command = [sys.executable, "-m", "ci", "step", step, "--run", self._order["run"], "--take", take]
        about = ["--scenario", self._order["scenario"], "--platform", "elsewhere", "--parameters", *values]
        return [*command, "--give", str(give), *about]

    def _start(self, command: list[str], step: str) -> subprocess.Popen[bytes]:
        home = self._job / "machines" / step
        home.mkdir(parents=True, exist_ok=True)
        run = {"MLOPS_RUN": f"of-{self._job.name}"}
        return subprocess.Popen(command, env=os.environ | run | {"MLOPS_HOME": str(home)})

    def _node(self, command: list[str], step: str) -> int:
        return self._start(command, step).wait()

    def _kill(self, command: list[str], step: str) -> None:
        """Start a node and kill it where its notebook says that it may be killed."""
        node = self._start(command, step)
        while not (self._service / "reached").exists() and node.poll() is None:
            threading.Event().wait(0.05)
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            process.kill()
        node.wait()

    def _tell(self, state: str, reason: str = "") -> None:
        files.write_json(self._job / "state.json", {"state": state, "steps": self._states, "reason": reason})


if __name__ == "__main__":
    machine = Machine(Path(sys.argv[1]), sys.argv[2])
    signal.signal(signal.SIGTERM, machine.cancelled)
    machine.run()
