"""The secrets of a workspace's key vault, as the SDK reaches them: by the workspace's own services."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.azure.cloud.exact import make
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, missing, refused, route
from tests.azure.cloud.server import Cloud

SECRETS = "/credential/v2.0" + WORKSPACE + "/secrets"


@dataclass
class Vault:
    """Secrets by name.

    Attributes
    ----------
    given : list of str
        The names of those that callers were given.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)

    def keep(self, name: str, value: str) -> Answer | None:
        """Keep a secret, in place of one of that name; return what is refused of it."""
        if not re.fullmatch(r"[0-9a-zA-Z-]{1,127}", name):
            return refused(400, "UserError", f"{name} can't be the name of a secret.")
        if not value or len(value.encode()) > 25_000:
            return refused(400, "UserError", f"The value of {name} is empty or too long.")
        self.secrets[name] = value
        return None


@route("PUT", SECRETS)
def keep(cloud: Cloud, request: Request) -> Answer:
    """Keep a secret."""
    from azureml._restclient.models import CredentialDto

    sent = request.model(CredentialDto)
    fault = cloud.area(Vault).keep(sent.name, sent.value)
    return fault or Answer(body=make(CredentialDto, name=sent.name))


@route("PUT", SECRETS + ":putbatch")
def keep_all(cloud: Cloud, request: Request) -> Answer:
    """Keep several secrets."""
    from azureml._restclient.models import CredentialBatchDto, CredentialDto

    sent = request.model(CredentialBatchDto).secrets
    for each in sent:
        fault = cloud.area(Vault).keep(each.name, each.value)
        if fault:
            return fault
    return Answer(
        body=make(CredentialBatchDto, secrets=[make(CredentialDto, name=each.name) for each in sent])
    )


@route("GET", SECRETS + "/{name}")
def give(cloud: Cloud, request: Request) -> Answer:
    """Return a secret."""
    from azureml._restclient.models import CredentialDto

    name, vault = request.names["name"], cloud.area(Vault)
    if name not in vault.secrets:
        return missing("SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault.")
    vault.given.append(name)
    return Answer(body=make(CredentialDto, name=name, value=vault.secrets[name]))


@route("DELETE", SECRETS + "/{name}")
def forget(cloud: Cloud, request: Request) -> Answer:
    """Delete a secret."""
    cloud.area(Vault).secrets.pop(request.names["name"], None)
    return Answer()


@route("POST", SECRETS + ":getbatch")
def give_all(cloud: Cloud, request: Request) -> Answer:
    """Return several secrets, and which of them there are not."""
    from azureml._restclient.models import CredentialBatchDto, CredentialDto

    vault = cloud.area(Vault).secrets
    asked = [each.name for each in request.model(CredentialBatchDto).secrets]
    cloud.area(Vault).given += [name for name in asked if name in vault]
    found = [make(CredentialDto, name=name, value=vault[name]) for name in asked if name in vault]
    return Answer(
        body=make(
            CredentialBatchDto,
            secrets=found,
            not_found_secrets=[name for name in asked if name not in vault],
        )
    )


@route("GET", SECRETS)
def names(cloud: Cloud, request: Request) -> Answer:
    """List the names of secrets."""
    from azureml._restclient.models import PaginatedSecretListItem, SecretListItem

    listed = [make(SecretListItem, name=name) for name in cloud.area(Vault).secrets]
    return Answer(body=make(PaginatedSecretListItem, value=listed))
