"""What the run history and the registry say, asked without importing MLflow, which takes seconds.

The database is MLflow's own schema, a server is asked by MLflow's REST API:
https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from utils.platforms.protocol import PlatformError

SECONDS = 10
_DELETED = "Deleted_Internal"


class Database:
    """MLflow's SQLite database, read only.

    Parameters
    ----------
    path : Path
        Of the file. Where there is none, nothing was ever recorded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version of a model that has an alias, or None.

        Raises
        ------
        PlatformError
            If the database can't be read, or there is no such version any more.
        """
        if not self._path.exists():
            return None
        with self._opened() as database:
            found = _only(
                database.execute(
                    "SELECT * FROM registered_model_aliases WHERE name = ? AND alias = ?", (model, alias)
                )
            )
            if found is None:
                return None
            version = _only(
                database.execute(
                    "SELECT * FROM model_versions WHERE name = ? AND version = ? AND current_stage != ?",
                    (model, found["version"], _DELETED),
                )
            )
        if version is None:
            raise PlatformError(f"{model!r} has no version {found['version']}, which is its {alias}.")
        return str(found["version"])

    def made(self) -> str | None:
        """Return when the database was made, or None where there is none.

        Raises
        ------
        PlatformError
            If it can't be read, or doesn't say.
        """
        if not self._path.exists():
            return None
        # MLflow makes experiment 0 together with its tables.
        with self._opened() as database:
            found = _only(database.execute("SELECT * FROM experiments WHERE experiment_id = 0"))
        if found is None or not found["creation_time"]:
            raise PlatformError(f"{self._path} doesn't say when it was made.")
        return str(found["creation_time"])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            address = f"{self._path.resolve().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=SECONDS)) as database:
                database.row_factory = sqlite3.Row
                yield database
        except (sqlite3.Error, IndexError) as error:
            raise PlatformError(f"{self._path} can't be read: {error}") from error


def _only(rows: sqlite3.Cursor) -> Mapping[str, Any] | None:
    """Return the only row of those in MLflow's default workspace, which alone we use."""
    found = [dict(row) for row in rows]
    ours = [row for row in found if row.get("workspace", "default") == "default"]
    if len(ours) > 1:
        raise PlatformError("MLflow's database holds twice what must be there once.")
    return ours[0] if ours else None


class Server:
    """An MLflow server, asked by its REST API.

    Parameters
    ----------
    address : str
        http(s)://…; a user and a password in it are used, and never shown.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._authorization = _authorization(parts.username, parts.password)
        self._shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version of a model that has an alias, or None.

        Raises
        ------
        PlatformError
            If the server can't be asked, or there is no such version any more.
        """
        # Not registered-models/alias: its answer to an alias that isn't there is that of any wrong request.
        answer = self._get("registered-models/get", name=model)
        if answer is None:
            return None
        aliases = _part(answer, "registered_model").get("aliases", [])
        versions = [str(each["version"]) for each in aliases if each["alias"] == alias]
        if not versions:
            return None
        if self._get("model-versions/get", name=model, version=versions[0]) is None:
            raise PlatformError(f"{model!r} has no version {versions[0]}, which is its {alias}.")
        return versions[0]

    def made(self) -> str:
        """Return when the server's database was made, as far as it says; "" if it doesn't.

        Raises
        ------
        PlatformError
            If the server can't be asked.
        """
        answer = self._get("experiments/get", experiment_id="0")
        return "" if answer is None else str(_part(answer, "experiment").get("creation_time", ""))

    def _get(self, method: str, **query: str) -> dict[str, Any] | None:
        """Return the answer, or None only where the server says that there is no such thing."""
        address = f"{self._shown.rstrip('/')}/api/2.0/mlflow/{method}?{urlencode(query, quote_via=quote)}"
        request = urllib.request.Request(address)  # noqa: S310 - the caller has seen that it is http(s)
        if self._authorization:
            # Unlike other headers it isn't sent on to where a server redirects to.
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            with contextlib.suppress(ValueError, AttributeError):
                if json.loads(error.read()).get("error_code") == "RESOURCE_DOES_NOT_EXIST":
                    return None
            raise PlatformError(f"{self._shown} answers {method} with {error.code}.") from None
        except (OSError, ValueError) as error:
            raise PlatformError(f"{self._shown} can't be asked: {type(error).__name__}.") from None
        if not isinstance(answer, dict):
            raise PlatformError(f"{self._shown} answers {method} with something else than MLflow would.")
        return answer


def _part(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = answer.get(name)
    if not isinstance(part, dict):
        raise PlatformError(f"MLflow's answer has no {name}.")
    return part


def _authorization(user: str | None, password: str | None) -> str:
    """Return the header that MLflow's own client would send."""
    user = unquote(user or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if user and password:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Bearer {token}" if token else ""
