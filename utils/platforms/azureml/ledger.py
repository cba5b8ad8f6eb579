"""The record of an environment: a blob on the workspace's datastore, which one process at a time may change.

Who changes it holds the blob's lease: the store itself then refuses every other writer. A lease lasts for
half a minute unless it is renewed, so that nobody has to clean up after a process that was killed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from utils.platforms import records
from utils.platforms.azureml import blobs, faults
from utils.platforms.azureml.faults import speaking
from utils.platforms.protocol import PlatformError
from utils.platforms.records import Record

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

FOLDER = "mlops/endpoints"
LEASE = 30  # seconds; the store takes 15 to 60
HELD = ("LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired")
LOST = (
    "LeaseIdMissing",
    "LeaseIdMismatchWithBlobOperation",
    "LeaseIdMismatchWithLeaseOperation",
    "LeaseLost",
)


class Version(records.Version):
    """A version that was deployed.

    Attributes
    ----------
    package : str
        The registered model that holds its package, such as "diabetes-package:7".
    """

    package: str


class State(Record[Version]):
    """What is live in an environment.

    Attributes
    ----------
    wanted : Version or None
        What the service is being changed to. Whoever finds one here, because the process that changed it was
        killed, looks at what became of it.
    stopped : bool
        Whether the service was taken down, to be started again some time.
    """

    wanted: Version | None = Field(default=None)
    stopped: bool = False


class Ledger:
    """The record of one environment of one service.

    Parameters
    ----------
    site : Site
    service, environment : str
        Whose.
    """

    def __init__(self, site: Site, service: str, environment: str) -> None:
        self._site = site
        self._where = f"{service} in {environment}"
        self._name = f"{FOLDER}/{service}/{environment}.json"
        self._lease: Any = None
        self._lost = False

    @contextlib.contextmanager
    def held(self, timeout: float, say: Callable[[str], None]) -> Iterator[None]:
        """Keep every other process from changing the record, for as long as the context lasts.

        Parameters
        ----------
        timeout : float
            How many seconds another process is waited for.
        say : callable
            Told that one is waited for.

        Raises
        ------
        PlatformError
            If another process holds it for too long.
        """
        with speaking(f"The record of {self._where} can't be changed"):
            self._lease = self._taken(timeout, say)
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(over,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            # If the store can't be reached now, the lease ends by itself.
            with contextlib.suppress(Exception):
                self._lease.release()
            self._lease = None

    def read(self) -> State:
        """Return what the record says; an empty one where there is none.

        Raises
        ------
        PlatformError
            If it can't be read.
        """
        with speaking(f"The record of {self._where} can't be read"):
            content = self._site.retried(self._content)
        try:
            return State.model_validate_json(content or b"{}")
        except ValidationError as error:
            raise PlatformError(
                f"The record of {self._where} ({self._name} on the datastore {self._site.datastore.name}) is "
                "damaged: take the service down by python -m ci down, then deploy again."
            ) from error

    def write(self, state: State) -> None:
        """Replace the record; only who holds it can.

        Raises
        ------
        PlatformError
            If somebody else holds it by now, or it can't be written.
        """
        self.demand()
        content = (state.model_dump_json(indent=2) + "\n").encode()
        with self._speaking():
            self._site.retried(lambda: self._blob.upload_blob(content, overwrite=True, lease=self._lease))

    def demand(self) -> None:
        """Make sure that nobody else can have changed anything; asked before the service itself is changed.

        Raises
        ------
        PlatformError
            If the record was not held all the time.
        """
        with self._speaking():
            if self._lost:
                raise self._stolen()
            self._site.retried(self._lease.renew)

    def delete(self) -> None:
        """Forget the record; only who holds it can."""
        with self._speaking():
            self._site.retried(lambda: self._blob.delete_blob(lease=self._lease))

    @property
    def exists(self) -> bool:
        """Whether there is a record."""
        with speaking(f"The record of {self._where} can't be read"):
            return self._site.retried(self._content) is not None

    @property
    def _blob(self) -> Any:
        return blobs.within(self._site.datastore, self._name)

    def _content(self) -> bytes | None:
        try:
            return bytes(self._blob.download_blob().readall())
        except Exception as error:
            if faults.missing(error, "BlobNotFound"):
                return None
            raise

    def _taken(self, timeout: float, say: Callable[[str], None]) -> Any:
        """Take the lease, as soon as nobody else has it."""
        began, told = time.monotonic(), False
        while True:
            try:
                return self._site.retried(lambda: self._blob.acquire_lease(lease_duration=LEASE))
            except Exception as error:
                fault = faults.read(error)
                if faults.missing(error, "BlobNotFound"):
                    self._made()
                    continue
                if fault.code not in HELD:
                    raise
            if time.monotonic() - began > timeout:
                raise PlatformError(
                    f"Another process has been changing {self._where} for {timeout:g} seconds: wait for it "
                    "or end it, then try again."
                )
            if not told:
                say(f"Another process is changing {self._where}: waiting for it")
                told = True
            time.sleep(min(1.0, self._site.settings.poll_seconds))

    def _made(self) -> None:
        """Let there be an empty record, as a lease needs a blob. One that somebody has just made stays."""
        try:
            self._blob.upload_blob(b"{}\n", overwrite=False)
        except Exception as error:
            if faults.read(error).code not in ("BlobAlreadyExists", *LOST):
                raise

    def _renew(self, over: threading.Event) -> None:
        while not over.wait(LEASE / 3):
            try:
                self._lease.renew()
            except Exception as error:  # in this thread nobody would hear of it
                # What fails in passing is tried again soon; what was lost is told by the next change.
                self._lost = not faults.passing(faults.read(error))
                if self._lost:
                    return

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            with speaking(f"The record of {self._where} can't be changed"):
                yield
        except faults.AzureError as error:
            if error.fault.code in LOST:
                raise self._stolen() from None
            raise

    def _stolen(self) -> PlatformError:
        return PlatformError(
            f"This process was stopped for so long that another one may change {self._where} by now: nothing "
            "more is done here. See what is live by python -m ci status, then run the same command again."
        )


def all_of(site: Site) -> list[tuple[str, str]]:
    """Return the service and environment of each record that there is."""
    with speaking("The records of the endpoints can't be listed"):
        store = site.datastore
        container = store.blob_service.get_container_client(store.container_name)
        found = site.retried(
            lambda: [each.name for each in container.list_blobs(name_starts_with=f"{FOLDER}/")]
        )
    parts = [name.removeprefix(f"{FOLDER}/").removesuffix(".json").split("/") for name in found]
    return sorted(
        (service, environment) for service, environment in (each for each in parts if len(each) == 2)
    )
