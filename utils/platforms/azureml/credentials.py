"""Signing in: as what the environment offers, never by asking a person.

In this order: a run on the platform's compute has the run's own token; a service principal by secret, by
certificate or by a federated token (workload identity: CI without a secret); a managed identity; the Azure
CLI.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.platforms.azureml import settings
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import PlatformError

CLIENT = "AZURE_CLIENT_ID"
TENANT = "AZURE_TENANT_ID"
SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105 (a name)
CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
CERTIFICATE_PASSWORD = "AZURE_CLIENT_CERTIFICATE_PASSWORD"  # noqa: S105 (a name)
FEDERATED = "AZURE_FEDERATED_TOKEN_FILE"
# By which a job on GitHub gets its own federated tokens, as many as it needs.
JOB_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
JOB_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 (a name)
AUDIENCE = "api://AzureADTokenExchange"
MANAGED = "AZURE_USE_MSI"
ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")

# A token is renewed when it holds for less than this, in seconds: longer than any single request takes.
MARGIN = 300.0


@dataclass(frozen=True)
class Way:
    """A way to sign in.

    Attributes
    ----------
    kind : str
        "run", "secret", "certificate", "federated", "job", "managed" or "cli".
    words : str
        For a person; without any secret.
    """

    kind: str
    words: str


def choose() -> Way:
    """Return how to sign in, by what the environment offers. Nothing is asked yet.

    Raises
    ------
    PlatformError
        If the environment offers half of something, or nothing; it says what to set.
    """
    if settings.inside():
        return Way("run", "the token of the run on Azure ML's compute")
    client, tenant = os.environ.get(CLIENT, ""), settings.read().tenant
    for kind, variable, words in (
        ("secret", SECRET, "by secret"),
        ("certificate", CERTIFICATE, "by certificate"),
        ("federated", FEDERATED, "by federated token"),
    ):
        if not os.environ.get(variable):
            continue
        absent = [name for name, value in ((CLIENT, client), (TENANT, tenant)) if not value]
        if absent:
            names = " and ".join(absent)
            raise PlatformError(f"{variable} is set, but not {names}: set all three, or none.")
        if kind != "secret" and not Path(os.environ[variable]).is_file():
            raise PlatformError(f"{variable} names {os.environ[variable]}, which isn't a file.")
        return Way(kind, f"service principal {client} {words}")
    if client and tenant and os.environ.get(JOB_URL) and os.environ.get(JOB_TOKEN):
        return Way("job", f"service principal {client} by the job's own federated token")
    if _managed():
        return Way("managed", f"managed identity{f' {client}' if client else ''}")
    if shutil.which("az"):
        return Way("cli", "Azure CLI")
    if client and tenant:
        raise PlatformError(
            f"{CLIENT} and {TENANT} are set, but neither {SECRET}, {CERTIFICATE} nor {FEDERATED}: set one "
            "of them."
        )
    raise PlatformError(
        f"Nothing to sign in to Azure with: set {TENANT}, {CLIENT} and {SECRET} (a service principal), "
        f"{MANAGED}=1 on a machine with a managed identity, or install the Azure CLI and run `az login`."
    )


def sign_in(way: Way | None = None) -> Any:
    """Return the SDK's authentication object for a way other than "run".

    Its tokens are got when they are needed, and renewed before they expire.

    Raises
    ------
    PlatformError
        If the environment offers nothing, or a certificate can't be read.
    """
    chosen = way or choose()
    with speaking(f"Can't sign in as {chosen.words}"):
        return _authentication(_Tokens(chosen))


def _managed() -> bool:
    asked = os.environ.get(MANAGED, "").lower()
    return asked in ("1", "true", "yes") or any(os.environ.get(name) for name in ENDPOINTS)


class _Tokens:
    """Tokens for resources, kept until shortly before they expire."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, float]] = {}
        self._credential: Any = None

    def get(self, resource: str, authority: str) -> str:
        """Return a token for a resource such as "https://management.azure.com/".

        Raises
        ------
        AzureError
            If the sign-in is refused, or can't be reached.
        """
        with self._lock:
            token, expires = self._kept.get(resource, ("", 0.0))
            if expires - time.time() > MARGIN:
                return token
            with speaking(f"Can't sign in to Azure as {self.way.words}"):
                if self._credential is None:
                    self._credential = _credential(self.way, authority)
                with warnings.catch_warnings():
                    # azure-identity uses a part of msal that is deprecated.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    found = self._credential.get_token(f"{resource}/.default")
            self._kept[resource] = (str(found.token), float(found.expires_on))
            return str(found.token)

    def forget(self) -> None:
        """Get new tokens from now on: the service doesn't take those that it was given."""
        with self._lock:
            self._kept.clear()
            # It keeps them as well.
            self._credential = None


def _credential(way: Way, authority: str) -> Any:
    """Return azure-identity's credential."""
    import azure.identity

    client, tenant = os.environ.get(CLIENT) or None, settings.read().tenant or None
    # Its own default is ten repetitions over minutes.
    options: dict[str, Any] = {"authority": authority, "retry_total": 4}
    if way.kind == "secret":
        return azure.identity.ClientSecretCredential(tenant, client, os.environ[SECRET], **options)
    if way.kind == "certificate":
        password = os.environ.get(CERTIFICATE_PASSWORD) or None
        return azure.identity.CertificateCredential(
            tenant, client, os.environ[CERTIFICATE], password=password, **options
        )
    if way.kind == "federated":
        return azure.identity.WorkloadIdentityCredential(
            tenant_id=tenant, client_id=client, token_file_path=os.environ[FEDERATED], **options
        )
    if way.kind == "job":
        return azure.identity.ClientAssertionCredential(tenant, client, _job_token, **options)
    if way.kind == "managed":
        return azure.identity.ManagedIdentityCredential(client_id=client)
    return azure.identity.AzureCliCredential(tenant_id=tenant or "", process_timeout=60)


def _job_token() -> str:
    """Ask the CI system for a token that says which job this is; it holds for minutes alone."""
    import requests

    answer = requests.get(
        os.environ[JOB_URL],
        params={"audience": AUDIENCE},
        headers={"Authorization": f"Bearer {os.environ[JOB_TOKEN]}"},
        timeout=30,
    )
    answer.raise_for_status()
    return str(answer.json()["value"])


def _authentication(tokens: _Tokens) -> Any:
    """Return the SDK's authentication object over tokens.

    The SDK's own class for service principals takes no federated token, the one for the Azure CLI needs it
    installed in the same Python, and the one for managed identities asks for a token before every single
    request.
    """
    from azureml.core.authentication import AbstractAuthentication

    class Authentication(AbstractAuthentication):  # type: ignore[misc]
        """Tokens by azure-identity."""

        def __init__(self) -> None:
            # Named, because the SDK asks the network for all clouds otherwise.
            super().__init__(os.environ.get("AZUREML_CURRENT_CLOUD") or "AzureCloud")
            self.words = tokens.way.words

        def forget(self) -> None:
            tokens.forget()

        def _token(self, resource: str) -> str:
            return tokens.get(resource, self._cloud_type.endpoints.active_directory)

        def _get_arm_token(self) -> str:
            return self._token(self._cloud_type.endpoints.active_directory_resource_id)

        def _get_graph_token(self) -> str:
            return self._token(self._cloud_type.endpoints.active_directory_graph_resource_id)

        def _get_azureml_client_token(self) -> str:
            return self._token(self._get_aml_resource_id())

        def _get_adal_auth_object(self, is_graph_auth: bool = False) -> Any:
            # The SDK's own holds one token, for as long as a client lives: longer, maybe, than the token.
            return super()._get_adal_auth_object(is_graph_auth) if is_graph_auth else self

        def _get_workspace(self, *_: str) -> None:
            # None: by Azure Resource Manager.
            return None

        def _get_service_client(self, client_class: Any, subscription_id: str, **options: Any) -> Any:
            # Whether the subscription is among those that are seen would be asked before every single call;
            # the call itself tells it as well.
            return super()._get_service_client(
                client_class, subscription_id, **{**options, "is_check_subscription": False}
            )

        def _get_all_subscription_ids(self) -> tuple[list[Any], str]:
            from azureml._base_sdk_common.common import fetch_tenantid_from_aad_token
            from azureml.core.authentication import _SubscriptionInfo

            token = self._get_arm_token()
            mine = settings.read().subscription
            return [_SubscriptionInfo(mine, mine)], fetch_tenantid_from_aad_token(token)

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            # The SDK copies it along with workspaces; a lock can't be copied, and tokens needn't be got
            # again.
            return self

    return Authentication()
