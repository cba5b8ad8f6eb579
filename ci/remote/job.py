"""The job of a run, as its record has it: what has been handed over to the platform's compute."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OPEN = ("queued", "running")


class Job(BaseModel):
    """Steps of a run that the platform's compute runs, or has run.

    Attributes
    ----------
    steps : list of str
        Those that were handed over, in their order.
    attempt : int
        Counts the jobs of a run: one that has failed is followed by another.
    kept : bool
        Whether the run folder lies ready for it, so that it may have been started.
    id : str
        As the platform calls it; "" as long as it isn't known to have been started.
    state : str
        As it was seen last: queued, running, succeeded, failed or cancelled. The last three are final, and
        what the job made is in the run's folder then.
    url : str
        Where a person can look at it, or "".
    """

    model_config = ConfigDict(extra="forbid")

    steps: list[str] = Field(min_length=1)
    attempt: int = Field(default=1, ge=1)
    kept: bool = False
    id: str = ""
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"] = "queued"
    url: str = ""

    @property
    def open(self) -> bool:
        """Whether it goes on, or may: nobody has seen its end."""
        return self.kept and self.state in OPEN

    @property
    def words(self) -> str:
        """Which steps it has, for a sentence."""
        return " and ".join(filter(None, [", ".join(self.steps[:-1]), self.steps[-1]]))
