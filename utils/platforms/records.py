"""What is kept in mind of an environment, wherever it is kept: what was live there, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from utils.platforms.protocol import PlatformError

KEPT = 5
EVENTS = 200


class Version(BaseModel):
    """A version that was deployed.

    Attributes
    ----------
    digest, model_version : str
        Of its package.
    confirmed : bool
        Whether its test has passed.
    image : str
        The image that was built from the package; "" where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    model_version: str
    confirmed: bool
    image: str = ""


class Event(BaseModel):
    """What happened in an environment, for those who ask later.

    Attributes
    ----------
    what : str
        "deployed", "confirmed", "restored", "rolled back" or "stopped".
    by, comment : str
        Of what a person did; "" where a pipeline did it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: datetime
    what: str
    digest: str = ""
    model_version: str = ""
    by: str = ""
    comment: str = ""


V = TypeVar("V", bound=Version)


class Record(BaseModel, Generic[V]):
    """What is live in an environment, and what was.

    Attributes
    ----------
    url : str
        The address, which stays over all versions.
    live : Version or None
    previous : Version or None
        The version confirmed last, as long as the live one is not confirmed.
    earlier : list of Version
        Confirmed once and out of use since, the newest first: what can be rolled back to.
    withdrawn : list of Version
        Those that were rolled back from, the newest first: only who names one gets there again.
    events : list of Event
        The newest last.
    """

    model_config = ConfigDict(extra="forbid")

    url: str = ""
    live: V | None = None
    previous: V | None = None
    earlier: list[V] = Field(default_factory=list)
    withdrawn: list[V] = Field(default_factory=list)
    events: list[Event] = Field(default_factory=list)

    @property
    def kept(self) -> V | None:
        """The version that is returned to if the live one fails: the one confirmed last."""
        return self.live if self.live is not None and self.live.confirmed else self.previous

    def note(self, what: str, version: Version | None = None, *, by: str = "", comment: str = "") -> None:
        """Add an event."""
        made = Event(
            at=datetime.now(UTC).replace(microsecond=0),
            what=what,
            digest=version.digest if version else "",
            model_version=version.model_version if version else "",
            by=by,
            comment=comment,
        )
        self.events = [*self.events, made][-EVENTS:]

    def choose(self, version: str, where: str) -> V:
        """Return which of the kept versions to go back to.

        Parameters
        ----------
        version : str
            Of the model; "" for the one confirmed before the live one.
        where : str
            Which service, for the refusal.

        Raises
        ------
        PlatformError
            If it isn't kept, or is live already.
        """
        earlier = [*([self.previous] if self.previous else []), *self.earlier]
        if version and self.live is not None and self.live.model_version == version:
            raise PlatformError(f"Version {version} is live already as {where}.")
        for each in [*earlier, *self.withdrawn] if version else earlier:
            if version in ("", each.model_version):
                return each
        wanted = f"version {version}" if version else "an earlier one"
        known = ", ".join(each.model_version for each in earlier) or "none"
        left = ", ".join(each.model_version for each in self.withdrawn)
        raise PlatformError(
            f"{where} can't go back to {wanted}: kept are {known}"
            + (
                f", and {left}, gone back from before: say --to {self.withdrawn[0].model_version}."
                if left
                else "."
            )
        )

    def withdraw(self, chosen: Version) -> None:
        """Take a version that is gone back to out of those kept, and keep the live one if it is confirmed."""
        self.earlier = [each for each in self.earlier if each.digest != chosen.digest]
        self.withdrawn = [each for each in self.withdrawn if each.digest != chosen.digest]
        if self.live is not None and self.live.confirmed:
            self.withdrawn.insert(0, self.live)

    def tidy(self) -> list[V]:
        """Forget earlier and withdrawn ones that are listed twice or too old; return all that are left."""
        known = [each for each in (self.live, self.previous) if each is not None]
        self.earlier = _others(self.earlier, known)[:KEPT]
        self.withdrawn = _others(self.withdrawn, [*known, *self.earlier])[:KEPT]
        return [*known, *self.earlier, *self.withdrawn]


def _others(versions: Sequence[V], known: Sequence[V]) -> list[V]:
    """Leave out what is known, and what is listed twice."""
    kept: list[V] = []
    for each in versions:
        if all(each.digest != other.digest for other in (*known, *kept)):
            kept.append(each)
    return kept
