"""Platforms by name: `platforms.get("local")`."""

from __future__ import annotations

import importlib

from utils.platforms.protocol import Platform, PlatformError

NAMES = ("local", "azureml")


def get(name: str) -> Platform:
    """Return the platform of that name.

    Only the folder of the platform asked for is imported.

    Raises
    ------
    PlatformError
        If there is no such platform.
    """
    demand(name)
    module = importlib.import_module(f"utils.platforms.{name}")
    platform: Platform = module.create()
    return platform


def demand(name: str) -> None:
    """Refuse a name that is no platform's.

    Raises
    ------
    PlatformError
        Naming those that there are.
    """
    if name not in NAMES:
        raise PlatformError(f"There is no platform {name!r}; choose from: {', '.join(NAMES)}.")
