"""The model registry: Azure ML's registered models; the champion is the version that was promoted last."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from utils.platforms.azureml import sdk
from utils.platforms.azureml.faults import speaking
from utils.platforms.azureml.records import Record
from utils.platforms.azureml.versions import Version, Versions
from utils.platforms.protocol import ModelVersion, PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.history import AzureHistory
    from utils.platforms.azureml.workspace import Site

MODEL_FOLDER = "model"
MODEL = f"{MODEL_FOLDER}/model.skops"

# Properties, which nobody can change.
KEY = "registration_key"
DIGEST = "model_digest"
# Tags. The first decides, the second is for people.
SINCE = "champion_since"
MARK = "in_production"

_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


class AzureRegistry:
    """Models in the workspace; see `utils.platforms.protocol.ModelRegistry`.

    Parameters
    ----------
    site : Site
        The workspace.
    history : AzureHistory
        Has the trainings that versions are made of.
    served : callable
        Takes a service's name, and returns the version whose model production serves, confirmed; None where
        it serves nothing, or was stopped. It raises where nobody can tell.
    """

    def __init__(self, site: Site, history: AzureHistory, served: Callable[[str], str | None]) -> None:
        self._site = site
        self._history = history
        self._served = served
        self._versions = Versions(site)

    def register(self, name: str, training_run: str, *, tags: Mapping[str, str], key: str) -> ModelVersion:
        """Register the folder "model" of a training, once for each `key`, whoever else does so as well.

        Raises
        ------
        PlatformError
            If the training isn't complete or has no model file, the key belongs to another training, or Azure
            refuses; then there is no new version.
        """
        _check_name(name)
        _check_key(key)
        with speaking(f"A version of {name!r} can't be registered"), sdk.quiet():
            found = self._with_key(name, key)
            if not found:
                record = self._history.recorded(training_run)
                if MODEL not in record.files:
                    raise PlatformError(
                        f"The training {training_run} has no {MODEL} to register: train again."
                    )
                found = self._make(name, training_run, tags, {KEY: key, DIGEST: _digest(record)})
            first = found[0]
            if first.run != training_run:
                raise PlatformError(
                    f"{key!r} has already registered {name!r} version {first.number}, of another training "
                    f"({first.run}): register {training_run} under another key."
                )
            return _told(first)

    def version(self, name: str, version: str) -> ModelVersion:
        """Return one version.

        Raises
        ------
        PlatformError
            If there is none of that number, or Azure can't be reached.
        """
        with speaking(f"{name!r} version {version} can't be read"), sdk.quiet():
            return _told(self._get(name, version))

    def newest(self, name: str) -> ModelVersion | None:
        """Return the version with the highest number, or None if the model has none.

        Raises
        ------
        PlatformError
            If Azure can't be reached.
        """
        _check_name(name)
        with speaking(f"The versions of {name!r} can't be read"), sdk.quiet():
            found = self._versions.all(name)
        return _told(found[-1]) if found else None

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version that was promoted last, or None if none ever was; production has to agree.

        Raises
        ------
        PlatformError
            If production serves another version, a mark can't be read, or Azure can't be reached.
        """
        _check_name(name)
        with speaking(f"The champion of {name!r} can't be read"), sdk.quiet():
            found = _champion(self._versions.all(name))
            serving = self._served(name)
        if serving is not None and serving != (str(found.number) if found else None):
            has = f"version {found.number} is the champion" if found else "there is no champion"
            raise PlatformError(
                f"Production serves {name!r} version {serving}, but in the registry {has}: if its release "
                "was interrupted, finish it (python -m ci resume); else go back (python -m ci rollback), "
                "which makes the version that is served then the champion."
            )
        return _told(found) if found else None

    def champion_version(self, name: str) -> str | None:
        """Return the champion's number, or None; as `champion` does.

        Raises
        ------
        PlatformError
            As there.
        """
        found = self.champion(name)
        return found.version if found else None

    def promote(self, name: str, version: str) -> None:
        """Make a version the champion, by one request: its mark is later than any other's from then on.

        Raises
        ------
        PlatformError
            If there is no such version, or Azure refuses.
        """
        with speaking(f"{name!r} version {version} can't be promoted"), sdk.quiet():
            # It has to be there before anything else is asked.
            found = self._get(name, version)
            others = [each for each in self._versions.all(name) if each.number != found.number]
            self._versions.tag(found, {SINCE: _later([found, *others]), MARK: "yes"})
        for each in others:
            if MARK in each.tags:
                with speaking(f"{name!r} version {each.number} is still marked as {MARK}"), sdk.quiet():
                    self._versions.tag(each, {}, remove=(MARK,))

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version.

        Raises
        ------
        PlatformError
            If there is no such version, a tag is one of the registry's own, or Azure refuses.
        """
        own = sorted({SINCE, MARK} & tags.keys())
        if own:
            raise PlatformError(f"The tag {own[0]!r} is the registry's own: choose another name.")
        with speaking(f"{name!r} version {version} can't be tagged"), sdk.quiet():
            self._versions.tag(self._get(name, version), {tag: str(value) for tag, value in tags.items()})

    def download(self, name: str, version: str, destination: Path) -> Path:
        """Copy a version's model folder to `destination`, in place of what was there.

        Raises
        ------
        PlatformError
            If there is no such version, its files aren't those that were registered, or Azure can't be
            reached.
        """
        with speaking(f"The model of {name!r} version {version} can't be copied"), sdk.quiet():
            found = self._get(name, version)
            expected = found.properties.get(DIGEST)
            if not expected or not found.run:
                raise PlatformError(
                    f"{name!r} version {version} wasn't registered by this project: it doesn't say what it "
                    "is made of."
                )
            if _digest(self._history.recorded(found.run)) != expected:
                raise PlatformError(
                    f"The files of {name!r} version {version} aren't those that were registered: something "
                    f"was added to the training {found.run} since. Train and register again."
                )
            destination.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as aside:
                copied = self._history.download(found.run, MODEL_FOLDER, Path(aside))
                shutil.rmtree(destination, ignore_errors=True)
                shutil.move(copied, destination)
        return destination

    def _get(self, name: str, version: str) -> Version:
        if not re.fullmatch(r"[1-9]\d*", version):
            raise PlatformError(f"There is no {name!r} version {version}: versions are numbers from 1.")
        _check_name(name)
        return self._versions.get(name, version)

    def _with_key(self, name: str, key: str) -> list[Version]:
        return [each for each in self._versions.all(name) if each.properties.get(KEY) == key]

    def _make(
        self, name: str, training_run: str, tags: Mapping[str, str], properties: Mapping[str, str]
    ) -> list[Version]:
        """Register a version, and see to it that it is the only one with its key; return it.

        The first one counts: of two jobs that register at once, or one whose answer was lost.
        """
        run = self._site.retried(lambda: sdk.core().Run.get(self._site.workspace, training_run))
        key = properties[KEY]

        def once() -> list[Version]:
            there = self._with_key(name, key)
            if there:
                return there
            made = run.register_model(
                name,
                model_path=MODEL_FOLDER,
                tags={tag: str(value) for tag, value in tags.items()},
                properties=dict(properties),
            )
            mine = Version(name, int(made.version), training_run, made.tags or {}, made.properties or {})
            listed = {each.number: each for each in self._with_key(name, key)}
            # One's own may not be listed yet.
            return sorted({mine.number: mine, **listed}.values(), key=lambda each: each.number)

        first, *others = self._site.retried(once)
        for each in others:
            self._versions.delete(each)
        return [first]


def _champion(versions: list[Version]) -> Version | None:
    marked = [each for each in versions if SINCE in each.tags]
    return max(marked, key=lambda each: (_moment(each), each.number)) if marked else None


def _moment(version: Version) -> datetime:
    try:
        return datetime.strptime(version.tags[SINCE], _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        raise PlatformError(
            f"The tag {SINCE} of {version.name!r} version {version.number} was changed by hand: it is "
            f"{version.tags[SINCE]!r}, so that nobody can tell which version is the champion. Remove that "
            "tag in the studio, or write the time as it was."
        ) from None


def _later(versions: list[Version]) -> str:
    """Return the time; where the last promotion seems to be in the future, a moment later: clocks differ."""
    last = max((_moment(each) for each in versions if SINCE in each.tags), default=None)
    now = datetime.now(UTC)
    return (now if last is None else max(now, last + timedelta(microseconds=1))).strftime(_MOMENT)


def _digest(record: Record) -> str:
    """Return the SHA-256 of what the model's folder holds: paths and digests of its files."""
    held = sorted((path, kept.sha256) for path, kept in record.below(MODEL_FOLDER).items())
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()


def _told(found: Version) -> ModelVersion:
    tags = {tag: value for tag, value in found.tags.items() if tag not in (SINCE, MARK)}
    return ModelVersion(found.name, str(found.number), found.run, tags)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", name):
        raise PlatformError(
            f"{name!r} can't be the name of a model: use letters, digits, '.', '-' and '_', and begin with a "
            "letter or a digit."
        )


def _check_key(key: str) -> None:
    # It becomes a property; the characters are those that every platform takes.
    if not re.fullmatch(r"[\w.@+ -]{1,1000}", key):
        raise PlatformError(
            f"{key!r} can't be the name of a key: use letters, digits, spaces, '.', '-' and '_'."
        )
