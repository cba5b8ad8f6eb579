"""What an engine, a registry or a disk said when something failed, in words that say what to do next."""

from __future__ import annotations

import errno
import re

LINES = 8


class ImageError(RuntimeError):
    """An image can't be built or pushed; the message says why and what to do next."""


_FULL = "The disk is full: free some space{where}, then run this again. Nothing half-made was left behind"

# The first that matches tells. An engine's own words are given after it.
_KNOWN: tuple[tuple[str, str], ...] = (
    (r"no space left on device|disk quota exceeded|not enough space", _FULL),
    (
        r"permission denied while trying to connect|permission denied.*docker\.sock",
        "You may not talk to the engine: let an administrator add you to the group that owns its socket "
        "(docker), or name another engine",
    ),
    (
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect",
        "The engine doesn't answer any more: start it, then run this again",
    ),
)

_BASE: tuple[tuple[str, str], ...] = (
    (
        r"pull access denied|manifest.*(unknown|not found)|not found|name unknown|denied:|"
        r"failed to resolve|short-name|no such image|image not known|repository does not exist|"
        r"no such host|i/o timeout|connection refused|network is unreachable|deadline exceeded",
        "The base image {base} can't be had: look at its name, pull it into the engine, or name another "
        "one by base_image",
    ),
)

_REGISTRY: tuple[tuple[str, str], ...] = (
    (
        r"unauthorized|authentication required|no basic auth|denied|forbidden",
        "The registry {registry} doesn't let you in: log in to it by `{engine} login {registry}`",
    ),
    (
        r"x509|certificate|server gave http response to https client|http response to https",
        "The registry {registry} has no certificate that the engine trusts: give it one, or tell the engine "
        "that it may be used without",
    ),
    (
        r"connection refused|connection reset|broken pipe|eof|timeout|timed out|no such host|no route to|"
        r"network is unreachable|\b50[0234]\b|\b429\b|too many requests|retrying|closed network|"
        r"unexpected http status|blob upload",
        "The registry {registry} doesn't answer as it should: see that it runs and can be reached, then run "
        "this again. What it has already is not sent again",
    ),
)


def explain(output: str, doing: str, **words: str) -> ImageError:
    """Make an error of what a command printed.

    Parameters
    ----------
    output : str
        What it printed.
    doing : str
        What was tried, such as "build the image".
    **words
        What is known: `engine`; `base`, the base image, while building; `registry`, its address, while
        pushing; `where`, on which disk there may be no room.
    """
    known = _KNOWN
    if "registry" in words:
        known += _REGISTRY
    if "base" in words:
        known += _BASE
    # Not what is told about layers that went well: the fault is in the last words.
    last = [line.strip() for line in output.replace("\r", "\n").splitlines() if line.strip()][-LINES:]
    said = "\n".join(f"    {_shortened(line)}" for line in last) or "    (nothing)"
    for pattern, text in known:
        if re.search(pattern, "\n".join(last), re.IGNORECASE):
            return ImageError(f"{text.format_map({'where': '', **words})}.\n{said}")
    return ImageError(f"{words['engine']} could not {doing}; it said:\n{said}")


def full(error: OSError, where: str) -> ImageError | None:
    """Return what to say if an error of the file system is a full disk, else None."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImageError(_FULL.format(where=f" where {where} is") + ".")
    return None


def _shortened(line: str) -> str:
    """Leave out the middle of a long line: what was done is at its beginning, what failed at its end."""
    return line if len(line) <= 300 else f"{line[:140]} … {line[-140:]}"
