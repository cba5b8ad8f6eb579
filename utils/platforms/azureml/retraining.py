"""Retraining on the workspace's compute: the published pipeline, its jobs, and run folders on their way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import compute, environments, pipeline, schedules, sdk, settings
from utils.platforms.azureml.exchange import Exchange
from utils.platforms.azureml.faults import speaking
from utils.platforms.azureml.jobs import Jobs
from utils.platforms.azureml.publishing import Publisher
from utils.platforms.azureml.watching import Watcher
from utils.platforms.protocol import PlatformError, Progress, Resource, Stint

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}")


class AzureRetraining:
    """See `utils.platforms.protocol.Retraining`. Where compute.target is local, nothing is remote."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._jobs = Jobs(site)
        self._watcher = Watcher(site, self._jobs)
        self._exchange = Exchange(site)

    @property
    def remote(self) -> bool:
        """Whether there is a cluster, or an attached machine, to run steps on."""
        return self._site.settings.compute.target != "local"

    def publish(self, stint: Stint) -> Resource:
        """Publish the pipeline, unless it is the one that is published; set its schedule.

        Compute and software environment are made if they aren't there.

        Raises
        ------
        PlatformError
            If it can't be made of this stint, or Azure refuses; then what was published before stays.
        """
        self._demand_remote()
        pipeline.demand(stint)
        target, environment = compute.target(self._site), environments.registered(self._site)
        name, version = self._name(stint.scenario), self._version(stint)

        def make() -> Any:
            with sdk.quiet():
                made = pipeline.build(self._site, stint, environment, (target.name, target.type))
                return made.publish(name, pipeline.describe(stint), version)

        with speaking(f"The retraining pipeline {name} can't be published"):
            published, state = Publisher(self._site, name).settle(
                f"Retrains {stint.scenario}, as it was published last.", version, make
            )
        schedules.settle(self._site, published.endpoint, name, self._site.settings.retraining.schedule)
        return Resource("retraining pipeline", state, published.endpoint.endpoint)

    def submit(self, stint: Stint, run: str, parameters: Mapping[str, str], *, key: str) -> str:
        """Start a job of the pipeline that was published of this stint, or find the one of the same key.

        Raises
        ------
        PlatformError
            If that isn't published, has no such parameter, or Azure refuses.
        """
        self._demand_remote()
        sdk.load()
        name = self._name(stint.scenario)
        given = pipeline.assignments(stint, run, parameters, key)
        with speaking(f"Run {run} can't be handed over to the pipeline {name}"):
            published = Publisher(self._site, name).find(self._version(stint))
            if published is None:
                raise PlatformError(
                    f"The retraining pipeline {name} isn't published as the project is now: run "
                    "'python -m ci publish' first."
                )
            return self._jobs.submit(published, name, given)

    def progress(self, job: str) -> Progress:
        """Say how far a job is; see `watching.Watcher.look`."""
        return self._watcher.look(job)

    def cancel(self, job: str) -> None:
        """End a job, unless it has ended."""
        self._jobs.cancel(job)

    def keep(self, run: str, folder: Path) -> None:
        """Keep a run folder on the workspace's datastore; see `exchange.Exchange.keep`."""
        self._exchange.keep(run, folder)

    def fetch(self, run: str, destination: Path) -> bool:
        """Get a run folder from there; see `exchange.Exchange.fetch`."""
        return self._exchange.fetch(run, destination)

    def _demand_remote(self) -> None:
        if not self.remote:
            raise PlatformError(
                "The setting azureml.compute.target is local, so that all steps run here: choose cluster or "
                "vm."
            )

    def _name(self, scenario: str) -> str:
        """Return the name of the endpoint, and of the experiment that its jobs are in."""
        name = self._site.settings.retraining.endpoint.replace("{scenario}", scenario)
        if not _NAME.fullmatch(name):
            raise PlatformError(
                f"{name!r} can't be the name of an experiment, which has letters, digits, - and _ alone: "
                f"choose another name for the scenario, or another retraining.endpoint in {settings.FILE}."
            )
        return name

    def _version(self, stint: Stint) -> str:
        """Return what the pipeline of a stint is known by, as the settings are now."""
        given = self._site.settings
        software = (given.environment.name, environments.version(self._site))
        where = (given.compute.target, given.compute.name, self._site.datastore.name)
        return pipeline.version(stint, *software, *where)
