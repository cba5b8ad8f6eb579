"""The SDK, imported once and made to behave: no telemetry, no chatter, one way to repeat requests."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from utils.platforms.protocol import PlatformError

INSTALL = "run `make azureml`, and use .venv-azureml/bin/python"


def installed() -> bool:
    """Return whether the SDK is there, without importing it."""
    try:
        return importlib.util.find_spec("azureml.core") is not None
    except ModuleNotFoundError:
        return False


def demand() -> None:
    """Refuse to go on without the SDK.

    Raises
    ------
    PlatformError
        Saying how to install it.
    """
    if not installed():
        raise PlatformError(f"The platform azureml needs azureml-sdk, which isn't installed here: {INSTALL}.")


@functools.cache
def load() -> None:
    """Import the SDK and make it behave, once in a process.

    Raises
    ------
    PlatformError
        If it isn't installed, or can't be imported.
    """
    demand()
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        try:
            import azureml.telemetry

            # In this process alone: the SDK's own switch writes a file into the installed package. The rest
            # asks while it is imported; what is for data sets would send telemetry in spite of the mode.
            azureml.telemetry.HBI_MODE = True
            azureml.telemetry.get_diagnostics_collection_info = lambda *_, **__: (False, None)
            import azureml.core
            from azureml._base_sdk_common.tracking import global_tracking_info_registry

            from utils.platforms.azureml import repeats
        except ImportError as error:
            raise PlatformError(f"azureml-sdk can't be imported ({error}): {INSTALL}.") from error
        # It would warn at each deployment that there is a newer SDK.
        azureml.core._AZUREML_LOG_DEPRECATION_WARNING_ENABLED = False
        repeats.install()
        # They send the git remote's address along with whatever is made, with the token that may be in it.
        global_tracking_info_registry.providers.clear()
    for name in ("azureml", "azure", "msrest", "msal", "adal", "azureml.telemetry", "cli"):
        # Whatever fails raises an error as well, and is told by it.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for message in (r".*utcnow\(\) is deprecated.*", r".*pkg_resources is deprecated.*"):
        warnings.filterwarnings("ignore", message=message, module=r"azureml(\..*)?|msrest(\..*)?")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the SDK prints out of notebooks and commands' output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def core() -> Any:
    """Return the module azureml.core, loaded by `load`."""
    load()
    import azureml.core

    return azureml.core
