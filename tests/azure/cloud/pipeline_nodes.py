"""A node of a job as a process: the snapshot's files, the command line, data, a run's context."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.azure import names
from tests.azure.cloud import artifacts
from tests.azure.cloud.datastores import Datastores
from tests.azure.cloud.history import History
from tests.azure.cloud.management import Management
from tests.azure.cloud.pipelines import Pipelines
from tests.azure.cloud.server import Cloud
from tests.azure.cloud.snapshots import Snapshots

# What of this process's environment a machine of Azure's would have as well.
_KEPT = ("PATH", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "COVERAGE_PROCESS_START")
_GRACE = 10.0


class NodeError(Exception):
    """A node can't be begun, or what it hands on isn't there; the message is what Azure says."""


@dataclass(frozen=True)
class Place:
    """A workspace, as its address has it."""

    subscription: str
    group: str
    workspace: str

    @classmethod
    def of(cls, address: str) -> Place:
        """Read it from the address of something in it."""
        pattern = r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/[^/]+/workspaces/([^/]+)"
        found = re.search(pattern, address, re.IGNORECASE)
        assert found
        return cls(*found.groups())


@dataclass
class Execution:
    """One node of a job.

    Attributes
    ----------
    job : PipelineRunEntity
    nodes : mapping
        TaskStatus by the node's id, by which what others have handed on is found.
    """

    cloud: Cloud
    place: Place
    job: Any
    graph: Any
    node: Any
    module: Any
    run_id: str
    nodes: Mapping[str, Any]
    process: subprocess.Popen[bytes] | None = None
    ended: bool = False

    @property
    def home(self) -> Path:
        """The machine's own folder for this node."""
        return self.cloud.home / "nodes" / self.run_id

    @property
    def folder(self) -> Path:
        """Where the process begins: it has the snapshot's files."""
        return self.home / "wd"

    def run(self, environ: Mapping[str, str], minutes: float) -> int:
        """Run the process; return its exit code.

        Raises
        ------
        NodeError
            If it can't be begun, or hasn't made what it was to hand on.
        """
        self.folder.mkdir(parents=True)
        self.cloud.area(Snapshots).restore(self.cloud, self.module.data_location.storage_id, self.folder)
        command = self._command()
        log = self.home / "std_log.txt"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environ(environ, minutes),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if self.ended:
                self.end()
            code = self.process.wait()
        artifacts.write(
            self.cloud, "ExperimentRun", f"dcid.{self.run_id}", "user_logs/std_log.txt", log.read_bytes()
        )
        if code == 0:
            self._upload()
        shutil.rmtree(self.home, ignore_errors=True)
        return code

    def end(self) -> None:
        """End the process and all that it has begun, gently at first."""
        self.ended = True
        process = self.process
        if process is None:
            return
        until = time.monotonic() + _GRACE
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            while number == signal.SIGTERM and process.poll() is None and time.monotonic() < until:
                threading.Event().wait(0.02)

    def _command(self) -> list[str]:
        """Resolve the command line as Azure does."""
        values = self._values()
        if values.get("Arguments") != "USE_STRUCTURED_ARGUMENTS":
            raise NodeError("only structured arguments are understood")
        words = [sys.executable, str(values["Script"])]
        for each in self.module.structured_interface.arguments:
            words.append(self._argument(each, values))
        return words

    def _argument(self, each: Any, values: Mapping[str, str | None]) -> str:
        if each.value_type == "Input":
            return str(self._download(each.value))
        if each.value_type == "Output":
            # Of an output that is uploaded, the argument is empty: the process has to know the folder itself.
            return ""
        text = values.get(each.value) if each.value_type == "Parameter" else each.value
        if not text:
            raise NodeError(
                f"Can't build command text for {self.module.name}, moduleId {self.module.id} executionId "
                f"{self.run_id}: Assignment for parameter {each.value} is not specified"
            )
        # As it has been seen: semicolons arrive with a backslash before them.
        return text.replace(";", "\\;")

    def _values(self) -> dict[str, str | None]:
        """Return the values of the node's parameters, some of which are the job's."""
        interface = self.cloud.area(Pipelines).interfaces[self.job.graph_id]
        given = {each.name: each.default_value for each in interface.parameters or []}
        given |= self.job.parameter_assignments
        return {
            each.name: given.get(each.value) if each.value_type == "1" else each.value
            for each in self.node.module_parameters
        }

    def _download(self, port: str) -> Path:
        """Get what another node has handed on; return the folder."""
        (source,) = (
            each.source_output_port
            for each in self.graph.edges
            if (each.destination_input_port.node_id, each.destination_input_port.port_name)
            == (self.node.id, port)
        )
        prefix = f"azureml/{self.nodes[source.node_id].run_id}/{source.port_name}/"
        folder = self.home / "inputs" / port
        folder.mkdir(parents=True)
        container = self._container()
        for blob in container.list_blobs(name_starts_with=prefix):
            target = folder / blob.name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(container.download_blob(blob.name).readall())
        return folder

    def _upload(self) -> None:
        """Put what the process was to hand on where others get it."""
        container = self._container()
        for setting in self.node.module_output_settings:
            if setting.data_store_mode != "upload":
                raise NodeError(f"only upload is understood, not {setting.data_store_mode}")
            folder = self.folder / setting.path_on_compute
            if not folder.exists():
                raise NodeError(f"The output {setting.name} wasn't found at {setting.path_on_compute}.")
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    container.upload_blob(
                        f"azureml/{self.run_id}/{setting.name}/{name}", path.read_bytes(), overwrite=True
                    )

    def _container(self) -> Any:
        datastores = self.cloud.area(Datastores)
        section = datastores.found[datastores.default].azure_storage_section
        return self.cloud.blobs.get_container_client(section.container_name)

    def _environ(self, further: Mapping[str, str], minutes: float) -> dict[str, str]:
        """Return the environment of the process: the machine's, the run's context, and its parameters."""
        (self.home / "home").mkdir()
        place, experiment = self.place, self.job.run_history_experiment_name
        workspace = self.cloud.area(Management).workspaces[place.workspace.lower()]
        history = self.cloud.area(History)
        services = f"https://{names.SERVICES}"
        scope = (
            f"/subscriptions/{place.subscription}/resourceGroups/{place.group}/providers/"
            f"Microsoft.MachineLearningServices/workspaces/{place.workspace}"
        )
        values = self._values()
        parameters = {
            each.environment_variable_override: values.get(each.name) or ""
            for each in self.module.structured_interface.parameters
            if each.set_environment_variable
        }
        configured = json.loads(self.node.runconfig).get("environmentVariables") or {}
        return {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            **configured,
            "HOME": str(self.home / "home"),
            "AZUREML_ARM_SUBSCRIPTION": place.subscription,
            "AZUREML_ARM_RESOURCEGROUP": place.group,
            "AZUREML_ARM_WORKSPACE_NAME": place.workspace,
            "AZUREML_ARM_PROJECT_NAME": experiment,
            "AZUREML_EXPERIMENT_ID": history.experiment(experiment).experiment_id,
            "AZUREML_EXPERIMENT_SCOPE": f"{scope}/experiments/{experiment}",
            "AZUREML_WORKSPACE_ID": workspace["properties"]["workspaceId"],
            "AZUREML_WORKSPACE_SCOPE": scope,
            "AZUREML_RUN_ID": self.run_id,
            "AZUREML_ROOT_RUN_ID": self.job.id,
            "AZUREML_RUN_TOKEN": self.cloud.token(minutes),
            "AZUREML_RUN_TOKEN_EXPIRY": str(int(time.time() + minutes * 60)),
            "AZUREML_RUN_CONFIGURATION": "azureml-setup/mutated_run_configuration.json",
            "AZUREML_RUN_HISTORY_SERVICE_ENDPOINT": services,
            "AZUREML_SERVICE_ENDPOINT": services,
            "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{services}/discovery",
            "MLFLOW_TRACKING_URI": f"azureml://{names.SERVICES}/mlflow/v1.0{scope}",
            "MLFLOW_EXPERIMENT_NAME": experiment,
            "MLFLOW_RUN_ID": self.run_id,
            "MLFLOW_TRACKING_TOKEN": self.cloud.token(minutes),
            **parameters,
            **further,
        }
