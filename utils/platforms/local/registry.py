"""The model registry: MLflow's registered models; the champion is the version with that alias."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.platforms.protocol import ModelVersion, PlatformError

if TYPE_CHECKING:
    from utils.platforms.local.store import Store

CHAMPION = "champion"
KEY = "registration_key"
MODEL_FOLDER = "model"


class LocalRegistry:
    """Models in MLflow; see `utils.platforms.protocol.ModelRegistry`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, name: str, training_run: str, *, tags: Mapping[str, str], key: str) -> ModelVersion:
        """Register the folder "model" of a training, once for each `key`.

        Callers on this workspace wait for each other, so that two of them with the same key get the
        same version. Callers on different machines that share an MLflow server don't.

        Raises
        ------
        PlatformError
            If the training has no model file, the key belongs to another training, or MLflow refuses.
        """
        _check_name(name)
        _check_name(key)
        store = self._store
        with store.speaking(f"A version of {name!r} can't be registered"), store.writing():
            client = store.client
            same = client.search_model_versions(f"name = '{name}' and tag.`{KEY}` = '{key}'")
            if same:
                if same[0].run_id != training_run:
                    raise PlatformError(
                        f"{key!r} has already registered {name!r} version {same[0].version}, of another "
                        f"training ({same[0].run_id}): register {training_run} under another key."
                    )
                return _version(same[0])
            address = client.get_run(training_run).info.artifact_uri
            if not any(
                entry.path == f"{MODEL_FOLDER}/model.skops"
                for entry in store.files(address).list_artifacts(MODEL_FOLDER)
            ):
                raise PlatformError(
                    f"The training {training_run} has no {MODEL_FOLDER}/model.skops to register: train again."
                )
            if _model(client, name) is None:
                client.create_registered_model(name)
            made = client.create_model_version(
                name,
                source=f"{address.rstrip('/')}/{MODEL_FOLDER}",
                run_id=training_run,
                tags={**{tag: str(value) for tag, value in tags.items()}, KEY: key},
            )
            return _version(made)

    def version(self, name: str, version: str) -> ModelVersion:
        """Return one version.

        Raises
        ------
        PlatformError
            If there is none of that number, or MLflow can't be reached.
        """
        with self._store.speaking(f"{name!r} version {version} can't be read"):
            return _version(self._store.client.get_model_version(name, version))

    def newest(self, name: str) -> ModelVersion | None:
        """Return the version with the highest number, or None if the model has none.

        Raises
        ------
        PlatformError
            If MLflow can't be reached.
        """
        _check_name(name)
        with self._store.speaking(f"The versions of {name!r} can't be read"):
            found = self._store.client.search_model_versions(
                f"name = '{name}'", max_results=1, order_by=["version_number DESC"]
            )
        return _version(found[0]) if found else None

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version with the alias "champion", or None if none was ever promoted.

        Raises
        ------
        PlatformError
            If MLflow can't be reached, or the alias points to a version that isn't there.
        """
        with self._store.speaking(f"The champion of {name!r} can't be read"):
            model = _model(self._store.client, name)
            if model is None or CHAMPION not in model.aliases:
                return None
            return _version(self._store.client.get_model_version(name, str(model.aliases[CHAMPION])))

    def champion_version(self, name: str) -> str | None:
        """Return the number of the version with the alias "champion", without importing MLflow.

        Raises
        ------
        PlatformError
            If the database or the server can't be read, or the alias points to a version that isn't there.
        """
        lookup = self._store.lookup
        # MLflow looks for the registry elsewhere where this variable names another than the history's place.
        if lookup is None or (self._store.server and os.environ.get("MLFLOW_REGISTRY_URI")):
            found = self.champion(name)
            return found.version if found is not None else None
        return lookup.alias(name, CHAMPION)

    def promote(self, name: str, version: str) -> None:
        """Give a version the alias "champion", which the one before loses.

        Raises
        ------
        PlatformError
            If there is no such version, or MLflow can't be reached.
        """
        store = self._store
        with store.speaking(f"{name!r} version {version} can't be promoted"), store.writing():
            store.client.get_model_version(name, version)
            store.client.set_registered_model_alias(name, CHAMPION, version)

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version.

        Raises
        ------
        PlatformError
            If there is no such version, or MLflow can't be reached.
        """
        store = self._store
        with store.speaking(f"{name!r} version {version} can't be tagged"), store.writing():
            for tag, value in tags.items():
                store.client.set_model_version_tag(name, version, tag, value)

    def download(self, name: str, version: str, destination: Path) -> Path:
        """Copy a version's model folder to `destination`, in place of what was there.

        Raises
        ------
        PlatformError
            If there is no such version, its files are gone, or MLflow can't be reached.
        """
        with self._store.speaking(f"The model of {name!r} version {version} can't be copied"):
            address = self._store.client.get_model_version_download_uri(name, version)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as aside:
                self._store.files(address).download_artifacts("", aside)
                if not (Path(aside) / "model.skops").is_file():
                    raise PlatformError(
                        f"{name!r} version {version} has no model.skops below {address}: its files are gone, "
                        "register the model again."
                    )
                shutil.rmtree(destination, ignore_errors=True)
                shutil.copytree(aside, destination)
        return destination


def _model(client: Any, name: str) -> Any:
    """Return a registered model, or None only where MLflow says that it doesn't exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _version(found: Any) -> ModelVersion:
    tags = {tag: value for tag, value in found.tags.items() if tag != KEY and not tag.startswith("mlflow.")}
    return ModelVersion(found.name, str(found.version), str(found.run_id or ""), tags)


def _check_name(name: str) -> None:
    # It goes into a search expression, for which MLflow knows no escape.
    if not re.fullmatch(r"[\w.@+ -]+", name):
        raise PlatformError(
            f"{name!r} can't be the name of a model or a key: use letters, digits, spaces, '.', '-' and '_'."
        )
