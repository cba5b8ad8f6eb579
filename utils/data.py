"""Where the data comes from, and the snapshot of it that a run works on."""

from __future__ import annotations

import difflib
import functools
import inspect
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from utils import canonical, files, project, sources, splits
from utils.sources import BUNDLED

if TYPE_CHECKING:
    from numpy.typing import NDArray

SNAPSHOT = "data/snapshot.parquet"
RECORD = "data/snapshot.json"
SIDE = "_held_out"


class DataError(ValueError):
    """Data that can't be had or used; the message says which, why and what to do next."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The data of one run, as it was when the run began.

    Attributes
    ----------
    frame : DataFrame, shape (n, any)
        All columns, with the index 0 … n - 1.
    source : str
        Where it came from, without credentials.
    target : str
        The column to predict.
    features : tuple of str
        The columns to predict it from. The key, group or time column of the
        split is none of them, unless it was asked for.
    split : SplitPlan
        What tells training rows from held-out ones.
    held_out_rows : array of bool, shape (n,)
        The rows on the held-out side.
    fingerprint : str
        SHA-256 of the content: values, column names and dtypes.
    """

    frame: pd.DataFrame
    source: str
    target: str
    features: tuple[str, ...]
    split: splits.SplitPlan
    held_out_rows: NDArray[np.bool_] = field(repr=False)
    fingerprint: str

    @property
    def training(self) -> tuple[pd.DataFrame, pd.Series[Any]]:
        """Features and target of the training rows."""
        return self._part(~self.held_out_rows)

    @property
    def held_out(self) -> tuple[pd.DataFrame, pd.Series[Any]]:
        """Features and target of the held-out rows."""
        return self._part(self.held_out_rows)

    @functools.cached_property
    def row_hashes(self) -> NDArray[np.uint64]:
        """What makes each row itself under the split, shape (n,); see `splits.row_hashes`.

        A model trained on the hash of a held-out row has seen that row.
        """
        return splits.row_hashes(self.frame, self.split, self.target)

    @property
    def groups(self) -> pd.Series[Any] | None:
        """The values of the group column, shape (n,), or None if the split has none."""
        return self.frame[self.split.group] if self.split.group else None

    @property
    def record(self) -> dict[str, Any]:
        """What snapshot.json says."""
        held_out = int(self.held_out_rows.sum())
        return {
            "source": self.source,
            "target": self.target,
            "rows": len(self.frame),
            "columns": {name: str(dtype) for name, dtype in self.frame.dtypes.items()},
            "features": list(self.features),
            "fingerprint": self.fingerprint,
            "split": splits.describe(self.split),
            "training_rows": len(self.frame) - held_out,
            "held_out_rows": held_out,
        }

    def _part(self, rows: NDArray[np.bool_]) -> tuple[pd.DataFrame, pd.Series[Any]]:
        part = self.frame.loc[rows]
        return part[list(self.features)], part[self.target]


def load(source: str, target: str, drop: Sequence[str] = ()) -> pd.DataFrame:
    """Load a data set.

    Parameters
    ----------
    source : str
        "sklearn:NAME" for data that scikit-learn brings along (never fetched),
        a path to a CSV or Parquet file, relative to the project's folder, or
        any address that fsspec can open, such as "s3://bucket/data.parquet".
    target : str
        The column to predict; it has to be there.
    drop : sequence of str
        Columns to leave out.

    Returns
    -------
    DataFrame, shape (n, any)
        With the index 0 … n - 1, and names of bundled columns as words joined by "_".

    Raises
    ------
    DataError
        If the data can't be found or read, has no rows, or lacks a column. No
        message shows credentials of an address.
    """
    frame = _bundled(source.removeprefix(BUNDLED)) if source.startswith(BUNDLED) else _read(source)
    shown = sources.redact(source)
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame.columns = pd.Index([str(name) for name in frame.columns])
    names = list(frame.columns)
    for name, what in [(target, "target"), *((name, "drop") for name in drop)]:
        if name not in names:
            raise DataError(f"{shown} has no column {name!r} ({what}); {_nearest(name, names, 'it has')}")
    if target in drop:
        raise DataError(f"{target!r} is the target, so it can't be dropped.")
    frame = frame.drop(columns=list(drop))
    if frame.shape[1] < 2:
        raise DataError(f"{shown} has no column but the target {target!r} to learn from.")
    if frame.empty:
        raise DataError(f"{shown} has no rows.")
    return frame.reset_index(drop=True).infer_objects()


def take_snapshot(
    frame: pd.DataFrame,
    *,
    source: str,
    target: str,
    plan: splits.SplitPlan,
    run_folder: Path,
    keep: Sequence[str] = (),
) -> Snapshot:
    """Split a data set and keep it as data/snapshot.parquet and .json of a run folder.

    Parameters
    ----------
    frame : DataFrame, shape (n, any)
        As `load` returns it.
    source : str
        Where it came from; recorded without credentials.
    target : str
        The column to predict.
    plan : SplitPlan
        What tells training rows from held-out ones.
    run_folder : Path
        Where the snapshot shall be.
    keep : sequence of str
        Columns of the plan that are features nevertheless.

    Returns
    -------
    Snapshot
        As read back from the file, so that what is used now is what is used later.

    Raises
    ------
    DataError
        If a column can't be stored without loss, or there is no feature.
    SplitError
        If the data can't be split by that plan.
    """
    if SIDE in frame.columns:
        raise DataError(f"The data has a column {SIDE!r}, which the snapshot needs for itself; rename it.")
    if strangers := set(keep) - set(plan.columns):
        raise DataError(f"keep names {', '.join(sorted(strangers))}, by which the data isn't split.")
    features = tuple(
        name for name in frame.columns if name != target and (name in keep or name not in plan.columns)
    )
    if not features:
        raise DataError("The columns that split the data and the target leave no feature to learn from.")
    frame = frame.reset_index(drop=True)
    sides = splits.held_out(frame, plan, target)
    buffer = io.BytesIO()
    try:
        frame.assign(**{SIDE: sides}).to_parquet(buffer, engine="pyarrow", index=False)
        stored = pd.read_parquet(io.BytesIO(buffer.getvalue()), engine="pyarrow").drop(columns=SIDE)
        fingerprint = canonical.fingerprint(frame)
        lossless = canonical.fingerprint(stored) == fingerprint
    except (ValueError, TypeError, OverflowError) as error:  # Arrow's own errors are such
        reason = str(error).splitlines()[0]
        raise DataError(f"The data can't be stored as Parquet: {reason}.") from None
    if not lossless:
        names = [str(name) for name in frame.columns]
        changed = [name for name in names if frame[name].dtype != stored[name].dtype] or names
        raise DataError(
            f"Stored as Parquet, the data would not come back as it is; convert {', '.join(changed)} "
            "to plain numbers, texts or dates."
        )
    snapshot = Snapshot(stored, sources.redact(source), target, features, plan, sides, fingerprint)
    files.write_bytes(run_folder / SNAPSHOT, buffer.getvalue())
    files.write_json(run_folder / RECORD, snapshot.record)
    return snapshot


def open_snapshot(run_folder: Path) -> Snapshot:
    """Open the snapshot of a run folder, having checked that it is what was taken.

    Raises
    ------
    DataError
        If there is none, or the data, the record or the split has changed since.
    """
    path, note = run_folder / SNAPSHOT, run_folder / RECORD
    again = "run setup again"
    try:
        record = files.read_json(note)
        frame = pd.read_parquet(path, engine="pyarrow")
        sides = frame.pop(SIDE).to_numpy(dtype=bool)
        plan = splits.restore(record["split"])
        target, features = str(record["target"]), tuple(record["features"])
        snapshot = Snapshot(
            frame, str(record["source"]), target, features, plan, sides, canonical.fingerprint(frame)
        )
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else path.name
        raise DataError(f"There is no {missing} in {path.parent}; {again}.") from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"The snapshot in {path.parent} can't be read ({error}); {again}.") from None
    if snapshot.fingerprint != record.get("fingerprint"):
        raise DataError(
            f"{path} is not the data that was taken: its fingerprint is {snapshot.fingerprint[:12]}…, "
            f"not {str(record.get('fingerprint'))[:12]}…; {again}."
        )
    try:
        same_sides = np.array_equal(sides, splits.held_out(frame, plan, target))
        same_record = snapshot.record == record
        snapshot._part(sides)
    except (KeyError, splits.SplitError) as error:
        raise DataError(f"{note} does not describe the data beside it ({error}); {again}.") from None
    if not same_sides or not same_record:
        what = "The record" if same_sides else "The column of held-out rows"
        raise DataError(f"{what} in {path.parent} is not what the data and its split say; {again}.")
    return snapshot


def _bundled(name: str) -> pd.DataFrame:
    from sklearn import datasets

    # load_* reads from the installed package, fetch_* downloads; those with as_frame give tables.
    loaders = {
        each.removeprefix("load_"): getattr(datasets, each)
        for each in dir(datasets)
        if each.startswith("load_") and "as_frame" in inspect.signature(getattr(datasets, each)).parameters
    }
    if name not in loaders:
        hint = _nearest(name, sorted(loaders), "there are")
        raise DataError(f"scikit-learn brings no data set called {name!r}; {hint}")
    frame: pd.DataFrame = loaders[name](as_frame=True).frame
    return frame.rename(columns=lambda column: re.sub(r"\W+", "_", str(column)).strip("_"))


def _read(source: str) -> pd.DataFrame:
    shown = sources.redact(source)
    # In a chain such as zip://a.csv::s3://bucket/b.zip the first link names the file.
    name = sources.QUERY.sub("", source.split("::")[0]) if "://" in source else source
    kind = re.search(r"\.(csv|parquet|pq)(\.(gz|bz2|xz|zip|zst))?$", name, re.IGNORECASE)
    if kind is None:
        raise DataError(
            f"{shown} is neither {BUNDLED}NAME, nor the path or address of a .csv or .parquet file."
        )
    try:
        import fsspec

        address = source if "://" in source else str(project.root() / source)
        with fsspec.open(address, "rb", compression="infer") as file:
            if kind[1].lower() == "csv":
                # Whole columns at once, or a long column might be part numbers, part texts.
                return pd.read_csv(file, low_memory=False)
            return pd.read_parquet(file, engine="pyarrow")
    except FileNotFoundError:
        place = "" if "://" in source or Path(source).is_absolute() else f" in {project.root()}"
        raise DataError(f"There is no file {shown}{place}.") from None
    except ImportError as error:
        raise DataError(f"{shown} can't be opened: {_safe(error, source)}; install it.") from None
    except Exception as error:  # whatever a file system or a parser raises
        raise DataError(f"{shown} can't be read ({type(error).__name__}): {_safe(error, source)}.") from None


def _safe(error: Exception, source: str) -> str:
    """Return an error's first line, or nothing of it where it may repeat a secret of the address."""
    reason = (str(error).splitlines() or [""])[0].rstrip(".") or "no reason given"
    return (
        reason if sources.redact(source) == source else "its message is withheld, as it may hold credentials"
    )


def _nearest(name: str, names: Sequence[str], intro: str) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{intro} {', '.join(names)}."
