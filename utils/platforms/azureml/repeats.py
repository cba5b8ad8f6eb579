"""How often the SDK repeats a request that failed: one rule for all of its clients.

As it comes, azureml-core repeats at two levels that multiply. urllib3 below msrest repeats GET, PUT and
DELETE three times, with the service's Retry-After, and gives its answer to `ClientBase`, which makes the
whole thing four times: sixteen requests, with pauses of 32, 64 and 128 seconds where the service throttles,
whatever it asked for. That upper level repeats a POST after a cut connection too, which may register a model
twice. And the store's client waits 15 seconds before it first repeats.

Here the lower level stays as it is. The upper one repeats only what the lower hasn't, by the rules of
`faults`, and of POST and PATCH only those that may be made twice.
"""

from __future__ import annotations

import re
import time
from typing import Any

from utils.platforms.azureml import answers, faults
from utils.platforms.azureml.bodies import Fault

_SAFE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
# Reads and upserts that the services have as POST.
_TWICE = re.compile(
    r"(listkeys|runs:query|/query|/metadata|/getblob|/validate\w*|/token|/list|contentinfo\w*|/batch"
    r"|/secrets/\w+|/snapshots/[0-9a-f-]{36})$",
    re.IGNORECASE,
)
# What was refused before anything was done may always be asked again.
_REFUSED = frozenset({429})
# Seconds before the store's client first repeats, the base to which it grows, how often, and how much chance
# has a say.
_STORE = {"initial_backoff": 1, "increment_base": 2, "retry_total": 4, "random_jitter_range": 1}


def install() -> None:
    """Put the rule into the SDK; again is harmless."""
    from azureml._restclient.clientbase import ClientBase
    from azureml._vendor.azure_storage.blob._shared.policies import ExponentialRetry as Blobs
    from azureml._vendor.azure_storage.fileshare._shared.policies import ExponentialRetry as Shares

    ClientBase._handle_retry = classmethod(_handle)
    for policy in (Blobs, Shares):
        names = policy.__init__.__code__.co_varnames[1 : policy.__init__.__code__.co_argcount]
        given = policy.__init__.__defaults__
        before = dict(zip(names[len(names) - len(given) :], given, strict=True))
        policy.__init__.__defaults__ = tuple(_STORE.get(name, value) for name, value in before.items())


def again(fault: Fault, attempt: int) -> bool:
    """Return whether a request is to be made again.

    Parameters
    ----------
    attempt : int
        How many have failed, from 1.
    """
    if not faults.passing(fault) or fault.repeated or attempt >= faults.ATTEMPTS:
        return False
    if fault.retry_after is not None and fault.retry_after > faults.LONGEST:
        return False
    method = fault.method.upper()
    return method in _SAFE or fault.status in _REFUSED or bool(_TWICE.search(fault.url))


def _handle(_: Any, __: Any, left_retry: int, total_retry: int, error: Exception, *___: Any) -> int:
    """Wait before the SDK makes a request again, or raise its error; return how many tries are left then.

    Takes the place of `ClientBase._handle_retry`, whose signature it has.
    """
    fault = answers.read(error)
    attempt = total_retry - left_retry + 1
    if left_retry <= 0 or not again(fault, attempt):
        raise error
    faults.repeating()
    time.sleep(faults.delay(fault, attempt))
    return left_retry - 1
