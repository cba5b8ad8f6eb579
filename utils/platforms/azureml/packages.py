"""Packages in the workspace: each is kept whole and signed as a version of the model `<scenario>-package`.

So what was deployed once can be fetched, verified and deployed again by whoever has the workspace, and the
workspace itself tells which service runs which package.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import packaging
from utils.packaging import Package
from utils.platforms.azureml import faults, sdk, signing
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

SUFFIX = "-package"
FOLDER = "package"


@dataclass(frozen=True)
class Kept:
    """A package that is in the workspace, and here.

    Attributes
    ----------
    package : Package
        Its verified copy, for as long as the context lasts.
    model : Model
        The SDK's registered model that holds it.
    """

    package: Package
    model: Any


class Packages:
    """The packages of a workspace."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @contextlib.contextmanager
    def verified(self, package: Path) -> Iterator[Package]:
        """Copy a package and verify the copy, which nobody changes any more while it is uploaded.

        Raises
        ------
        PlatformError
            If it isn't as its manifest and a trusted signature say.
        """
        with tempfile.TemporaryDirectory(prefix="package.") as aside:
            copy = Path(aside) / FOLDER
            if package.is_dir() and not package.is_symlink():
                shutil.copytree(package, copy, symlinks=True)
            try:
                found = packaging.load(copy if copy.exists() else package)
            except packaging.PackageError as error:
                raise PlatformError(str(error).replace(str(copy), str(package))) from error
            signing.verify(copy, self._site)
            yield found

    def keep(self, service: str, package: Package) -> Any:
        """Register a verified package, unless it is registered.

        Returns
        -------
        Model
            The SDK's registered model.
        """
        name = service + SUFFIX
        found = self._find(name, package.digest)
        if found is not None:
            return found
        try:
            with speaking(f"The package {package.digest[:12]} can't be kept in the workspace"), sdk.quiet():
                return self._register(name, package)
        except faults.AzureError as error:
            # An answer that was lost may have been a yes; asked twice, it would be registered twice.
            found = self._find(name, package.digest) if faults.passing(error.fault) else None
            if found is None:
                raise
            return found

    def _register(self, name: str, package: Package) -> Any:
        model, workspace, manifest = sdk.core().Model, self._site.workspace, package.manifest
        # In the SDK's own two steps: its `register` takes no folder but those below the working directory.
        asset = model._create_asset(workspace.service_context, str(package.folder), name)
        return model._register_with_asset(
            workspace,
            name,
            asset.id,
            # Properties can't be changed afterwards, tags can.
            properties={"digest": package.digest, "model": manifest.name, "model_version": manifest.version},
            description=f"Scoring package of {manifest.name}, version {manifest.version}",
        )

    @contextlib.contextmanager
    def fetched(self, model: str, digest: str) -> Iterator[Kept]:
        """Fetch a package that was kept, and verify it.

        Parameters
        ----------
        model : str
            The registered model's id, name and version.
        digest : str
            That the package has to have.

        Raises
        ------
        PlatformError
            If it is gone, another one, or not as its manifest and a trusted signature say.
        """
        with tempfile.TemporaryDirectory(prefix="package.") as aside:
            with (
                speaking(f"The package {digest[:12]} ({model}) can't be fetched from the workspace"),
                sdk.quiet(),
            ):
                kept = sdk.core().Model(self._site.workspace, id=model)
                self._site.retried(lambda: kept.download(aside, exist_ok=True))
            with self.verified(Path(aside) / FOLDER) as found:
                if found.digest != digest:
                    raise PlatformError(
                        f"{model} in the workspace holds the package {found.digest[:12]} instead of "
                        f"{digest[:12]}: it must not be deployed. Begin a new run, which builds a package."
                    )
                yield Kept(found, kept)

    def _find(self, name: str, digest: str) -> Any:
        with speaking(f"The packages {name} in the workspace can't be listed"), sdk.quiet():
            found = self._site.retried(
                lambda: sdk.core().Model.list(
                    self._site.workspace, name=name, properties=[["digest", digest]], expand=False
                )
            )
        # Two jobs at once may have registered it twice: it is the same one.
        return min(found, key=lambda each: int(each.version), default=None)
