"""Web services of the workspace: a container instance for staging, replicas on the cluster for production.

What is long is waited for here rather than by the SDK, which sleeps for five seconds at a time, can't be
taken up again by another process, and gives no reason that fits into a line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import compute, faults, logs, running, sdk, sizes
from utils.platforms.azureml.faults import speaking
from utils.platforms.azureml.running import Running
from utils.platforms.azureml.waiting import wait_for
from utils.platforms.protocol import PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

UNDERWAY = ("NotStarted", "Running")
KEYS = ("Primary", "Secondary")
RESUME = "run the same command again: it takes up what goes on in Azure"


class UnreadyError(PlatformError):
    """A service didn't get healthy; the message ends with its own log's last lines."""


class Services:
    """The web services of a workspace.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def look(self, name: str) -> Running | None:
        """Return a service, or None if there is none of that name."""
        with speaking(f"The service {name} can't be looked at"):
            found = self._site.retried(lambda: self._get(name))
        return None if found is None else running.read(found)

    def change(
        self,
        name: str,
        kind: str,
        model: Any,
        configuration: Any,
        tags: Mapping[str, str],
        keys: tuple[str, str] | None = None,
    ) -> str:
        """Let a service be made of a package: in its place if it is there, new otherwise.

        A service that is there goes on serving what it did until the new version is ready.

        Parameters
        ----------
        name, kind : str
            As of `Running`.
        model : Model
            The registered model that holds the package.
        configuration : InferenceConfig
        keys : tuple of str, optional
            For a new service; without them Azure makes some.

        Returns
        -------
        str
            The id of the operation, or "" if it isn't known.
        """
        with speaking(f"The service {name} can't be changed"):
            return self._sent(
                name, model.id, lambda: self._send(name, kind, model, configuration, tags, keys)
            )

    def wait(self, name: str, model: str, operation: str, what: str) -> Running:
        """Wait until a service is healthy, and made of a registered model.

        Parameters
        ----------
        model : str
            The model's id.
        operation : str
            The id of the operation that makes it so; "" if that isn't known.
        what : str
            The service, as the subject of a sentence.

        Raises
        ------
        UnreadyError
            If it isn't, and won't be.
        """

        def look() -> tuple[Running | None, str]:
            state, sub, error = self._operation(operation)
            if state in UNDERWAY:
                return None, sub
            found = self.look(name)
            if found is None:
                raise UnreadyError(f"{what} is gone: somebody has deleted it. Deploy again.")
            if state == "Succeeded" and found.state == "Transitioning":
                return None, "transitioning"
            if state == "Succeeded" and found.healthy and found.runs(model):
                return found, "healthy"
            raise self._unready(found, what, operation, error)

        try:
            found: Running = self._waited(what, look)
        except (UnreadyError, faults.AzureError):
            raise
        except PlatformError as error:
            raise UnreadyError("\n".join([str(error), *self._log_end(name)])) from None
        return found

    def settle(self, name: str, what: str) -> Running | None:
        """Wait until whatever was begun on a service has ended, well or not; return it as it is then."""

        def look() -> tuple[tuple[Running | None], str] | tuple[None, str]:
            found = self.look(name)
            done = found is None or found.state not in ("Transitioning", "Deleting")
            return ((found,), "done") if done else (None, found.state.lower() if found else "")

        # One that is gone is a result as well, which None would not be.
        ended: tuple[Running | None] = self._waited(what, look)
        return ended[0]

    def delete(self, name: str, what: str) -> None:
        """Delete a service, and wait until it is gone. One that isn't there is fine."""
        from azureml._model_management._util import make_http_request

        def accepted(answer: Any) -> bool:
            return answer.status_code in (200, 202, 204, 404)

        with speaking(f"{what} can't be taken down"):
            self._site.retried(
                lambda: make_http_request("DELETE", self._address(name), accepted, headers=self._headers())
            )

        def look() -> tuple[bool | None, str]:
            found = self.look(name)
            return (True, "taken down") if found is None else (None, f"being taken down ({found.state})")

        self._waited(what, look)

    def keys(self, name: str) -> tuple[str, str]:
        """Return a service's two API keys."""
        with speaking(f"The keys of the service {name} can't be read"):
            found = self._site.retried(lambda: self._request("POST", f"/services/{name}/listkeys").json())
            return str(found["primaryKey"]), str(found["secondaryKey"])

    def rotate(self, name: str, which: int) -> None:
        """Let Azure replace one of a service's API keys, 1 or 2, and wait until that is done."""
        with speaking(f"Key {which} of the service {name} can't be replaced"):
            body = {"keyType": KEYS[which - 1], "keyValue": None}
            operation = _id(self._request("POST", f"/services/{name}/regenerateKeys", body))

        def look() -> tuple[bool | None, str]:
            state, sub, error = self._operation(operation)
            if state in UNDERWAY:
                return None, sub
            if state != "Succeeded":
                raise faults.failed(
                    f"Key {which} of the service {name} wasn't replaced", error or {}, request=operation
                )
            return True, "replaced"

        self._waited(f"Key {which} of the service {name}", look)

    def log(self, name: str, lines: int = 500) -> str:
        """Return the end of a service's log, or "" if it has none."""
        params = {"tail": lines, "init": False}
        return str(self._request("GET", f"/services/{name}/logs", params=params).json().get("content") or "")

    # -------------------------------------------------------------- calls

    def _get(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = sdk.core().Webservice._get(self._site.workspace, name)
        return found

    def _send(
        self,
        name: str,
        kind: str,
        model: Any,
        configuration: Any,
        tags: Mapping[str, str],
        keys: tuple[str, str] | None,
    ) -> str:
        """Ask for the change, once; return the operation's id."""
        core, workspace, given = sdk.core(), self._site.workspace, self._site.settings
        with sdk.quiet():
            if self._get(name) is None:
                target = compute.cluster(self._site) if kind == "AKS" else None
                made = core.Model.deploy(
                    workspace,
                    name,
                    [model],
                    configuration,
                    sizes.configuration(kind, given, tags, keys),
                    target,
                )
            else:
                made = core.Webservice(workspace, name)
                # Where Azure doesn't give it back, the SDK would take the service for one of its first kind,
                # without an environment.
                made.environment = made.environment or configuration.environment
                scale = sizes.of_replicas(given.aks) if kind == "AKS" else {}
                made.update(models=[model], inference_config=configuration, tags=dict(tags), **scale)
        return str(made._operation_endpoint or "").rpartition("/")[2]

    def _sent(self, name: str, model: str, send: Callable[[], str]) -> str:
        """Ask for a change until it is known to be begun: after a lost answer nobody knows whether it was."""
        for attempt in range(1, faults.ATTEMPTS + 1):
            try:
                return send()
            except Exception as error:
                fault = faults.read(error)
                wait = faults.delay(fault, attempt)
                if not faults.passing(fault) or attempt == faults.ATTEMPTS or wait > faults.LONGEST:
                    raise
            time.sleep(wait)
            found = self.look(name)
            if found is not None and found.runs(model):
                return found.operation
        raise AssertionError("unreachable")

    def _operation(self, operation: str) -> tuple[str, str, Any]:
        """Return an operation's state, what it is at in words, and its error."""
        from azureml._model_management._util import get_mms_operation

        if not operation:
            return "Succeeded", "", None
        with speaking("An operation can't be looked at"):
            found = self._site.retried(lambda: get_mms_operation(self._site.workspace, operation))
        details = found.get("operationDetails") or {}
        step = details.get("subOperationType") or found.get("operationType") or ""
        return str(found["state"]), f"{found['state']} {step}".strip().lower(), found.get("error")

    def _unready(self, found: Running, what: str, operation: str, error: Any) -> UnreadyError:
        """Say why a service isn't as it should be, with the end of its log."""
        said = error or found.error or {}
        sentence = f"{what} doesn't get ready ({found.state.lower()})"
        told = str(faults.failed(sentence, said, request=operation)) if said else f"{sentence}."
        return UnreadyError("\n".join([told, *self._log_end(found.name)]))

    def _log_end(self, name: str) -> list[str]:
        try:
            end = logs.end(self.log(name))
        except Exception as error:  # the reason is known; the log only helps
            return [f"Its log can't be read: {faults.read(error).message}"]
        return ["Its log ends:", *end] if end else []

    def _waited(self, what: str, look: Callable[[], tuple[Any, str]]) -> Any:
        settings = self._site.settings
        return wait_for(
            what,
            look,
            timeout=settings.timeouts.deployment,
            interval=settings.poll_seconds,
            resume=RESUME,
        )

    def _address(self, name: str) -> str:
        from azureml._model_management._util import _get_mms_url

        return f"{_get_mms_url(self._site.workspace)}/services/{name}"

    def _headers(self) -> dict[str, str]:
        return dict(self._site.workspace._auth.get_authentication_header())

    def _request(
        self, method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        from azureml._model_management._util import make_mms_request

        return make_mms_request(self._site.workspace, method, path, body, dict(params or {}))


def _id(answer: Any) -> str:
    """Return the id of the operation that an answer has begun."""
    return str(answer.headers.get("Operation-Location", "")).rpartition("/")[2]
