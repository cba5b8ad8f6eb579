"""Settings of the service, from environment variables."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MB = 2**20


class SettingError(ValueError):
    """A variable holds what it can't; the message names it, and says what is expected."""


@dataclass(frozen=True)
class Settings:
    """How the service behaves.

    Attributes
    ----------
    keys_file : Path or None
        SCORING_KEYS_FILE: one API key a line, at most two. None: no key is asked for.
    public_key : str
        SCORING_PUBLIC_KEY: PEM, or what stands between the lines of PEM (of several keys, with commas
        between them) where a variable can't hold lines. If given, the package must carry its signature.
    max_bytes : int
        SCORING_MAX_BYTES: of a request's body.
    max_rows : int
        SCORING_MAX_ROWS: in a request.
    max_connections : int
        SCORING_MAX_CONNECTIONS: open at a time, in each worker.
    timeout_seconds : float
        SCORING_TIMEOUT_SECONDS: in which a client must have sent its request.
    drain_seconds : float
        SCORING_DRAIN_SECONDS: for which idle connections are kept when the service pauses or ends.
    """

    keys_file: Path | None = None
    public_key: str = ""
    max_bytes: int = 8 * MB
    max_rows: int = 1_000
    max_connections: int = 1_000
    timeout_seconds: float = 30.0
    drain_seconds: float = 10.0

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read and check the variables.

        Raises
        ------
        SettingError
            If one isn't what it should be, keys are required and there is no file of them, or signatures
            are and there is no key to verify them by.
        """
        keys_file = environment.get("SCORING_KEYS_FILE", "")
        if not keys_file and environment.get("SCORING_REQUIRE_KEYS", "0") not in ("", "0"):
            raise SettingError(
                "SCORING_REQUIRE_KEYS is set: name a file with one or two API keys in SCORING_KEYS_FILE."
            )
        if "SCORING_PUBLIC_KEY" in environment and not environment["SCORING_PUBLIC_KEY"].strip():
            raise SettingError(
                "SCORING_PUBLIC_KEY is set and empty: give a public key as PEM, or unset it if packages "
                "shall be served whoever made them."
            )
        return cls(
            keys_file=Path(keys_file) if keys_file else None,
            public_key=_pem(environment.get("SCORING_PUBLIC_KEY", "")),
            max_bytes=int(_number(environment, "SCORING_MAX_BYTES", cls.max_bytes, 1)),
            max_rows=int(_number(environment, "SCORING_MAX_ROWS", cls.max_rows, 1)),
            max_connections=int(_number(environment, "SCORING_MAX_CONNECTIONS", cls.max_connections, 1)),
            timeout_seconds=_number(environment, "SCORING_TIMEOUT_SECONDS", cls.timeout_seconds, 0.1),
            drain_seconds=_number(environment, "SCORING_DRAIN_SECONDS", cls.drain_seconds, 0),
        )


def _pem(text: str) -> str:
    """Put the lines around public keys that were given without them."""
    if not re.fullmatch(r"[A-Za-z0-9+/=,]+", text):
        return text
    return "".join(
        f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n" for key in text.split(",")
    )


def _number(environment: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = environment.get(name, "") or str(default)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    whole = isinstance(default, float) or found == found // 1
    if not (least <= found < math.inf and whole):
        kind = "a number" if isinstance(default, float) else "a whole number"
        raise SettingError(f"{name} is {text!r}: give {kind} of at least {least:g}.")
    return found
