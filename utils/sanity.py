"""Sanity checks: whether the data is of the kind that the scenario's reference profile describes.

Each check looks at one thing, and leaves alone what another has found damaged: a column whose
type has changed fails "schema" and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from utils import canonical, drift, profiles
from utils.profiles import ColumnProfile, Profile

# Fewer rows than this may follow the target by chance.
LEAST_ROWS = 10
# The share of variance that a linear copy may leave unexplained, for having been rounded.
COPY_TOLERANCE = 1e-6


class SanityError(ValueError):
    """Data that is not what the reference profile says; the message lists each failed check."""


@dataclass(frozen=True)
class Check:
    """The result of one check of one column.

    Attributes
    ----------
    check : str
        "schema", "missing values", "range", "distribution", "duplicates" or "leakage".
    column : str
        Its name; "" for the data as a whole.
    passed : bool
    observed, expected : str
        In words for a person.
    """

    check: str
    column: str
    passed: bool
    observed: str
    expected: str


def check(
    frame: pd.DataFrame,
    profile: Profile,
    target: str,
    *,
    identifiers: Collection[str] = (),
    missing_tolerance: float = 0.05,
    range_margin: float = 0.25,
    false_alarm_rate: float = 0.001,
    effect_floor: float = 0.1,
    duplicate_tolerance: float = 0.01,
) -> list[Check]:
    """Check a data set against a reference profile.

    Parameters
    ----------
    frame : DataFrame, shape (n, any)
    profile : Profile
        Of the same target.
    target : str
        Must not have missing values at all.
    identifiers : collection of str
        Columns that name a row, a group or a time. New rows have new ones, so that their range,
        distribution and likeness to the target are not checked; nor are the first two of any dates.
    missing_tolerance : float
        How much a column's share of missing values may exceed the reference's, as a share of all rows.
    range_margin : float
        How far values may lie beyond the reference's range, as a share of its width. Texts have to be
        among the reference's, where it lists them all.
    false_alarm_rate : float
        The greatest probability that data drawn as the reference was fails "distribution", in any column.
    effect_floor : float
        The least total variation distance (0 to 1) that fails "distribution", so that millions of rows
        raise no alarm over nothing.
    duplicate_tolerance : float
        How much the share of repeated rows may exceed the reference's.

    Returns
    -------
    list of Check
        By check, then in the order of the profile's columns, unknown columns last.

    Raises
    ------
    SanityError
        If the profile was made for another target.
    """
    if profile.target != target:
        raise SanityError(
            f"The reference profile is of data with target {profile.target!r}, not {target!r}; "
            "name the profile that belongs to the scenario."
        )
    checks = _schema(frame, profile)
    broken = {each.column for each in checks if not each.passed}
    sound = {name: column for name, column in profile.columns.items() if name not in broken}
    measured = {
        name: column for name, column in sound.items() if name not in identifiers and column.kind != "date"
    }
    checks += _contents(frame, sound, measured, target, missing_tolerance, range_margin)
    checks += _distribution(frame, measured, false_alarm_rate, effect_floor)
    if not broken & set(profile.columns):
        checks.append(_duplicates(frame[list(profile.columns)], profile, duplicate_tolerance))
    if target in sound:
        features = [name for name in sound if name != target and name not in identifiers]
        checks += [_leakage(frame[name], frame[target]) for name in features]
    return checks


def failed(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that did not pass."""
    return [each for each in checks if not each.passed]


def summary(checks: Sequence[Check]) -> str:
    """Say in a sentence how the checks went."""
    bad = failed(checks)
    if not bad:
        return f"All {len(checks)} sanity checks passed."
    places = defaultdict(list)
    for each in bad:
        places[each.check].append(each.column or "all columns")
    words = "; ".join(f"{name} ({', '.join(columns)})" for name, columns in places.items())
    return f"{len(bad)} of {len(checks)} sanity checks failed: {words}."


def demand(checks: Sequence[Check]) -> None:
    """Insist that all checks passed.

    Raises
    ------
    SanityError
        If one failed; the message has a line for each, with its column, what was observed and expected.
    """
    bad = failed(checks)
    if bad:
        lines = [
            f"- {each.check}{f' of {each.column}' if each.column else ''}: "
            f"observed {each.observed}; expected {each.expected}"
            for each in bad
        ]
        way_out = "Correct the data, or make a new reference profile if the change is meant."
        raise SanityError("\n".join([summary(checks), *lines, way_out]))


def records(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as dictionaries, to be glued and rendered."""
    return [asdict(each) for each in checks]


def table(checks: Sequence[Check]) -> pd.DataFrame:
    """Return the checks as a table to look at: one line for each kind, and one for each that failed.

    Returns
    -------
    DataFrame
        With columns check, column, passed, observed and expected.
    """
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(each.check for each in checks):
        same = [each for each in checks if each.check == name]
        bad = failed(same)
        passed = f"{len(same) - len(bad)} of {len(same)} passed"
        rows.append({**asdict(Check(name, "", not bad, passed, "all")), "column": "(all)"})
        rows += records(bad)
    return pd.DataFrame(rows, columns=["check", "column", "passed", "observed", "expected"])


def _schema(frame: pd.DataFrame, profile: Profile) -> list[Check]:
    schema = pa.DataFrameSchema(
        {
            name: pa.Column(nullable=True, checks=_named("schema", lambda s, c=column: _is_kind(s, c)))
            for name, column in profile.columns.items()
        },
        strict=True,
    )
    bad = {column for _, column in _failures(schema, frame)}
    extra = [str(name) for name in frame.columns if name not in profile.columns]
    checks = []
    for name, column in profile.columns.items():
        expected = f"a column of kind {column.kind}" if column.kind != "empty" else "a column"
        if name not in frame.columns:
            observed = "no such column"
        else:
            observed = f"kind {profiles.kind(frame[name]) or 'mixed or other'} ({frame[name].dtype})"
        checks.append(Check("schema", name, name not in bad, observed, expected))
    return checks + [
        Check("schema", name, name not in bad, f"a column ({frame[name].dtype})", "no such column")
        for name in extra
    ]


def _contents(
    frame: pd.DataFrame,
    sound: dict[str, ColumnProfile],
    measured: dict[str, ColumnProfile],
    target: str,
    tolerance: float,
    margin: float,
) -> list[Check]:
    most = {name: 0.0 if name == target else column.missing + tolerance for name, column in sound.items()}
    ranged = {
        name: column
        for name, column in measured.items()
        if column.complete or (column.minimum is not None and column.maximum is not None)
    }
    schema = pa.DataFrameSchema(
        {
            name: pa.Column(
                nullable=True,
                checks=[
                    *_named("missing values", lambda s, m=most[name]: s.isna().mean() <= m),
                    *(
                        _named("range", lambda s, c=column: not _strangers(s, c, margin))
                        if name in ranged
                        else []
                    ),
                ],
            )
            for name, column in sound.items()
        }
    )
    bad = _failures(schema, frame)
    missing = [
        Check(
            "missing values",
            name,
            ("missing values", name) not in bad,
            f"{frame[name].isna().mean():.2%} missing",
            f"at most {most[name]:.2%}" if most[name] else "none",
        )
        for name in sound
    ]
    return missing + [
        Check("range", name, ("range", name) not in bad, _span(frame[name], column), _allowed(column, margin))
        for name, column in ranged.items()
    ]


def _named(name: str, passes: Any) -> list[pa.Check]:
    # One verdict for each column, not a failure for each value: a million rows give one line.
    return [pa.Check(lambda series: bool(passes(series)), name=name, error=name, ignore_na=False)]


def _failures(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> set[tuple[str, str]]:
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        return {
            # An absent or unknown column is the case itself.
            (
                str(case["check"]),
                str(case["column"] if case["schema_context"] == "Column" else case["failure_case"]),
            )
            for case in cases.to_dict("records")
        }
    return set()


def _is_kind(column: pd.Series[Any], reference: ColumnProfile) -> bool:
    # A column without any value shows no kind; its missing values are another check's matter.
    found = profiles.kind(column)
    return found is not None and (found == reference.kind or "empty" in (found, reference.kind))


def _limits(reference: ColumnProfile, margin: float) -> tuple[float, float]:
    low, high = float(reference.minimum or 0.0), float(reference.maximum or 0.0)
    return low - margin * (high - low), high + margin * (high - low)


def _strangers(column: pd.Series[Any], reference: ColumnProfile, margin: float) -> list[str]:
    """Return values that are out of range, a few of them as examples."""
    if reference.kind == "number":
        values = profiles.numbers(column)
        low, high = _limits(reference, margin)
        return [f"{value:.4g}" for value in values[(values < low) | (values > high)][:3]]
    return sorted(set(profiles.texts(column)) - set(reference.categories))[:3]


def _span(column: pd.Series[Any], reference: ColumnProfile) -> str:
    if column.isna().all():
        return "no values"
    if reference.kind == "number":
        values = profiles.numbers(column)
        return f"{values.min():.4g} to {values.max():.4g}"
    strangers = _strangers(column, reference, 0.0)
    return f"also {', '.join(map(repr, strangers))}" if strangers else "known values only"


def _allowed(reference: ColumnProfile, margin: float) -> str:
    if reference.kind == "number":
        low, high = _limits(reference, margin)
        return f"{low:.4g} to {high:.4g}"
    shown = ", ".join(map(repr, reference.categories[:5]))
    return f"one of {len(reference.categories)}: {shown}{', …' if len(reference.categories) > 5 else ''}"


def _distribution(
    frame: pd.DataFrame, measured: dict[str, ColumnProfile], rate: float, floor: float
) -> list[Check]:
    compared = {
        name: drift.homogeneity(np.array(column.counts, dtype=np.int64), profiles.counts(frame[name], column))
        for name, column in measured.items()
        if column.counts
    }
    tested = {name: result for name, result in compared.items() if result is not None}
    adjusted = dict(zip(tested, drift.holm([p_value for p_value, _ in tested.values()]), strict=True))
    expected = f"total variation below {floor:g}, or adjusted p above {rate:g}"
    checks = []
    for name in compared:
        if name in tested:
            distance, p_value = tested[name][1], adjusted[name]
            passed = p_value > rate or distance < floor
            observed = f"total variation {distance:.3f}, adjusted p {p_value:.2g}"
        else:
            passed, observed = True, "not tested: too few values"
        checks.append(Check("distribution", name, passed, observed, expected))
    return checks


def _duplicates(frame: pd.DataFrame, profile: Profile, tolerance: float) -> Check:
    share, most = profiles.duplicates(frame), profile.duplicates + tolerance
    return Check("duplicates", "", share <= most, f"{share:.2%} repeated rows", f"at most {most:.2%}")


def _leakage(feature: pd.Series[Any], target: pd.Series[Any]) -> Check:
    both = feature.notna() & target.notna()
    observed = _likeness(feature[both], target[both]) if both.sum() >= LEAST_ROWS else ""
    expected = "not the target itself"
    return Check("leakage", str(feature.name), not observed, observed or "no copy of the target", expected)


def _likeness(feature: pd.Series[Any], target: pd.Series[Any]) -> str:
    codes, labels = pd.factorize(feature)[0].astype(np.int64), pd.factorize(target)[0].astype(np.int64)
    distinct = int(codes.max()) + 1
    if distinct < 2 or not labels.any():
        return ""
    if np.array_equal(canonical.cells(feature), canonical.cells(target)):
        return "equal to the target"
    if profiles.kind(feature) == profiles.kind(target) == "number":
        pair = np.array([profiles.numbers(feature), profiles.numbers(target)])
        if np.isfinite(pair).all() and 1 - np.corrcoef(pair)[0, 1] ** 2 < COPY_TOLERANCE:
            return "a linear copy of the target"
    # Where nearly every row has values of its own, one-to-one means nothing: they have to recur.
    pairs = len(np.unique(codes * (int(labels.max()) + 1) + labels))
    if distinct == int(labels.max()) + 1 == pairs and distinct <= len(codes) / 2:
        return "one-to-one with the target"
    return ""
