"""Sign-in: tokens for a service principal, and for a managed identity."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.azure import names
from tests.azure.cloud import tokens
from tests.azure.cloud.routing import Answer, Request, guard, identity, refused, route
from tests.azure.cloud.server import Cloud

# Asked before anybody has signed in.
OPEN = ("/metadata/", "/discovery", "/msi/")


@dataclass
class Identity:
    """How tokens are given.

    Attributes
    ----------
    minutes : float
        How long they are good for.
    given : int
        How many there were.
    assertions : set of str
        Federated tokens that stand for the application.
    certificates : list of bytes
        The application's, as PEM.
    """

    minutes: float = 60
    given: int = 0
    assertions: set[str] = field(default_factory=set)
    certificates: list[bytes] = field(default_factory=list)
    _tokens: set[str] = field(default_factory=set)
    _revoked: set[str] = field(default_factory=set)

    def token(self) -> Answer:
        """Give one."""
        self.given += 1
        seconds = int(self.minutes * 60)
        made = tokens.make(self.minutes)
        self._tokens.add(made)
        return Answer(
            body={
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "expires_on": str(int(time.time()) + seconds),
                "resource": f"https://{names.MANAGEMENT}/",
                "access_token": made,
            }
        )

    def revoke(self) -> None:
        """Let no token be good any more that was given until now."""
        self._revoked |= self._tokens

    def takes(self, token: str) -> bool:
        """Whether a token is good."""
        return token.count(".") == 2 and token not in self._revoked and not tokens.expired(token)


@guard
def signed_in(cloud: Cloud, request: Request) -> Answer | None:
    """Refuse a call of the management or of a service without a good token."""
    if request.host not in (names.MANAGEMENT, names.SERVICES) or request.path.startswith(OPEN):
        return None
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer":
        return refused(401, "AuthenticationFailed", "The 'Authorization' header is missing.")
    if not cloud.area(Identity).takes(token):
        said = "The access token expiry UTC time is earlier than current UTC time."
        return refused(401, "ExpiredAuthenticationToken", said)
    return None


@route("GET", "/metadata/endpoints")
def clouds(cloud: Cloud, request: Request) -> Answer:
    """Say how the parts of Azure are reached."""
    return Answer(
        body=[
            {
                "name": "AzureCloud",
                "portal": "https://portal.azure.com",
                "resourceManager": f"https://{names.MANAGEMENT}/",
                "authentication": {
                    "loginEndpoint": f"https://{names.LOGIN}/",
                    "audiences": [f"https://{names.MANAGEMENT}/", "https://management.core.windows.net/"],
                    "tenant": "common",
                    "identityProvider": "AAD",
                },
                "suffixes": {
                    "storage": "core.windows.net",
                    "acrLoginServer": "azurecr.io",
                    "keyVaultDns": "vault.azure.net",
                },
                "graph": "https://graph.windows.net/",
                "graphAudience": "https://graph.windows.net/",
            }
        ]
    )


@route("GET", "/common/discovery/instance")
def instance(cloud: Cloud, request: Request) -> Answer:
    """Tell where the sign-in service describes itself."""
    return Answer(
        body={
            "tenant_discovery_endpoint": f"https://{names.LOGIN}/common/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [
                {
                    "preferred_network": names.LOGIN,
                    "preferred_cache": "login.windows.net",
                    "aliases": [names.LOGIN, "login.windows.net"],
                }
            ],
        }
    )


@route("GET", "/{tenant}/.well-known/openid-configuration")
@route("GET", "/{tenant}/v2.0/.well-known/openid-configuration")
def description(cloud: Cloud, request: Request) -> Answer:
    """Describe the sign-in service."""
    base = f"https://{names.LOGIN}/{request.names['tenant']}"
    return Answer(
        body={
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{base}/v2.0",
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }
    )


@route("POST", "/{tenant}/oauth2/token")
@route("POST", "/{tenant}/oauth2/v2.0/token")
def token(cloud: Cloud, request: Request) -> Answer:
    """Give the service principal a token for its secret, its certificate or a federated token."""
    given = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
    state = cloud.area(Identity)
    if given.get("client_id") != tokens.CLIENT:
        return _denied("unauthorized_client", 700016, "Application was not found in the directory.")
    assertion = given.get("client_assertion")
    if assertion is None:
        if given.get("client_secret") != tokens.SECRET:
            return _denied("invalid_client", 7000215, "Invalid client secret provided.")
    elif assertion not in state.assertions and not _by_certificate(state, assertion):
        return _denied("invalid_client", 700213, "No matching federated identity record found.")
    return state.token()


@route("GET", "/msi/token")
@route("GET", "/metadata/identity/oauth2/token")
def managed_identity(cloud: Cloud, request: Request) -> Answer:
    """Give the machine's own identity a token."""
    proofs = ("secret", "x-identity-header", "metadata")
    if not any(request.headers.get(name) for name in proofs) or not request.query.get("resource"):
        return refused(400, "BadRequest", "the header with the secret, or the resource, is missing")
    return cloud.area(Identity).token()


@route("GET", "/job/token")
def job_token(cloud: Cloud, request: Request) -> Answer:
    """Give a CI job a federated token of its own, as GitHub does."""
    if request.headers.get("authorization") != "Bearer of-the-job":
        return Answer(401, {"message": "no"})
    made = f"{request.query['audience']} {identity()}"
    cloud.area(Identity).assertions.add(made)
    return Answer(body={"value": made})


def _denied(error: str, number: int, said: str) -> Answer:
    described = f"AADSTS{number}: {said} Trace ID: {identity()} Timestamp: 2026-11-25 21:00:00Z"
    return Answer(401, {"error": error, "error_description": described, "error_codes": [number]})


def _by_certificate(state: Identity, assertion: str) -> bool:
    """Whether one of the application's certificates has signed an assertion."""
    import jwt
    from cryptography import x509

    for pem in state.certificates:
        key: Any = x509.load_pem_x509_certificate(pem).public_key()
        try:
            options: Any = {"verify_aud": False}
            claims = jwt.decode(assertion, key, algorithms=["RS256", "PS256"], options=options)
        except jwt.InvalidTokenError:
            continue
        return bool(claims["iss"] == claims["sub"] == tokens.CLIENT)
    return False
