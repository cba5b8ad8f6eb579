"""Azure's words as one line that may be shown: without secrets, and not too long."""

from __future__ import annotations

import re

LENGTH = 400

_KEYS = r"password|client_secret|client_assertion|\w*_token|(?:primary|secondary|account)_?key"
_SECRETS = (
    (re.compile(r"(?i)([?&;\s\"']sig=)[^&\s\"'<>]+"), r"\1…"),
    (re.compile(r"(?i)(Bearer\s+)[\w.~+/=-]+"), r"\1…"),
    (re.compile(r"(?i)\b((?:Account|SharedAccess)(?:Key|Signature)=)[^;\s\"']+"), r"\1…"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), "…"),
    (re.compile(rf"(?i)([\"']?\b(?:{_KEYS})[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}}]+"), r"\1…"),
)


def line(text: str) -> str:
    """Return a text as one line without secrets, cut where it gets too long."""
    words = " ".join(redact(text).split()).strip()
    return words if len(words) <= LENGTH else words[: LENGTH - 1].rstrip() + "…"


def redact(text: str) -> str:
    """Take tokens, signatures and keys out of a text."""
    for pattern, put in _SECRETS:
        text = pattern.sub(put, text)
    return text
