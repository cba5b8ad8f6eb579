"""The versions of registered models, as the service for models keeps them.

All of a model's versions are listed and looked through here: what a filter of the service would leave out
for reasons of its own would look as if it weren't there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

PAGE = 255


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes
    ----------
    name : str
        The model's.
    number : int
        From 1.
    run : str
        The run-history id of the run whose files it is made of.
    tags, properties : mapping
        Tags can be changed, properties can't.
    """

    name: str
    number: int
    run: str
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """By which the service knows it."""
        return f"{self.name}:{self.number}"


class Versions:
    """Versions in the workspace. Methods raise whatever the SDK raises.

    Parameters
    ----------
    site : Site
        The workspace.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self, name: str) -> list[Version]:
        """Return every version of a model, the lowest number first; none only if there really is none.

        Raises
        ------
        PlatformError
            If the service's list can't be followed to its end.
        """
        found = self._listed(name)
        # Nothing is decided from one empty answer: all models are looked through then.
        return found or self._listed(name, every=True)

    def get(self, name: str, number: str) -> Version:
        """Return one version."""
        client = self._client()
        return _version(self._site.retried(lambda: client.get_by_id(f"{name}:{number}")))

    def tag(self, version: Version, tags: Mapping[str, str], remove: tuple[str, ...] = ()) -> Version:
        """Change a version's tags by one request; return the version as it is then.

        Raises
        ------
        PlatformError
            If it hasn't these tags afterwards.
        """
        kept = {tag: value for tag, value in version.tags.items() if tag not in remove}
        wanted = {**kept, **tags}
        client = self._client()
        patch = [{"op": "replace", "path": "/kvTags", "value": wanted}]
        changed = _version(self._site.retried(lambda: client.patch(version.id, body=patch)))
        if any(changed.tags.get(tag) != value for tag, value in tags.items()):
            raise PlatformError(f"{version.name!r} version {version.number} didn't get its tags: try again.")
        return changed

    def delete(self, version: Version) -> None:
        """Delete a version; one that isn't there any more will do."""
        client = self._client()
        self._site.retried(lambda: client.delete(version.id))

    def _listed(self, name: str, *, every: bool = False) -> list[Version]:
        client = self._client()
        found: dict[int, Version] = {}
        token, seen = None, set()
        while True:
            page = self._site.retried(partial(self._page, client, None if every else name, token))
            found |= {int(each.version): _version(each) for each in page.value or [] if each.name == name}
            token = _next(page)
            if token is None:
                return [found[number] for number in sorted(found)]
            if token in seen:
                raise PlatformError("The list of models has no end: the service goes round in a circle.")
            seen.add(token)

    def _page(self, client: Any, name: str | None, token: str | None) -> Any:
        # Not `Model.list`: it takes a next page that it doesn't understand for the end.
        return client._execute_with_workspace_arguments(
            client._client.ml_models.list_query,
            name=name,
            count=PAGE,
            skip_token=token,
            latest_version_only=False,
            custom_headers=client.get_modelmanagement_custom_headers(),
        )

    def _client(self) -> Any:
        from azureml._restclient.models_client import ModelsClient

        return ModelsClient(self._site.workspace.service_context)


def _next(page: Any) -> str | None:
    """Return what the next page is asked for by, or None after the last."""
    if page.next_link:
        query = parse_qs(urlsplit(page.next_link).query)
        tokens = [values[-1] for key, values in query.items() if key.lower() == "$skiptoken"]
        if not tokens:
            raise PlatformError("The list of models goes on, and nobody says how to ask for the rest.")
        return str(tokens[0])
    return str(page.continuation_token) if page.continuation_token else None


def _version(found: Any) -> Version:
    return Version(
        str(found.name),
        int(found.version),
        str(found.run_id or ""),
        {tag: str(value or "") for tag, value in (found.kv_tags or {}).items()},
        dict(found.properties or {}),
    )
