"""Approvals: who let which package into production, and when.

An approval is a record in the run folder. It holds for the package of one digest, and for one image
of it where one was made: what was built again, or changed, needs another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from utils import files

FILE = "approval.json"

Decision = Literal["approved", "rejected"]


class ApprovalError(RuntimeError):
    """There is no approval that holds, or none can be written; the message says what to do next."""


class Approval(BaseModel):
    """A person's decision on a package.

    Attributes
    ----------
    decision : str
        "approved" or "rejected".
    by : str
        Who decided.
    at : datetime
        When, with its time zone.
    digest : str
        The SHA-256 of the package's manifest, 64 hexadecimal digits.
    comment : str
        Why; may be empty.
    image : str
        The image made of it, by digest, such as "registry/diabetes@sha256:…"; "" if there is none.
    traffic : int
        How many per cent of the requests it may get until it has passed its test in production.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Decision
    by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    at: AwareDatetime
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    comment: str = ""
    image: Annotated[str, StringConstraints(pattern=r"^(([^\s@]+@)?sha256:[0-9a-f]{64})?$")] = ""
    traffic: Annotated[int, Field(ge=1, le=100)] = 100


def write(
    run_folder: Path,
    decision: Decision,
    *,
    by: str,
    digest: str,
    comment: str = "",
    image: str = "",
    traffic: int = 100,
) -> Approval:
    """Record a decision in the run folder.

    The same decision on the same package and image, given again, leaves the first record as it is. A
    decision on a package or image that has another digest by now replaces the one that no longer holds.

    Parameters
    ----------
    run_folder : Path
        Such as ``runs/20261123-101502-3fa2``.
    decision : str
        "approved" or "rejected".
    by : str
        The name of the person who decides.
    digest : str
        The digest of the package that the decision is about.
    image : str
        The image made of it, by its digest; "" if there is none.
    traffic : int
        The share of the requests, in per cent, that it may get before its test.

    Raises
    ------
    ApprovalError
        If nobody is named, a digest is none, the same was decided on differently, or an older record
        can't be read.
    """
    if not by.strip():
        raise ApprovalError("A decision needs a person: say who decides, as in --by 'Ada Lovelace'.")
    try:
        made = Approval(
            decision=decision,
            by=by,
            at=datetime.now(UTC).replace(microsecond=0),
            digest=digest,
            comment=comment,
            image=image,
            traffic=traffic,
        )
    except ValidationError as error:
        reasons = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise ApprovalError(
            f"The decision on run {run_folder.name} can't be recorded ({reasons})."
        ) from error
    found = read(run_folder)
    # Who names no image decides on the package, whatever image was made of it.
    if (
        found is not None
        and found.digest == digest
        and (_same(found.image, image) or not (found.image and image))
    ):
        if found.decision != decision:
            raise ApprovalError(
                f"Run {run_folder.name} was {found.decision} by {found.by} on {found.at:%Y-%m-%d %H:%M %Z}; "
                f"a decision is not changed afterwards: start a new run to have it {decision}."
            )
        if found.image or not image:
            return found
    files.write_text(run_folder / FILE, made.model_dump_json(indent=2) + "\n")
    return made


def read(run_folder: Path) -> Approval | None:
    """Return the decision in a run folder, or None if nobody has decided.

    Raises
    ------
    ApprovalError
        If there is a record that can't be read: it counts as neither an approval nor its absence.
    """
    path = run_folder / FILE
    try:
        return Approval.model_validate(files.read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ApprovalError(
            f"The approval of run {run_folder.name} can't be read ({path}): remove it and decide again."
        ) from error


def demand(run_folder: Path, digest: str, image: str = "") -> Approval:
    """Return the approval of exactly this package, and of this image if it is deployed as one.

    Parameters
    ----------
    run_folder : Path
        Whose approval.json is asked.
    digest : str
        The digest of the package that shall go to production.
    image : str
        The image that shall, by its digest, in whichever registry it is; "" if none does.

    Raises
    ------
    ApprovalError
        If nobody approved, somebody rejected, or the approval is of another package, another image, or no
        image at all.
    """
    run = run_folder.name
    command = f"python -m ci approve {run}"
    found = read(run_folder)
    if found is None:
        raise ApprovalError(f"Nobody has approved run {run} for production (package {digest}): {command}")
    if found.decision != "approved":
        why = f": {found.comment}" if found.comment else ""
        raise ApprovalError(f"Run {run} was rejected by {found.by}{why}. Start a new run.")
    if found.digest != digest:
        raise ApprovalError(
            f"{found.by} approved the package {found.digest}, but this is {digest}: look at it and {command}"
        )
    if image and not _same(found.image, image):
        raise ApprovalError(
            f"{found.by} approved {found.image or 'no image'}, but this is {image}: look at it and {command}"
        )
    return found


def _same(image: str, other: str) -> bool:
    """Compare images by their digests alone: the same image may be in several registries."""
    return image.rpartition("@")[2] == other.rpartition("@")[2]
