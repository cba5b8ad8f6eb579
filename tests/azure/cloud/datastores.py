"""Datastores: which storage the workspace knows, and how it is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.azure import azurite, names
from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, missing, route
from tests.azure.cloud.server import Cloud

DATASTORES = "/datastore/v1.0" + WORKSPACE
DEFAULT = "workspaceblobstore"
CONTAINER = "azureml-blobstore"


def _blobs(name: str, container: str) -> Any:
    from azureml._restclient.models import AzureStorage, AzureStorageCredentialTypes, DataStore, DataStoreType

    section = make(
        AzureStorage,
        account_name=names.ACCOUNT,
        container_name=container,
        endpoint=names.BLOB_SUFFIX.removeprefix("blob."),
        protocol="https",
        credential_type=AzureStorageCredentialTypes.account_key,
        credential=azurite.ACCOUNT_KEY,
        account_key=azurite.ACCOUNT_KEY,
        is_sas=False,
        blob_cache_timeout=0,
        are_workspace_managed_identities_allowed=False,
    )
    return make(
        DataStore,
        name=name,
        data_store_type=DataStoreType.azure_blob,
        has_been_validated=True,
        tags={},
        azure_storage_section=section,
    )


@dataclass
class Datastores:
    """DataStore by name.

    Attributes
    ----------
    default : str
        The name of the one that is taken where nobody names one.
    """

    found: dict[str, Any] = field(default_factory=lambda: {DEFAULT: _blobs(DEFAULT, CONTAINER)})
    default: str = DEFAULT

    def lead(self, name: str, container: str) -> None:
        """Let a datastore be in another container, which need not be there."""
        self.found[name] = _blobs(name, container)


@route("GET", DATASTORES + "/default")
def default(cloud: Cloud, request: Request) -> Answer:
    """Return the default datastore."""
    datastores = cloud.area(Datastores)
    return Answer(body=datastores.found[datastores.default])


@route("PUT", DATASTORES + "/default/{name}")
def set_default(cloud: Cloud, request: Request) -> Answer:
    """Make another one the default."""
    cloud.area(Datastores).default = request.names["name"]
    return Answer()


@route("GET", DATASTORES + "/datastores/{name}")
def datastore(cloud: Cloud, request: Request) -> Answer:
    """Return a datastore."""
    found = cloud.area(Datastores).found.get(request.names["name"])
    return Answer(body=found) if found else missing("UserError", f"No datastore {request.names['name']}.")


@route("GET", DATASTORES + "/datastores")
def datastores(cloud: Cloud, request: Request) -> Answer:
    """List the datastores."""
    from azureml._restclient.models import PaginatedDataStoreList

    return Answer(body=make(PaginatedDataStoreList, value=list(cloud.area(Datastores).found.values())))


@route("POST", DATASTORES + "/datastores")
def register(cloud: Cloud, request: Request) -> Answer:
    """Take a new datastore."""
    from azureml._restclient.models import DataStore

    sent = request.model(DataStore)
    sent.has_been_validated, sent.tags = True, sent.tags or {}
    cloud.area(Datastores).found[sent.name] = sent
    return Answer()
