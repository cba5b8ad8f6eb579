"""What Azure is told of a package that it shall serve: its entry script, and the software that it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.packaging import Package
from utils.platforms.azureml import sdk

# What a package of its own requires is in its requirements.txt; this is what Azure's server needs beside.
LOCK = Path(__file__).with_name("server.lock")
ENTRY = "score.py"


def requirements(package: Package) -> list[str]:
    """List what pip installs in a scoring image, each on a line: pinned, and with hashes if all have some.

    Of what both the package and Azure's server pin, the package's version counts.
    """
    python = package.manifest.python
    own = _read((package.folder / "requirements.txt").read_text(encoding="utf-8"), python)
    every = {**_read(LOCK.read_text(encoding="utf-8"), python), **own}
    # pip wants hashes for all or none.
    hashed = all(hashes for _, hashes in every.values())
    return [
        f"{name}=={version}{hashes if hashed else ''}" for name, (version, hashes) in sorted(every.items())
    ]


def environment(package: Package, base_image: str, variables: Mapping[str, str]) -> Any:
    """Return the software that a package's image is built with: conda's Python, and pinned packages by pip.

    Parameters
    ----------
    base_image : str
        "" for the one that the SDK has chosen.
    variables : mapping
        Environment variables of the service.
    """
    sdk.load()
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    needed = CondaDependencies.create(python_version=package.manifest.python)
    for channel in [*needed.conda_channels]:
        needed.remove_channel(channel)
    needed.add_channel("conda-forge")
    # As a whole: what `create` takes, it puts beside an index of its own choice.
    needed.set_pip_requirements(requirements(package))
    made = Environment("mlops-scoring")
    made.python.conda_dependencies = needed
    if base_image:
        made.docker.base_image = base_image
    made.inferencing_stack_version = "latest"
    with sdk.quiet():
        made.environment_variables = dict(variables)
    return made


def built(image: str, variables: Mapping[str, str]) -> Any:
    """Return the software of an image that has been built: nothing is installed anew.

    Parameters
    ----------
    image : str
        Its reference, with the digest.
    variables : mapping
        Environment variables of the service.
    """
    made = sdk.core().Environment("mlops-scoring-image")
    made.docker.base_image = image
    made.python.user_managed_dependencies = True
    with sdk.quiet():
        made.environment_variables = dict(variables)
    return made


def configuration(folder: Path, software: Any) -> Any:
    """Return the SDK's configuration: which entry script of which folder, and the software."""
    sdk.load()
    from azureml.core.model import InferenceConfig

    with sdk.quiet():
        made = InferenceConfig(entry_script=ENTRY, source_directory=str(folder))
    # Not by its constructor, which looks for azureml-defaults and takes its time for that.
    made.environment = software
    return made


def variables(public_keys: str) -> dict[str, str]:
    """Return what the service is told: the keys by one of which its package has to be signed.

    Parameters
    ----------
    public_keys : str
        As PEM. They are told without its lines: not every layer of Azure keeps a variable with several.
    """
    keys = re.findall(r"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", public_keys, re.DOTALL)
    return {"SCORING_PUBLIC_KEY": ",".join("".join(key.split()) for key in keys)}


def _read(text: str, python: str) -> dict[str, tuple[str, str]]:
    """Read pins as pip does: version and hashes of each distribution, for Linux and a version of Python."""
    from packaging.markers import Marker

    where = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        stated, *hashes = re.split(r"\s+--hash=", line.partition("#")[0].strip())
        match = re.fullmatch(r"([\w.-]+)==([^\s;]+)\s*(?:;\s*(.+))?", stated)
        if match and (match[3] is None or Marker(match[3]).evaluate(where)):
            found[match[1]] = (match[2], "".join(f" --hash={each.strip()}" for each in hashes))
    return found
