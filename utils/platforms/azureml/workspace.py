"""The workspace, opened when it is first needed: all parts of the platform take it from a `Site`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from utils.platforms.azureml import creation, credentials, faults, sdk, settings
from utils.platforms.azureml.options import Settings
from utils.platforms.protocol import PlatformError, Resource

T = TypeVar("T")

# Of one that won't be whole by itself.
BROKEN = frozenset({"Failed", "Canceled", "Deleting", "SoftDeleted"})


class Site:
    """Where on Azure: sign-in and workspace. Nothing is asked before it is needed, and then once.

    In a process that the platform's compute runs, both come from the run's context, and nothing is created.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._workspace: Any = None
        self._datastore: Any = None

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, as they were when they were first needed.

        Raises
        ------
        PlatformError
            If they have a fault, or say too little.
        """
        given = settings.read()
        settings.demand(given)
        return given

    @property
    def inside(self) -> bool:
        """Whether this process is one that the platform's compute runs."""
        return settings.inside()

    @functools.cached_property
    def way(self) -> credentials.Way:
        """How this process signs in."""
        return credentials.choose()

    @functools.cached_property
    def authentication(self) -> Any:
        """The SDK's authentication object."""
        sdk.load()
        return self.workspace._auth if self.inside else credentials.sign_in(self.way)

    @functools.cached_property
    def run(self) -> Any:
        """The run that this process is a part of; only inside."""
        if not self.inside:
            raise PlatformError("This process isn't one that Azure ML's compute runs.")
        core = sdk.core()
        with faults.speaking("The run's own context can't be read"):
            return core.Run.get_context(allow_offline=False)

    @property
    def workspace(self) -> Any:
        """The azureml Workspace.

        Raises
        ------
        PlatformError
            If there is none, it isn't whole, or it can't be reached.
        """
        with self._lock:
            if self._workspace is None:
                self._workspace = self.run.experiment.workspace if self.inside else self._demanded()
            return self._workspace

    @property
    def datastore(self) -> Any:
        """The workspace's default datastore."""
        with self._lock:
            if self._datastore is None:
                with faults.speaking(f"The data store of the {self.words} can't be read"):
                    self._datastore = self.retried(self.workspace.get_default_datastore)
            return self._datastore

    @property
    def words(self) -> str:
        """Which workspace, for a person."""
        return f"workspace {self.settings.workspace} in {self.settings.resource_group}"

    def retried(self, call: Callable[[], T]) -> T:
        """Make a call that may be repeated, as `faults.retried`; a token that has expired is renewed."""
        return faults.retried(call, renew=getattr(self.authentication, "forget", None))

    def find(self) -> Any:
        """Return the workspace as Azure Resource Manager has it, or None.

        The SDK's `Workspace.get` isn't asked: it answers with a workspace where the network fails.

        Raises
        ------
        PlatformError
            If it can't be told.
        """
        from azureml._base_sdk_common.workspace import AzureMachineLearningWorkspaces

        given = self.settings
        with faults.speaking(f"The {self.words} can't be read"):
            client = self.authentication._get_service_client(
                AzureMachineLearningWorkspaces, given.subscription
            )
            try:
                return self.retried(lambda: client.workspaces.get(given.resource_group, given.workspace))
            except Exception as error:
                if faults.missing(error, "ResourceNotFound", "ResourceGroupNotFound"):
                    return None
                raise

    def provision(self) -> Resource:
        """Make the workspace, with its resource group, where there is none; wait for one that is being made.

        Raises
        ------
        PlatformError
            If it can't be made, in one line with Azure's code and what to do.
        """
        if self.inside:
            return Resource("workspace", "found", self.words)
        found = self.find()
        state = "created" if found is None and creation.create(self) else "found"
        if found is not None and _state(found) in creation.UNDERWAY:
            creation.wait(self)
        return Resource("workspace", state, f"{self.words}, {self.workspace.location}, as {self.way.words}")

    def opened(self, found: Any) -> Any:
        """Return the SDK's workspace of what was found.

        Raises
        ------
        PlatformError
            If it isn't whole.
        """
        state = _state(found)
        if state in BROKEN:
            raise PlatformError(
                f"The {self.words} isn't whole: its state is {state}. Look at it in the portal, delete it "
                "(az ml workspace delete), then run again; or choose another name."
            )
        if state in creation.UNDERWAY:
            raise PlatformError(
                f"The {self.words} is being made (its state is {state}): try again in some minutes."
            )
        workspace = sdk.core().Workspace._get_workspace_from_autorest_workspace(self.authentication, found)
        workspace._location = found.location
        return workspace

    def _demanded(self) -> Any:
        sdk.load()
        found = self.find()
        if found is None:
            raise PlatformError(
                f"There is no {self.words}: the step setup makes it; or look at the names in "
                f"{settings.FILE} and the environment."
            )
        return self.opened(found)


def _state(found: Any) -> str:
    """Return how far a workspace is; one that is being changed works meanwhile."""
    given = found.provisioning_state
    return str(getattr(given, "value", given) or "Succeeded")
