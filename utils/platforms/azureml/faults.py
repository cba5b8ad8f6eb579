"""Errors of Azure as one line: what, Azure's code, the request's id, and what to do.

`speaking` turns whatever the SDK raises into an `AzureError`; `retried` repeats a call that may be repeated.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from utils.platforms.azureml import advice, answers, bodies
from utils.platforms.azureml.bodies import Fault
from utils.platforms.protocol import PlatformError

T = TypeVar("T")

# Nothing was done, or nobody knows: the same request may have another answer soon. 530 is Azure ML's own, of
# a node that is just coming in.
PASSING = frozenset({408, 429, 500, 502, 503, 504, 530})
EXPIRED = ("ExpiredAuthenticationToken", "InvalidAuthenticationToken", "TokenExpired")
ATTEMPTS = 5
LONGEST = 60.0

_below = threading.local()


class AzureError(PlatformError):
    """Azure refused or failed.

    Attributes
    ----------
    fault : Fault
        What the service said.
    """

    def __init__(self, sentence: str, fault: Fault) -> None:
        super().__init__(worded(sentence, fault))
        self.fault = fault


def worded(sentence: str, fault: Fault) -> str:
    """Return a sentence, the reason, Azure's code with the request's id, and what to do, as one line."""
    parts = [
        fault.code,
        f"HTTP {fault.status}" if fault.status else "",
        f"request {fault.request}" if fault.request else "",
    ]
    marks = ", ".join(part for part in parts if part)
    reason = fault.message.rstrip(" .:") or "the service didn't say why"
    told = f"{sentence.rstrip(' .:')}: {reason}{f' ({marks})' if marks else ''}."
    do = advice.give(fault)
    return f"{told} {do}" if do else told


@contextlib.contextmanager
def speaking(sentence: str) -> Iterator[None]:
    """Turn whatever the SDK raises into an `AzureError` that begins with a sentence.

    Parameters
    ----------
    sentence : str
        What couldn't be done, such as "The model 'demo' can't be registered".

    Raises
    ------
    PlatformError
        As it came, if it is one already.
    AzureError
        Instead of any other exception. The cause isn't kept: its own text may hold tokens.
    """
    before = sys.exception()
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:  # the SDK lets the errors of its many layers through
        for each in answers.chain(error, before):
            if isinstance(each, PlatformError):
                # Our own, such as that of the sign-in, within one of the SDK's.
                raise each from None
        raise AzureError(sentence, answers.read(error, before)) from None


def read(error: BaseException, before: BaseException | None = None) -> Fault:
    """Return what an error says: of the SDK, or an `AzureError`; see `answers.read`."""
    return error.fault if isinstance(error, AzureError) else answers.read(error, before)


def missing(error: BaseException, *codes: str) -> bool:
    """Return whether the service said that there is no such thing (404), and nothing else failed.

    Parameters
    ----------
    codes : str
        If given, only these of Azure's codes count: a 404 may also be for the workspace that holds the thing.
    """
    fault = read(error)
    return fault.status == 404 and (not codes or fault.code.lower() in {code.lower() for code in codes})


def failed(sentence: str, error: Any, *, request: str = "") -> AzureError:
    """Return the error of a long operation that has ended badly.

    Parameters
    ----------
    error : mapping, SDK model or str
        What the operation says.
    """
    if hasattr(error, "as_dict"):
        error = error.as_dict()
    fault = bodies.mapping(error)
    return AzureError(sentence, fault if fault.request else replace(fault, request=request))


def passing(fault: Fault) -> bool:
    """Return whether the same call may well succeed a little later."""
    return fault.status in PASSING or (fault.network and not fault.certificate)


def expired(fault: Fault) -> bool:
    """Return whether the token wasn't taken, so that a new one may be."""
    return fault.status == 401 and (not fault.code or fault.code in EXPIRED or "xpired" in fault.message)


def delay(fault: Fault, attempt: int) -> float:
    """Return the seconds to wait before a repetition: as the service said, else about 1, 2, 4, ….

    Parameters
    ----------
    attempt : int
        How many have failed, from 1.
    """
    if fault.retry_after is not None:
        return fault.retry_after
    return min(LONGEST, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 (spreads the load)


def repeating() -> None:
    """Note that a layer below repeats a request, in this thread."""
    _below.count = getattr(_below, "count", 0) + 1


def retried(call: Callable[[], T], *, renew: Callable[[], None] | None = None, attempts: int = ATTEMPTS) -> T:
    """Make a call, and repeat it while its fault is a passing one.

    Such as throttling, the service's own failure, or the connection's. A fault that a layer below has
    repeated in vain is raised at once, so that repetitions don't multiply; so is one whose Retry-After is
    longer than a minute.

    Parameters
    ----------
    call : callable
        What may be repeated without harm: a read, or a write that gives the same result twice.
    renew : callable, optional
        Gets a new token; called once, where the service says that the token has expired.
    attempts : int
        How often it is made at most.

    Raises
    ------
    Exception
        As the last call raised it.
    """
    handled = sys.exception()
    renewed = renew is None
    attempt = 0
    while True:
        attempt += 1
        before = getattr(_below, "count", 0)
        try:
            return call()
        except Exception as error:
            fault = read(error, handled)
            if renew is not None and not renewed and expired(fault):
                renewed = True
                renew()
                continue
            wait = delay(fault, attempt)
            repeated = fault.repeated or getattr(_below, "count", 0) > before
            if not passing(fault) or repeated or attempt >= attempts or wait > LONGEST:
                raise
        time.sleep(wait)
