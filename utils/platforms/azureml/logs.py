"""The end of a service's log, in the few lines that say why it didn't start."""

from __future__ import annotations

import re

from utils.platforms.azureml import texts

LINES = 8
WIDTH = 300

# What a logger puts before its words, and what is said whatever has failed.
_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d[T ]\S+\s+(?:[A-Z]\s+\[\d+\]\s+)?(?:(?P<logger>[\w.]+)\s+-\s+)?")
_CHATTER = re.compile(
    r"^\s*$|^Traceback|^Encountered Exception|^Initializing logger|^User's init function failed"
    r"|^The above exception was|^During handling of the above"
)
# The last line of a traceback, unless it is the server's own, which tells no more than the one before.
_ERROR = re.compile(
    r"^(?!azureml_inference_server_http\.)[A-Za-z_][\w.]*(?:Error|Exception|Exit|Refused|Interrupt)(?::|$)"
)
_FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)"')
_SERVERS = ("azureml_inference_server_http", "<frozen", "/gunicorn/")


def end(text: str) -> list[str]:
    """Return why a log ends: the last error and where it was raised, else the last lines; no secrets."""
    lines = _telling(text.splitlines())
    errors = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    if errors:
        start = errors[-1]
        while start and lines[start - 1].startswith(" "):
            start -= 1
        lines = lines[start : errors[-1] + 1]
    return [_short(texts.redact(line)) for line in lines[-LINES:]]


def _telling(lines: list[str]) -> list[str]:
    found, skipped = [], False
    for line in lines:
        prefix = _PREFIX.match(line)
        if prefix and (prefix["logger"] or "").startswith("gunicorn"):
            continue
        words = line[prefix.end() :] if prefix else line.rstrip()
        frame = _FRAME.match(words)
        if frame:
            skipped = any(server in frame["file"] for server in _SERVERS)
        elif not words.startswith("    "):
            skipped = False
        if not skipped and not _CHATTER.search(words):
            found.append(words)
    return found


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
