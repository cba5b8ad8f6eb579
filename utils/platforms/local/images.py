"""Images of packages, built by this machine's container engine where services run from images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from utils import packaging
from utils.platforms.local import settings
from utils.platforms.protocol import Image, PlatformError


class LocalImages:
    """See `utils.platforms.protocol.Images`.

    Parameters
    ----------
    folder : Path
        For layers that are used again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        """Demand an engine that answers.

        Raises
        ------
        PlatformError
            If none does.
        """
        from utils import images
        from utils.images import engines

        try:
            engines.find(settings.read().engine)
        except (images.ImageError, ValueError) as error:
            raise PlatformError(str(error)) from error

    def build(self, package: Path, folder: Path) -> Image | None:
        """Build the image of a package, and push it where a registry is set; None where none is needed.

        Raises
        ------
        PlatformError
            If the package isn't sound, no engine answers, or the image can't be built or pushed.
        """
        given = settings.read()
        if not given.images:
            return None
        # Here, not above: whoever runs services as processes needs none of it.
        from utils import images

        try:
            made = images.build(
                packaging.load(package),
                folder=folder,
                cache=self._folder / "layers",
                base_image=given.base_image,
                engine=given.engine,
                registry=given.registry,
            )
        except (packaging.PackageError, images.ImageError, ValueError) as error:
            raise PlatformError(str(error)) from error
        return Image(made.reference, made.digest, made.size, [asdict(layer) for layer in made.layers])
