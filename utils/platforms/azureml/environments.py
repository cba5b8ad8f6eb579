"""The software of trainings on Azure ML: the project's own lock, as a registered environment.

Its version follows from the lock's content, so that it is registered and built anew only when that changes,
and two jobs that do so at the same time do the same.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import project
from utils.platforms.azureml import faults, sdk, texts, waiting
from utils.platforms.protocol import PlatformError, Resource

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

LOCK = "azureml.lock"
PYTHON = "/opt/mlops/bin/python"
UNDERWAY = frozenset({"Running", "GettingOrProvisioningACR", "Queued"})

# With whatever the base image has: Azure ML's own come with conda, others with the Python itself.
_DOCKERFILE = """\
FROM {base}
COPY {lock} /opt/{lock}
RUN if command -v conda > /dev/null; \\
    then conda create --yes --quiet --prefix /opt/mlops python={python} pip && conda clean --yes --all; \\
    else python{python} -m venv /opt/mlops; fi && \\
    /opt/mlops/bin/python -m pip install --no-cache-dir --disable-pip-version-check \\
    --require-hashes --requirement /opt/{lock}
ENV PATH=/opt/mlops/bin:$PATH
"""


def provision(site: Site) -> Resource:
    """Register and build the environment of the lock as it is now, unless that is there.

    Raises
    ------
    PlatformError
        If it can't be registered or built.
    """
    if site.settings.compute.target == "local":
        return Resource("environment", "found", "this one, where the command runs")
    name = site.settings.environment.name
    if site.inside:
        return Resource("environment", "found", f"{name}, in which this process runs")
    state = _built(site)[1]
    return Resource("environment", state, f"{name}, version {version(site)}")


def registered(site: Site) -> Any:
    """Return the registered environment, as the SDK has it; it is registered and built if need be.

    Raises
    ------
    PlatformError
        If it can't be had.
    """
    return _built(site)[0]


def version(site: Site) -> str:
    """Return the environment's version: the first twelve digits of a SHA-256 over all that it is made of."""
    content = dockerfile(site) + _lock().read_text(encoding="utf-8")
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def dockerfile(site: Site) -> str:
    """Return what the environment's image is built by."""
    base = site.settings.environment.base_image
    if not base:
        sdk.load()
        from azureml.core.environment import DEFAULT_CPU_IMAGE

        base = DEFAULT_CPU_IMAGE
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _DOCKERFILE.format(base=base, lock=LOCK, python=python)


def _lock() -> Path:
    path = project.root() / LOCK
    if not path.is_file():
        raise PlatformError(f"{LOCK} isn't there: `make lock` writes it.")
    return path


def _built(site: Site) -> tuple[Any, str]:
    """Return the environment, with "created" or "found"."""
    name = site.settings.environment.name
    found, state = _find(site), "found"
    if found is None:
        found, state = _register(site), "created"
    with faults.speaking(f"The image of the environment {name!r} can't be asked after"):
        if not site.retried(lambda: found.get_image_details(site.workspace)).image_exist:
            _build(site, found)
            state = "created"
    return found, state


def _find(site: Site) -> Any:
    name = site.settings.environment.name
    with faults.speaking(f"The environment {name!r} can't be read"):
        environment = sdk.core().Environment
        try:
            return site.retried(lambda: environment.get(site.workspace, name, version=version(site)))
        except Exception as error:
            if faults.missing(error):
                return None
            raise


def _register(site: Site) -> Any:
    name = site.settings.environment.name
    refusal = f"The environment {name!r} can't be registered"
    with faults.speaking(refusal), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(dockerfile(site), encoding="utf-8")
        (Path(folder) / LOCK).write_bytes(_lock().read_bytes())
        from azureml.core.environment import DockerBuildContext, Environment

        context = site.retried(lambda: DockerBuildContext.from_local_directory(site.workspace, folder))
        made = Environment.from_docker_build_context(name, context)
        made.python.user_managed_dependencies = True
        made.python.interpreter_path = PYTHON
        made.version = version(site)
        return site.retried(lambda: made.register(site.workspace))


def _build(site: Site, environment: Any) -> None:
    """Build the environment's image in Azure, and wait for it."""
    label = f"The image of the environment {environment.name!r} (version {environment.version})"
    with faults.speaking(f"{label} can't be built"):
        build = site.retried(lambda: environment.build(site.workspace))

        def look() -> tuple[Any, str]:
            status = str(build.status)
            if status in UNDERWAY:
                return None, status
            if status != "Succeeded":
                said = f"{_last(build)} (its log is in the studio, under Environments)"
                raise faults.failed(f"{label} can't be built", {"code": f"Build{status}", "message": said})
            return status, "built"

        waiting.wait_for(
            label,
            look,
            timeout=site.settings.timeouts.environment,
            interval=site.settings.poll_seconds,
        )


def _last(build: Any) -> str:
    """Return the last line of a build's log that says something."""
    try:
        lines = [line.strip() for line in str(build.get_log() or "").splitlines() if line.strip()]
    except Exception:  # that there is no log mustn't hide why it is wanted
        lines = []
    telling = [line for line in lines if "error" in line.lower()]
    return texts.line((telling or lines or ["there is no log"])[-1])
