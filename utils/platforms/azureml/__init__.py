"""The platform on Azure Machine Learning: a workspace's run history, models, compute and services.

By azureml-sdk. Each part is imported when it is first used: that takes seconds. Nothing is reached before
it is needed.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, cast

from utils.platforms.azureml import credentials, sdk, settings
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import Resource

if TYPE_CHECKING:
    from pathlib import Path

    from utils.platforms.protocol import Endpoints, Images, ModelRegistry, Retraining, RunHistory


class AzurePlatform:
    """A workspace of Azure Machine Learning."""

    name: str = "azureml"

    def __init__(self, site: Site) -> None:
        self.site = site

    @functools.cached_property
    def history(self) -> RunHistory:
        """The workspace's experiments."""
        return cast("RunHistory", _part("history", "AzureHistory")(self.site))

    @functools.cached_property
    def registry(self) -> ModelRegistry:
        """The workspace's registered models."""
        return cast(
            "ModelRegistry", _part("registry", "AzureRegistry")(self.site, self.history, self._served)
        )

    @functools.cached_property
    def images(self) -> Images:
        """Images in the workspace's container registry."""
        return cast("Images", _part("images", "AzureImages")(self.site))

    @functools.cached_property
    def endpoints(self) -> Endpoints:
        """Staging on a container instance, production on a Kubernetes cluster."""
        return cast("Endpoints", _part("endpoints", "AzureEndpoints")(self.site))

    @functools.cached_property
    def retraining(self) -> Retraining:
        """The published retraining pipeline."""
        return cast("Retraining", _part("retraining", "AzureRetraining")(self.site))

    def check(self) -> None:
        """Refuse settings that say too little, a missing SDK, no way to sign in, and a key that won't sign.

        Raises
        ------
        PlatformError
            In one line, saying what to set. Azure isn't asked anything.
        """
        given = settings.read()
        settings.demand(given)
        sdk.demand()
        credentials.choose()
        # Here, not above: it is asked for after what it needs.
        from utils.platforms.azureml import signing

        signing.check(remote=given.compute.target != "local" and not settings.inside())

    def provision(self) -> list[Resource]:
        """Make what is not there yet: resource group, workspace, compute, software environment.

        The first call takes minutes, and says how it goes; interrupted, it goes on in Azure, and another call
        takes it up. Two at the same time end with one of everything.

        Raises
        ------
        PlatformError
            If something can't be made, in one line with Azure's code and what to do.
        """
        from utils.platforms.azureml import compute, environments

        made = self.site.provision()
        studio = f"{self.site.words}, as ml.azure.com shows it"
        return [
            made,
            Resource("run history", made.state, studio),
            Resource("model registry", made.state, studio),
            Resource("data store", made.state, _datastore(self.site)),
            compute.provision(self.site),
            environments.provision(self.site),
        ]

    def sign(self, package: Path) -> str:
        """Sign a package by the key of the environment, or else by the workspace's own.

        Raises
        ------
        PlatformError
            If there is no key that can be used, or the package holds what can't be signed.
        """
        return cast("str", _part("signing", "sign")(package, self.site))

    def verify(self, package: Path) -> str:
        """Demand a signature of the whole package by a key that is trusted here.

        Raises
        ------
        PlatformError
            Naming each file that isn't as it was signed; or if there is no signature, or no key.
        """
        return cast("str", _part("signing", "verify")(package, self.site))

    def _served(self, service: str) -> str | None:
        # By a method, so that endpoints are made only where somebody asks for the champion.
        endpoints: Any = self.endpoints
        return cast("str | None", endpoints.served(service))


def create() -> AzurePlatform:
    """Return the platform of the workspace that the settings name. Nothing is made or reached yet."""
    return AzurePlatform(Site())


def _part(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def _datastore(site: Site) -> str:
    found = site.datastore
    where = (
        f"{found.account_name}/{found.container_name}"
        if hasattr(found, "container_name")
        else found.datastore_type
    )
    return f"{found.name} ({where})"
