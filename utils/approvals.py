"""Approvals: who let which package into production, and when.

An approval is a record in the run folder. It holds for the package of one digest: a package that
was built again, or changed, needs another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

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
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Decision
    by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    at: AwareDatetime
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    comment: str = ""


def write(run_folder: Path, decision: Decision, *, by: str, digest: str, comment: str = "") -> Approval:
    """Record a decision in the run folder.

    The same decision on the same package, given again, leaves the first record as it is. A decision
    on a package that has another digest by now replaces the one that no longer holds.

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

    Raises
    ------
    ApprovalError
        If nobody is named, the digest is none, the package was decided on differently, or an older
        record can't be read.
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
        )
    except ValidationError as error:
        reasons = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise ApprovalError(
            f"The decision on run {run_folder.name} can't be recorded ({reasons})."
        ) from error
    found = read(run_folder)
    if found is not None and found.digest == digest:
        if found.decision == decision:
            return found
        raise ApprovalError(
            f"Run {run_folder.name} was {found.decision} by {found.by} on {found.at:%Y-%m-%d %H:%M %Z}; "
            f"a decision is not changed afterwards: start a new run to have it {decision}."
        )
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


def demand(run_folder: Path, digest: str) -> Approval:
    """Return the approval of exactly this package.

    Parameters
    ----------
    run_folder : Path
        Whose approval.json is asked.
    digest : str
        The digest of the package that shall go to production.

    Raises
    ------
    ApprovalError
        If nobody approved, somebody rejected, or the approval is of another package.
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
    return found
