"""Endpoints: one web service for each scenario in each environment, updated in place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from utils.platforms.azureml import ledger, waiting
from utils.platforms.azureml.places import Place
from utils.platforms.protocol import Endpoint, PlatformError

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

# Another process may be waiting for a deployment itself.
LOCK_SECONDS = 2400.0


class AzureEndpoints:
    """Web services of the workspace; see `utils.platforms.protocol.Endpoints`.

    Which version is live, and what was before, is in a record on the workspace's datastore. A version is an
    update of the web service in its place: Azure leads requests to it once it is ready, and never to two
    versions side by side.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def deploy(
        self, package: Path, service: str, environment: str, *, image: str = "", traffic: int = 100
    ) -> Endpoint:
        """Let the environment's web service run a package; a first one is made.

        If it doesn't get healthy, the version confirmed last is put back. A package that is live is left as
        it is. What a process before has begun is taken up.

        Raises
        ------
        PlatformError
            If the package isn't as its manifest and signature say, its service doesn't get healthy, or only a
            share of the requests is asked for.
        """
        if not 1 <= traffic <= 100:
            raise PlatformError(f"The share of the requests is {traffic} per cent: give 1 to 100.")
        if traffic < 100:
            raise PlatformError(
                f"A share of {traffic} per cent was asked for, but on Azure a web service is updated in its "
                "place, for all requests at once: release to all (traffic 100). Nothing has been changed."
            )
        place = self._place(service, environment)
        with place.packages.verified(package) as verified, self._held(place):
            state = place.ledger.read()
            live, previous, kept = state.live, state.previous, state.kept
            if live is not None and live.digest == verified.digest:
                return place.record(state, live, previous, place.changed(state, live))
            if kept is not None and kept.digest == verified.digest:
                return place.record(state, kept, None, place.changed(state, kept))
            fresh = place.version(verified, image)
            running = place.changed(state, fresh)
            state.note("deployed", fresh)
            return place.record(state, fresh, kept, running)

    def find(self, service: str, environment: str) -> Endpoint | None:
        """Return what is live, or None if nothing was deployed.

        Its details tell whether it is `alive`, and what Azure says of its state.

        Raises
        ------
        PlatformError
            If the record or the web service can't be read.
        """
        place = self._place(service, environment)
        state = place.ledger.read()
        return None if state.live is None else place.endpoint(state, place.running())

    def keys(self, service: str, environment: str, *, rotate: int | None = None) -> tuple[str, str]:
        """Return the two API keys of a web service, which Azure makes.

        Parameters
        ----------
        rotate : 1 or 2, optional
            Which of them Azure replaces before.

        Raises
        ------
        PlatformError
            If there is no web service, or the keys can't be read.
        """
        if rotate not in (None, 1, 2):
            raise PlatformError(f"An endpoint has the keys 1 and 2, but no key {rotate}.")
        place = self._place(service, environment)
        if place.running() is None:
            raise PlatformError(
                f"There is no service of {place.where}, so that it has no keys: Azure makes them when it is "
                "deployed."
            )
        if rotate is not None:
            with self._held(place):
                place.services.rotate(place.name, rotate)
        return place.services.keys(place.name)

    def confirm(self, service: str, environment: str) -> Endpoint:
        """Keep the live version for good.

        Raises
        ------
        PlatformError
            If nothing is live, or what is live isn't healthy.
        """
        place = self._place(service, environment)
        if place.ledger.read().live is None:
            raise PlatformError(f"Nothing is deployed as {place.where}: deploy a package first.")
        with self._held(place):
            state = place.ledger.read()
            live = state.live
            if live is None:
                raise PlatformError(f"Somebody has just removed {place.where}: deploy a package first.")
            running = place.running()
            if running is None or not (running.healthy and running.runs(live.package)):
                said = f" (Azure says: {running.state.lower()})" if running else ""
                raise PlatformError(f"The service {place.where} doesn't answer{said}: deploy it again.")
            if state.previous is not None:
                state.earlier.insert(0, state.previous)
            if not live.confirmed:
                state.note("confirmed", live)
            return place.record(state, live.model_copy(update={"confirmed": True}), None, running)

    def restore(self, service: str, environment: str) -> Endpoint | None:
        """Put back the version confirmed last, also after a process was ended while it deployed another.

        Returns
        -------
        Endpoint or None
            What is live afterwards: the live one if it is confirmed itself, None if none ever was.

        Raises
        ------
        PlatformError
            If it doesn't get healthy.
        """
        place = self._place(service, environment)
        if not place.ledger.exists and place.running() is None:
            return None
        with self._held(place):
            state = place.ledger.read()
            kept = state.kept
            if kept is None:
                place.clear()
                return None
            if kept is not state.live:
                state.note("restored", kept)
            return place.record(state, kept, None, place.bring(state, kept))

    def rollback(
        self, service: str, environment: str, *, version: str = "", by: str = "", comment: str = ""
    ) -> Endpoint:
        """Go back to a version that was confirmed earlier: its package is fetched, verified, deployed again.

        Raises
        ------
        PlatformError
            If there is none, or it doesn't get healthy; then what was live is put back.
        """
        place = self._place(service, environment)
        with self._held(place):
            state = place.ledger.read()
            chosen = state.choose(version, place.where)
            running = place.changed(state, chosen)
            state.withdraw(chosen)
            state.note("rolled back", chosen, by=by, comment=comment)
            return place.record(state, chosen, None, running)

    def stop(self, service: str, environment: str) -> None:
        """Take a web service down, which costs nothing then, and keep its record: `restore` starts it again.

        It has the same keys then, and on the cluster the same address.

        Raises
        ------
        PlatformError
            If it can't be taken down.
        """
        place = self._place(service, environment)
        if place.ledger.read().live is None:
            return
        with self._held(place):
            state = place.ledger.read()
            place.stop()
            if not state.stopped:
                state.note("stopped", state.live)
            state.stopped, state.wanted = True, None
            place.ledger.write(state)

    def remove(self, service: str, environment: str) -> None:
        """Take a web service down and forget its record, even if that is damaged; packages and images stay.

        Raises
        ------
        PlatformError
            If it can't be taken down.
        """
        place = self._place(service, environment)
        if not place.ledger.exists and place.running() is None:
            return
        with self._held(place):
            place.clear()

    def everything(self) -> list[Endpoint]:
        """Return what is live in every environment.

        One whose record can't be read is there too, with an `error` in its details, so that it can be
        removed.
        """
        found = []
        for service, environment in ledger.all_of(self._site):
            try:
                live = self.find(service, environment)
            except PlatformError as error:
                details = {"alive": False, "error": str(error)}
                live = Endpoint(environment, service, "", "", "", confirmed=False, details=details, routes=())
            if live is not None:
                found.append(live)
        return found

    def served(self, service: str) -> str | None:
        """Return the model version that production serves, confirmed; None if it serves none, or was stopped.

        Raises
        ------
        PlatformError
            If the web service runs something that its record doesn't know: then nobody can say what is live.
        """
        place = self._place(service, "production")
        state = place.ledger.read()
        running = place.running()
        known = [each for each in (state.live, state.previous, state.wanted) if each is not None]
        if running is not None and not any(running.runs(each.package) for each in known):
            raise PlatformError(
                f"The service {place.name} runs {', '.join(running.models) or 'no model'}, which the record "
                f"of {place.where} doesn't know: somebody has changed it by other means. Deploy again, or "
                "take it down by python -m ci down."
            )
        return state.kept.model_version if state.kept is not None and running is not None else None

    def _place(self, service: str, environment: str) -> Place:
        for name in (service, environment):
            if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII):
                raise PlatformError(
                    f"{name!r} can't be the name of a service or environment: "
                    "use letters, digits, '_', '-' and '.'."
                )
        return Place(self._site, service, environment)

    @contextlib.contextmanager
    def _held(self, place: Place) -> Iterator[None]:
        with place.ledger.held(LOCK_SECONDS, waiting.show):
            yield
