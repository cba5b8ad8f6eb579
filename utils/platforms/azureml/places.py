"""One environment of one service: its record, its web service, and how one is made what the other says."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import faults, inference, sdk, signing
from utils.platforms.azureml.ledger import Ledger, State, Version
from utils.platforms.azureml.packages import Kept, Packages
from utils.platforms.azureml.running import Running
from utils.platforms.azureml.services import Services
from utils.platforms.protocol import Endpoint, PlatformError

if TYPE_CHECKING:
    from utils.packaging import Package
    from utils.platforms.azureml.workspace import Site

# What a web service may be called in Azure ML, in which every character is paid for.
LONGEST = 32
KINDS = {"production": "AKS"}
# What stands in the key vault for keys that are no more.
FORGOTTEN = "-"
TARGETS = {"ACI": "a container instance", "AKS": "the Kubernetes cluster"}


class Place:
    """One environment of one service. Who changes anything holds its record.

    Parameters
    ----------
    site : Site
    service, environment : str
        Which.
    """

    def __init__(self, site: Site, service: str, environment: str) -> None:
        self._site = site
        self._service = service
        self._environment = environment
        self.name = name_of(service, environment)
        self.where = f"{service} in {environment}"
        self.what = f"The service {self.name}"
        self.ledger = Ledger(site, service, environment)
        self.services = Services(site)
        self.packages = Packages(site)

    @property
    def kind(self) -> str:
        """What the environment runs on: production on the cluster, others in a container instance."""
        return KINDS.get(self._environment, "ACI")

    def running(self) -> Running | None:
        """Return the web service, or None.

        Raises
        ------
        PlatformError
            If one of that name is another's.
        """
        found = self.services.look(self.name)
        mine = (self._service, self._environment)
        if found is not None and (found.tags.get("scenario"), found.tags.get("environment")) != mine:
            raise PlatformError(
                f"There is a service {self.name} in the workspace, but it isn't {self.where} (its tags say "
                f"scenario {found.tags.get('scenario')}): nothing is done to it. Rename the scenario."
            )
        return found

    def version(self, package: Package, image: str) -> Version:
        """Keep a verified package in the workspace; return the version that it is."""
        model = self.packages.keep(self._service, package)
        return Version(
            digest=package.digest,
            model_version=package.manifest.version,
            confirmed=False,
            image=image,
            package=model.id,
        )

    def changed(self, state: State, version: Version) -> Running:
        """Let the web service run a version; if it doesn't get ready, put back the one that was live before.

        Raises
        ------
        PlatformError
            Why it doesn't get ready, and whether the one before serves again.
        """
        before = state.model_copy(deep=True)
        try:
            return self.bring(state, version)
        except PlatformError as error:
            raise self._put_back(before, error) from None

    def record(self, state: State, live: Version, previous: Version | None, running: Running) -> Endpoint:
        """Record what is live: all at once, so that there is nothing between before and after."""
        state.live, state.previous = live, previous
        state.wanted, state.stopped = None, False
        state.url = running.url.removesuffix("/score")
        state.tidy()
        self.ledger.write(state)
        return self.endpoint(state, running)

    def bring(self, state: State, version: Version) -> Running:
        """Let the web service run a version, and wait until it does.

        If it does so already, or is about to because another process has begun it, nothing is begun anew.
        """
        found = self.running()
        if found is not None and found.state == "Transitioning" and not found.runs(version.package):
            # It can't be changed as long as it is being changed.
            found = self.services.settle(self.name, self.what)
        if found is not None and found.runs(version.package):
            if found.healthy:
                return found
            if found.state == "Transitioning":
                return self.services.wait(self.name, version.package, found.operation, self.what)
        keys = None if found is not None else self._kept_keys()
        state.wanted = version
        self.ledger.write(state)
        # What is uploaded for the service was fetched before: so it is known to be there for the next time.
        with self.packages.fetched(version.package, version.digest) as kept:
            self.ledger.demand()
            operation = self.services.change(
                self.name,
                self.kind,
                kept.model,
                self._configuration(kept, version),
                self._tags(version),
                keys,
            )
        return self.services.wait(self.name, version.package, operation, self.what)

    def endpoint(self, state: State, running: Running | None) -> Endpoint:
        """Describe what is live."""
        live = state.live
        assert live is not None  # noqa: S101 - for the type checker: every caller has looked
        details: dict[str, Any] = {
            "alive": running is not None and running.healthy and running.runs(live.package),
            "target": TARGETS[self.kind],
            "service": self.name,
            "share": 100,
            "previous": state.previous.digest if state.previous is not None else None,
        }
        if running is not None:
            details |= {"state": running.state, "image": live.image, "image_digest": running.image_digest}
            details |= {"replicas": dict(running.replicas)} if running.replicas else {}
        return Endpoint(
            self._environment,
            self._service,
            state.url,
            live.digest,
            live.model_version,
            live.confirmed,
            details,
            routes=(),
        )

    def stop(self) -> None:
        """Take the web service down, and keep its keys in the vault: callers go on with them afterwards."""
        if self.running() is None:
            return
        self._keep_keys("\n".join(self.services.keys(self.name)))
        self.take_down()

    def take_down(self) -> None:
        """Take the web service down, whatever it runs."""
        if self.running() is not None:
            self.ledger.demand()
            self.services.delete(self.name, self.what)

    def clear(self) -> None:
        """Take the web service down, and forget its record and its keys."""
        self.take_down()
        if self._kept_keys() is not None:
            self._keep_keys(FORGOTTEN)
        self.ledger.delete()

    # -------------------------------------------------------------- parts

    def _configuration(self, kept: Kept, version: Version) -> Any:
        variables = inference.variables(signing.public_keys(self._site))
        software = (
            inference.built(version.image, variables)
            if version.image
            else inference.environment(kept.package, self._site.settings.scoring.base_image, variables)
        )
        return inference.configuration(kept.package.folder, software)

    def _tags(self, version: Version) -> dict[str, str]:
        return {
            "scenario": self._service,
            "environment": self._environment,
            "digest": version.digest,
            "model_version": version.model_version,
        }

    def _put_back(self, before: State, error: PlatformError) -> PlatformError:
        """Return to what there was before a version has failed; return the error that tells both.

        That is the version confirmed last, or one that was never confirmed if there is no other.
        """
        kept = before.kept or before.live
        try:
            running = self.running()
            if running is None or (kept is not None and running.healthy and running.runs(kept.package)):
                # Nothing was changed, or not even made.
                before.wanted = None
                self.ledger.write(before)
                return error
            if kept is None:
                self.take_down()
                before.wanted = None
                self.ledger.write(before)
                return PlatformError(f"{error}\nNothing was live before: the service is taken down.")
            self.record(before, kept, None, self.bring(before, kept))
        except PlatformError as second:
            return PlatformError(
                f"{error}\nAnd version {kept.model_version if kept else '(none)'}, which was live before, "
                f"couldn't be put back: {second}\nSee python -m ci status, then try again: python -m ci up."
            )
        return PlatformError(f"{error}\nVersion {kept.model_version}, which was live before, is put back.")

    def _kept_keys(self) -> tuple[str, str] | None:
        """Return the keys that the service had when it was stopped, or None if it wasn't."""
        with faults.speaking(f"The keys of {self.where} can't be read from the key vault"), sdk.quiet():
            vault = self._site.workspace.get_default_keyvault()
            found = self._site.retried(lambda: vault.get_secrets([self._secret]))[self._secret]
        if found is None or found == FORGOTTEN:
            return None
        first, second = found.split("\n")
        return first, second

    def _keep_keys(self, keys: str) -> None:
        # None is ever deleted: the vault would refuse another of its name for months.
        with faults.speaking(f"The keys of {self.where} can't be kept in the key vault"), sdk.quiet():
            vault = self._site.workspace.get_default_keyvault()
            self._site.retried(lambda: vault.set_secret(self._secret, keys))

    @property
    def _secret(self) -> str:
        return f"mlops-keys-{self.name}"


def name_of(service: str, environment: str) -> str:
    """Return what a web service is called in the workspace.

    Azure takes 3 to 32 lower-case letters, digits and hyphens. Where something had to be cut off, a digest
    stands for it. Two scenarios may still come to the same name: the service's tags tell whose it is.
    """
    words = re.sub(r"[^a-z0-9]+", "-", f"{service}-{environment}".lower()).strip("-")
    words = words if words[:1].isalpha() else f"s-{words}"
    if len(words) <= LONGEST:
        return words
    mark = hashlib.sha256(words.encode()).hexdigest()[:6]
    tail = f"-{mark}-{environment}".lower()
    return words[: LONGEST - len(tail)].rstrip("-") + tail
