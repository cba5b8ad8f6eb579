"""Where on Azure, and how big: the part `azureml` of parameters/azureml.yml, and the environment over it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from utils.platforms import sections
from utils.platforms.azureml.options import Settings
from utils.platforms.protocol import PlatformError

SECTION = "azureml"
PREFIX = "MLOPS_AZUREML_"
FILE = Path("parameters") / "azureml.yml"

# What other tools for Azure call them; weaker than our own names.
USUAL = {
    "subscription": "AZURE_SUBSCRIPTION_ID",
    "resource_group": "AZURE_RESOURCE_GROUP",
    "workspace": "AZUREML_WORKSPACE",
    "tenant": "AZURE_TENANT_ID",
}
# So does the platform tell the processes that its compute runs where they are.
INSIDE = {
    "subscription": "AZUREML_ARM_SUBSCRIPTION",
    "resource_group": "AZUREML_ARM_RESOURCEGROUP",
    "workspace": "AZUREML_ARM_WORKSPACE_NAME",
}
RUN_VARIABLE = "AZUREML_RUN_ID"
NEEDED = ("subscription", "resource_group", "workspace")


def inside() -> bool:
    """Return whether this process is one that the platform's compute runs."""
    return bool(os.environ.get(RUN_VARIABLE)) and all(os.environ.get(name) for name in INSIDE.values())


def read() -> Settings:
    """Read the settings.

    Raises
    ------
    PlatformError
        Naming each setting that is unknown or has no allowed value, and where it was given.
    """
    given: Any = sections.read(FILE, SECTION)
    outside = dict(_outside())
    for name, (_, value) in outside.items():
        given = _with(given, name.split("."), value)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise PlatformError("\n".join(_fault(each, outside) for each in error.errors())) from None


def demand(settings: Settings) -> None:
    """Refuse settings that say too little to find the workspace.

    Raises
    ------
    PlatformError
        Naming all that is missing, and where to set it.
    """
    missing = [name for name in NEEDED if not getattr(settings, name)]
    if missing:
        words = ", ".join(f"{name} (or {USUAL[name]})" for name in missing)
        raise PlatformError(f"The platform azureml isn't set up: set in {FILE}, {SECTION}: {words}.")
    if settings.compute.min_nodes > settings.compute.max_nodes:
        raise PlatformError(
            f"{FILE}: {SECTION}.compute.min_nodes is {settings.compute.min_nodes}, more than max_nodes, "
            f"{settings.compute.max_nodes}."
        )
    machine = settings.compute.vm
    if settings.compute.target == "vm" and not (machine.resource and machine.user and machine.key_file):
        raise PlatformError(
            f"{FILE}: {SECTION}.compute.target is vm: set compute.vm.resource (the machine's full id), user "
            "and key_file, or choose cluster or local."
        )


def carried() -> dict[str, str]:
    """Return the variables that give settings here, which processes on the compute have to have as well.

    None of them is a secret.
    """
    names = [PREFIX + name.replace(".", "_").upper() for name in _names(Settings) if ".vm." not in name]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _outside() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what the environment sets: the setting's dotted name, with the variable's name and value."""
    within = inside()
    for name in _names(Settings):
        sources = (
            INSIDE.get(name, "") if within else "",
            PREFIX + name.replace(".", "_").upper(),
            USUAL.get(name, ""),
        )
        variable = next((source for source in sources if source and os.environ.get(source)), None)
        if variable:
            yield name, (variable, os.environ[variable])


def _names(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _names(kind, f"{before}{name}.")
        else:
            yield before + name


def _with(given: Any, name: list[str], value: str) -> Any:
    """Return nested settings with one of them replaced."""
    if not isinstance(given, dict):
        return given
    first, *rest = name
    return {**given, first: _with(given.get(first) or {}, rest, value) if rest else value}


def _fault(each: Mapping[str, Any], outside: Mapping[str, tuple[str, str]]) -> str:
    name = ".".join(str(part) for part in each["loc"])
    where = outside[name][0] if name in outside else f"{FILE}: {SECTION}{'.' if name else ''}{name}"
    known = ""
    if each["type"] == "extra_forbidden":
        model: Any = Settings
        for part in each["loc"][:-1]:
            model = model.model_fields[part].annotation
        known = f" (there are {', '.join(model.model_fields)})"
    elif isinstance(each["input"], str):
        known = f", not {each['input']!r}"
    return f"{where}: {each['msg']}{known}"
