"""Tokens as the sign-in service gives them, and the identities that may have one."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

SUBSCRIPTION = "5b2f4c1e-0000-4000-8000-000000000001"
TENANT = "5b2f4c1e-0000-4000-8000-000000000002"
CLIENT = "5b2f4c1e-0000-4000-8000-000000000003"
OBJECT = "5b2f4c1e-0000-4000-8000-000000000004"
# Of the stand-in's own service principal.
SECRET = "a-secret-of-the-tests"
# Of the container registry.
PASSWORD = "a-password-of-the-tests"


def make(minutes: float = 60) -> str:
    """Return a token that is good for so long. Nobody checks its signature."""

    def part(content: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    now = int(time.time())
    claims = {
        "aud": "https://management.core.windows.net/",
        "tid": TENANT,
        "oid": OBJECT,
        "appid": CLIENT,
        "iat": now,
        "nbf": now,
        "exp": now + int(minutes * 60),
        "unique_name": "ci@example.com",
        "uti": uuid.uuid4().hex,
    }
    return f"{part({'alg': 'RS256', 'typ': 'JWT', 'kid': 'test'})}.{part(claims)}.c2lnbmF0dXJl"


def expired(token: str) -> bool:
    """Whether a token's time is over."""
    claims = token.split(".")[1]
    return bool(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"] < time.time())
