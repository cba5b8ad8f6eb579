"""The files of a run: named by the run history, kept as blobs. None of them can be overwritten or removed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import blobs, bodies, faults
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

ORIGIN = "ExperimentRun"
BATCH = 50  # so many the service makes at once
THREADS = 8


class Artifacts:
    """A run's files.

    Parameters
    ----------
    site : Site
        The workspace.
    container : str
        The run's data container.
    """

    def __init__(self, site: Site, container: str) -> None:
        from azureml._restclient.artifacts_client import ArtifactsClient

        self._site = site
        self._container = container
        self._client: Any = ArtifactsClient(site.workspace.service_context)

    def address(self, name: str) -> str:
        """Return how a metric refers to one of the files."""
        return f"aml://artifactId/{ORIGIN}/{self._container}/{name}"

    def below(self, prefix: str) -> dict[str, str]:
        """Return the names of the files that begin so, each with an address that is good for some time.

        Raises
        ------
        Exception
            Whatever the SDK raises.
        """
        try:
            found = self._site.retried(
                lambda: self._client.get_files_by_artifact_prefix_id(f"{ORIGIN}/{self._container}/{prefix}")
            )
        except Exception as error:
            if faults.missing(error):
                return {}
            raise
        return {name: address for name, address in found if name.startswith(prefix)}

    def write(self, sources: Mapping[str, Path | bytes]) -> None:
        """Write files under their names; one that is there with just this content will do.

        Raises
        ------
        TakenError
            If there is one of such a name with another content.
        Exception
            Whatever the SDK raises.
        """
        names = list(sources)
        for begin in range(0, len(names), BATCH):
            batch = names[begin : begin + BATCH]
            addresses = self._make(batch)
            clients = [blobs.signed(addresses[name]) for name in batch]
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(blobs.write, clients, [sources[name] for name in batch]))

    def fetch(self, name: str, destination: Path) -> None:
        """Copy a file to a path.

        Raises
        ------
        Exception
            Whatever the SDK raises.
        """
        blobs.fetch(blobs.signed(self._reading(name)), destination)

    def _make(self, names: list[str]) -> dict[str, str]:
        """Make artifacts; return where each one's content is to be written."""
        from azureml._restclient.models import ArtifactPathDto, BatchArtifactCreateCommand

        client = self._client
        made = self._site.retried(
            lambda: client._execute_with_workspace_arguments(
                client._client.artifact.batch_create_empty_artifacts,
                ORIGIN,
                self._container,
                command=BatchArtifactCreateCommand([ArtifactPathDto(name) for name in names]),
            )
        )
        found = {
            name: str(each.content_uri) for name, each in (made.artifact_content_information or {}).items()
        }
        for name, error in (made.errors or {}).items():
            # Those that are there already: made by another call, or by this one, whose answer was lost.
            found[name] = self._writing(name, bodies.mapping(error.as_dict()).message)
        return found

    def _writing(self, name: str, reason: str) -> str:
        """Return where the content of an artifact is to be written that there is already."""
        client = self._client
        try:
            found = self._site.retried(
                lambda: client._execute_with_workspace_arguments(
                    client._client.artifact.get_write_sas, ORIGIN, self._container, name
                )
            )
        except Exception as error:
            if faults.missing(error):
                raise PlatformError(
                    f"The file {name!r} can't be made: {reason or 'nobody says why'}."
                ) from None
            raise
        return str(found.content_uri)

    def _reading(self, name: str) -> str:
        client = self._client
        found = self._site.retried(
            lambda: client._execute_with_workspace_arguments(
                client._client.artifact.get_content_information, ORIGIN, self._container, name
            )
        )
        return str(found.content_uri)
