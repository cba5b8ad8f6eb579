"""The pipeline endpoint: a stable address, whose default version is the pipeline that was published last.

Azure ML has no "put if nothing has changed" here, and doesn't keep two endpoints from having one name. So
everybody who publishes looks afterwards at what there is, and all come to the same: of endpoints of one
name the one with most versions stays, of versions of one digest the oldest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import faults, sdk
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

# Among some who publish at once, each has its turn after so many looks.
LOOKS = 6
# How many endpoints of a workspace are listed.
MOST = 1000


@dataclass(frozen=True)
class Published:
    """A version of the endpoint.

    Attributes
    ----------
    endpoint : azureml.pipeline.core.PipelineEndpoint
    number : str
        Of the version.
    pipeline : azureml.pipeline.core.PublishedPipeline
    """

    endpoint: Any
    number: str
    pipeline: Any


class Publisher:
    """An endpoint of a workspace, and what is published for it.

    Parameters
    ----------
    name : str
        Of the endpoint, and of each pipeline that is published for it.
    """

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name

    def find(self, version: str) -> Published | None:
        """Return the oldest published pipeline of a version (see `pipeline.version`), or None."""
        return next((each for each in self._held() if each.pipeline.version == version), None)

    def endpoint(self) -> Any:
        """Return the SDK's endpoint, or None; one that was disabled is enabled again."""
        from azureml.pipeline.core import PipelineEndpoint

        def listed() -> list[Any]:
            # Asked by name, the service has been seen to say 404 although there is one, if one was disabled.
            with sdk.quiet():
                return list(PipelineEndpoint.list(self._site.workspace, active_only=False, max_results=MOST))

        found = [each for each in self._site.retried(listed) if each.name == self._name]
        found = found or self._named()
        active = [each for each in found if each.status == "Active"]
        best: Any = min(
            active or found, key=lambda each: (-len(each.pipeline_version_list), each.id), default=None
        )
        if best is not None and not active:
            self._site.retried(best.enable)
        for other in active:
            if other.id != best.id:
                self._site.retried(other.disable)
        return best

    def _named(self) -> list[Any]:
        """Return the endpoint as the service finds it by its name, as a list of one or none."""
        from azureml.pipeline.core import PipelineEndpoint

        def asked() -> Any:
            with sdk.quiet():
                return PipelineEndpoint.get(self._site.workspace, name=self._name)

        try:
            return [self._site.retried(asked)]
        except Exception as error:
            if faults.missing(error):
                return []
            raise

    def settle(self, description: str, version: str, publish: Callable[[], Any]) -> tuple[Published, str]:
        """Let a version be the endpoint's default one, and publish it if there is none yet.

        Parameters
        ----------
        publish : callable
            Publishes the pipeline under the endpoint's name with this version, and returns it.

        Returns
        -------
        tuple of (Published, str)
            With "created" or "found".

        Raises
        ------
        PlatformError
            If others keep undoing it.
        """
        mine: Any = None
        done = False
        for _ in range(LOOKS):
            held = self._held()
            found = next((each for each in held if each.pipeline.version == version), None)
            if found is None:
                mine = mine or self._site.retried(lambda: self._left_behind(version) or publish())
                self._site.retried(partial(self._add, description, mine))
                done = True
                continue
            default = next((each for each in held if each.number == found.endpoint.default_version), None)
            overtaken = default is not None and default.pipeline.version != version
            if found is default or (done and overtaken):
                return found, self._tidy(found, mine)
            self._site.retried(partial(found.endpoint.set_default_version, found.number))
            done = True
        raise PlatformError(
            f"Others publish the retraining pipeline {self._name} all the time: see who does, then run the "
            "same command again."
        )

    def _held(self) -> list[Published]:
        """Return the versions of the endpoint that can be started, the oldest first."""
        endpoint = self.endpoint()
        if endpoint is None:
            return []
        pipelines = {each.id: each for each in self._site.retried(endpoint.list_pipelines)}
        versions = sorted(endpoint.pipeline_version_list, key=lambda each: int(each.version))
        return [
            Published(endpoint, each.version, pipelines[each.pipeline_id])
            for each in versions
            if each.pipeline_id in pipelines
        ]

    def _left_behind(self, version: str) -> Any:
        """Return a published pipeline of this version whose process got no further, or None."""
        from azureml.pipeline.core import PublishedPipeline

        known = PublishedPipeline.list(self._site.workspace)
        fitting = [each for each in known if (each.name, each.version) == (self._name, version)]
        return min(fitting, key=lambda each: each.id, default=None)

    def _add(self, description: str, pipeline: Any) -> None:
        """Add a pipeline to the endpoint, which is made if need be; others who do so at once are borne."""
        from azureml.pipeline.core import PipelineEndpoint

        endpoint = self.endpoint()
        try:
            if endpoint is None:
                with sdk.quiet():
                    PipelineEndpoint.publish(self._site.workspace, self._name, description, pipeline)
            elif all(each.pipeline_id != pipeline.id for each in endpoint.pipeline_version_list):
                endpoint.add_default(pipeline)
        except ValueError:
            # The SDK itself has seen an endpoint, or this pipeline in it, that wasn't there a moment ago.
            return
        except Exception as error:
            if faults.read(error).status not in (409, 412):
                raise

    def _tidy(self, found: Published, mine: Any) -> str:
        """Disable what was published beside the one that counts; return whether it was published here."""
        if mine is None:
            return "found"
        if mine.id == found.pipeline.id:
            return "created"
        self._site.retried(mine.disable)
        return "found"
