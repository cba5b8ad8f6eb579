"""Images of packages: built by Azure, kept in the workspace's container registry, known by their digest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import files
from utils.packaging import Package
from utils.platforms.azureml import environments, faults, inference, registries, sdk, signing
from utils.platforms.azureml.faults import speaking
from utils.platforms.azureml.packages import Packages
from utils.platforms.azureml.waiting import wait_for
from utils.platforms.protocol import Image, PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

RECORD = "build.json"
UNDERWAY = ("NotStarted", "Running")
LINES = 12


class AzureImages:
    """See `utils.platforms.protocol.Images`.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._packages = Packages(site)

    def build(self, package: Path, folder: Path) -> Image:
        """Let Azure build the image of a package, and push it to the workspace's registry.

        A build that another process has begun, and was ended before it had the image, is waited for; one
        that has succeeded isn't made again.

        Parameters
        ----------
        folder : Path
            Keeps which build it is.

        Raises
        ------
        PlatformError
            If the package isn't as its manifest and signature say, the build fails, or nobody tells the
            image's digest.
        """
        with self._packages.verified(package) as verified:
            what = f"The image of {verified.manifest.name} version {verified.manifest.version}"
            operation = _begun(folder, verified.digest)
            if operation is not None:
                location = self._location(operation, what, begun=True)
                if location is not None:
                    return self._look(location)
            operation = self._submit(verified, what)
            files.write_json(folder / RECORD, {"operation": operation, "package": verified.digest})
            location = self._location(operation, what)
            assert location is not None  # noqa: S101 - for the type checker: a build of our own is there
            return self._look(location)

    def _submit(self, package: Package, what: str) -> str:
        """Ask for the image; return the operation's id."""
        variables = inference.variables(signing.public_keys(self._site))
        software = inference.environment(package, self._site.settings.scoring.base_image, variables)
        name = package.manifest.name
        model = self._packages.keep(name, package)
        # As the SDK's `Model.package` does it, which looks at the build before it tells its id: whoever is
        # interrupted there would build again.
        from azureml._model_management._util import submit_mms_operation

        with speaking(f"{what} can't be built"), sdk.quiet():
            configuration = inference.configuration(package.folder, software)
            request = {
                "imageRequest": configuration._build_environment_image_request(
                    self._site.workspace, [model.id]
                ),
                "packageType": "DockerImage",
                "imageName": re.sub(r"[^a-z0-9]+", "-", f"scoring-{name}".lower()).strip("-"),
                "imageLabel": package.digest[:12],
            }
            # Asked for twice, an image is built twice, which harms nobody.
            return str(
                self._site.retried(
                    lambda: submit_mms_operation(self._site.workspace, "POST", "/packages", request)
                )
            )

    def _location(self, operation: str, what: str, *, begun: bool = False) -> str | None:
        """Wait for a build; return where the image is, or None if one begun before is lost or has failed.

        Raises
        ------
        PlatformError
            If it fails; the message ends with the last lines of its log.
        """
        from azureml._model_management._util import get_mms_operation

        def look() -> tuple[tuple[str | None] | None, str]:
            try:
                found = self._site.retried(lambda: get_mms_operation(self._site.workspace, operation))
            except Exception as error:
                if begun and faults.missing(error):
                    return (None,), "begun before, but Azure knows nothing of it any more"
                raise
            state = found["state"]
            if state in UNDERWAY:
                return None, _words(found)
            if state == "Succeeded" and found.get("resourceLocation"):
                return (str(found["resourceLocation"]),), "built"
            if begun:
                return (None,), f"begun before, but that build has ended ({state.lower()})"
            failure = faults.failed(f"{what} wasn't built", found.get("error") or {}, request=operation)
            raise PlatformError("\n".join([str(failure), *self._log_end(found.get("operationLog"))]))

        settings = self._site.settings
        with speaking(f"{what} can't be waited for"):
            found = wait_for(what, look, timeout=settings.timeouts.image, interval=settings.poll_seconds)
        return found[0]

    def _look(self, location: str) -> Image:
        with speaking("The credentials of the workspace's container registry can't be read"), sdk.quiet():
            return registries.look(location, *self._registry())

    def _registry(self) -> tuple[str, str, str]:
        """Return the address of the workspace's registry, and with whose name and password it is read."""
        from azureml._model_management._util import get_workspace_registry_credentials

        workspace = self._site.workspace
        if not self._site.inside:
            user, password = self._site.retried(lambda: get_workspace_registry_credentials(workspace))
            return f"{user}.azurecr.io", user, password
        # A run's own token is taken by the workspace's services alone, not where its keys are. The one for
        # environments tells those of the image that this process runs in.
        environment = environments.registered(self._site)
        details = self._site.retried(lambda: environment.get_image_details(workspace))
        found = details["dockerImage"]["registry"]
        if not (found.get("address") and found.get("username") and found.get("password")):
            raise PlatformError(
                "The workspace's container registry gives no password: let its admin user be enabled, or "
                "package where the command runs (compute.target: local)."
            )
        return found["address"], found["username"], found["password"]

    def _log_end(self, address: str | None) -> list[str]:
        """Return the last lines of a build's log."""
        import requests

        from utils.platforms.azureml import texts

        if not address:
            return []
        try:
            answer = requests.get(address, timeout=registries.TIMEOUT)
            answer.raise_for_status()
        except requests.RequestException as error:  # the reason is known; the log only helps
            return [f"Its log can't be read: {faults.read(error).message}"]
        lines = [line.rstrip() for line in answer.text.splitlines() if line.strip()]
        return ["Its log ends:", *(texts.line(line) for line in lines[-LINES:])]


def _begun(folder: Path, digest: str) -> str | None:
    """Return the build of this package that a process before has begun, or None."""
    try:
        record: dict[str, Any] = files.read_json(folder / RECORD)
        return str(record["operation"]) if record["package"] == digest else None
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError):
        return None


def _words(found: dict[str, Any]) -> str:
    step = (found.get("operationDetails") or {}).get("subOperationType") or ""
    return f"{found['state']} {step}".strip().lower()
