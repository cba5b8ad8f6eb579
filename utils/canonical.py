"""Values as bytes that mean the same wherever and however they were stored.

Splits and fingerprints rest on these bytes, so they depend on no library's
storage format or hash: a cell is one byte for what it is, and sixteen for its
value. 1, 1.0 and True are the same cell, as are 0.0 and -0.0, and all kinds of
missing values. Pandas' own ``hash_pandas_object`` promises no stability
between versions, and tells 1 from 1.0.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import struct
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

WIDTH = 17
_MISSING, _WHOLE, _LARGE, _FLOAT, _TEXT, _BYTES, _MOMENT, _AWARE, _SPAN, _CLOCK = range(10)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Numbers as one writes them: a column of them turns into text when the first "A7" joins it.
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_CHUNK = 100_000

Cells = NDArray[np.uint8]


class UnsupportedValueError(TypeError):
    """A value that has no canonical form, such as a list; the message says which."""


def cells(column: pd.Series, *, exact: bool = False) -> Cells:
    """Return the canonical bytes of a column's values.

    Parameters
    ----------
    column : Series, shape (n,)
    exact : bool
        Whether to tell apart texts that look alike: composed and decomposed
        letters (Unicode's NFC is taken otherwise), and "7" from the number 7.

    Returns
    -------
    array of uint8, shape (n, 17)

    Raises
    ------
    UnsupportedValueError
        If a value is no number, text, bytes, date, time or span of time.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return cells(pd.Series(np.asarray(column.array), name=column.name), exact=exact)
    if isinstance(dtype, pd.CategoricalDtype):
        return _coded(
            column.cat.codes.to_numpy(), cells(pd.Series(dtype.categories, dtype=None), exact=exact)
        )
    if types.is_complex_dtype(dtype):
        raise UnsupportedValueError(f"Column {column.name!r} holds complex numbers; give their parts.")
    if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
        return _numbers(column)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _moments(column.dt.tz_convert("UTC").dt.tz_localize(None), _AWARE)
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return _moments(column, _MOMENT if dtype.kind == "M" else _SPAN)
    try:
        codes, values = pd.factorize(column.to_numpy(dtype=object))
    except TypeError as error:  # not hashable
        raise UnsupportedValueError(
            f"Column {column.name!r} holds values that are neither numbers, texts nor dates: {error}."
        ) from None
    table = b"".join(_cell(value, exact, column.name) for value in values)
    return _coded(codes, np.frombuffer(table, dtype=np.uint8).reshape(-1, WIDTH))


def row_digests(frame: pd.DataFrame, columns: Sequence[str], *, key: bytes = b"") -> NDArray[np.uint64]:
    """Hash the rows of some columns.

    The order of the columns does not matter, nor do their names except for
    sorting them.

    Parameters
    ----------
    frame : DataFrame, shape (n, any)
    columns : sequence of str
    key : bytes, at most 64
        Another key gives unrelated hashes.

    Returns
    -------
    array of uint64, shape (n,)
        The BLAKE2b hashes (RFC 7693), 8 bytes each.
    """
    digests: list[bytes] = []
    width = WIDTH * len(columns)
    for start in range(0, len(frame), _CHUNK):
        part = frame.iloc[start : start + _CHUNK]
        block = np.hstack([cells(part[name]) for name in sorted(columns)]).tobytes()
        digests.extend(
            hashlib.blake2b(block[at : at + width], digest_size=8, key=key).digest()
            for at in range(0, len(block), width)
        )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def fingerprint(frame: pd.DataFrame) -> str:
    """Digest a data set's content: its values, column names and dtypes, in their order.

    The index has no part in it, nor has the format or library that stored the data.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{len(frame)}x{frame.shape[1]}".encode())
    for name in frame.columns:
        column = frame[name]
        for text in (str(name), dtype_name(column.dtype)):
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<q", len(encoded)) + encoded)
        if isinstance(column.dtype, pd.CategoricalDtype):
            categories = pd.Series(column.dtype.categories, dtype=None)
            digest.update(struct.pack("<q?", len(categories), bool(column.dtype.ordered)))
            digest.update(cells(categories, exact=True).tobytes())
        digest.update(cells(column, exact=True).tobytes())
    return digest.hexdigest()


def dtype_name(dtype: object) -> str:
    """Name a dtype the same whichever library version or storage it comes from."""
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return "datetime" if dtype.kind == "M" else "timedelta"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return f"datetime {dtype.tz}"
    return str(dtype)


def _pack(tags: NDArray[np.uint8], *payloads: NDArray[np.int64] | NDArray[np.uint64]) -> Cells:
    packed = np.zeros((len(tags), WIDTH), dtype=np.uint8)
    packed[:, 0] = tags
    for place, payload in enumerate(payloads):
        raw = np.ascontiguousarray(payload.astype(payload.dtype.newbyteorder("<")))
        packed[:, 1 + 8 * place : 9 + 8 * place] = raw.view(np.uint8).reshape(-1, 8)
    packed[tags == _MISSING] = 0
    return packed


def _coded(codes: NDArray[np.integer], table: Cells) -> Cells:
    # Code -1, the missing value's, picks the last row.
    taken: Cells = np.vstack([table, np.zeros((1, WIDTH), dtype=np.uint8)])[codes]
    return taken


def _numbers(column: pd.Series) -> Cells:
    missing = column.isna().to_numpy(dtype=bool)
    if types.is_bool_dtype(column.dtype) or types.is_signed_integer_dtype(column.dtype):
        whole = _values(column, np.dtype(np.int64), missing)
        return _pack(np.where(missing, _MISSING, _WHOLE).astype(np.uint8), whole)
    if types.is_unsigned_integer_dtype(column.dtype):
        natural = _values(column, np.dtype(np.uint64), missing)
        tags = np.where(missing, _MISSING, np.where(natural < 2**63, _WHOLE, _LARGE))
        return _pack(tags.astype(np.uint8), natural)
    values = _values(column, np.dtype(np.float64), missing)
    missing = missing | np.isnan(values)
    integral = np.isfinite(values) & (values == np.floor(values))
    small = integral & (values >= -(2.0**63)) & (values < 2.0**63)
    large = integral & (values >= 2.0**63) & (values < 2.0**64)
    payload = values.view(np.uint64).copy()
    payload[small] = values[small].astype(np.int64).view(np.uint64)
    payload[large] = values[large].astype(np.uint64)
    tags = np.select([missing, small, large], [_MISSING, _WHOLE, _LARGE], _FLOAT)
    return _pack(tags.astype(np.uint8), payload)


def _values(column: pd.Series, dtype: np.dtype, missing: NDArray[np.bool_]) -> NDArray[Any]:
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=dtype)
    values: NDArray[Any] = column.mask(missing, False if types.is_bool_dtype(column.dtype) else 0).to_numpy(
        dtype
    )
    return values


def _moments(column: pd.Series, tag: int) -> Cells:
    values = column.to_numpy()
    per_second = _PER_SECOND[np.datetime_data(values.dtype)[0]]
    counts = values.view(np.int64)
    seconds = counts // per_second
    nanoseconds = (counts - seconds * per_second) * (10**9 // per_second)
    tags = np.where(column.isna().to_numpy(), _MISSING, tag).astype(np.uint8)
    return _pack(tags, seconds, nanoseconds)


def _cell(value: object, exact: bool, column: object) -> bytes:
    if isinstance(value, str):
        if not exact and _NUMBER.fullmatch(value):
            return _number_cell(int(value))
        text = value if exact else unicodedata.normalize("NFC", value)
        return _digest_cell(_TEXT, text.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return _digest_cell(_BYTES, value)
    if isinstance(value, (bool, np.bool_, Integral, Real, Decimal)):
        return _number_cell(value)
    if isinstance(value, datetime.date):  # also datetime and Timestamp
        return cells(pd.Series([pd.Timestamp(value)])).tobytes()
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return cells(pd.Series([pd.Timedelta(value)])).tobytes()
    if isinstance(value, datetime.time):
        return _digest_cell(_CLOCK, value.isoformat().encode())
    raise UnsupportedValueError(
        f"Column {column!r} holds a {type(value).__name__}, which is neither number, text nor date."
    )


def _number_cell(value: Any) -> bytes:
    number = float(value)
    if np.isfinite(number) and value == int(value):
        whole = int(value)
        if -(2**63) <= whole < 2**63:
            return struct.pack("<Bq8x", _WHOLE, whole)
        if 0 <= whole < 2**64:
            return struct.pack("<BQ8x", _LARGE, whole)
    return struct.pack("<Bd8x", _FLOAT, number)


def _digest_cell(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + hashlib.blake2b(content, digest_size=16).digest()
