"""Values as they come to the declared types: int64, float64, text, bool, moments in UTC to the microsecond.

What comes as text is parsed. What comes typed, or as JSON, must be of the type already: "7" is no number there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bottega.datasets.catalog import Column
from bottega.datasets.checks import to_utc
from bottega.datasets.ingest.source import Form
from bottega.datasets.tripfiles import wall_clock_times
from bottega.errors import InvalidData

UTC_US = pa.timestamp("us", "UTC")
TYPES = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "time": UTC_US}
_BOOLS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_WHOLE = r"^[+-]?\d+(\.0*)?$"
_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_MOMENT = _TIME + r" ?([Zz]|[+-]\d{2}:?\d{2})$"
_EXACT = 2**53  # the whole numbers up to here are floats too


@dataclass(frozen=True)
class Converted:
    """A column of its declared type: null where nothing was, or nothing of that type."""

    values: pa.Array
    wrong: np.ndarray  # (rows,) bool: something of another type
    local: np.ndarray  # (rows,) bool: a wall-clock time that is no moment: without offset, or skipped by the clock


def convert(
    values: pa.Array | Sequence[Any], form: Form, column: Column, timezone: str, origin: str = "The data"
) -> Converted:
    """A column's values, converted. `timezone` is that of times without an offset; "" refuses them.

    Raises InvalidData where a typed column is of another type as a whole; `origin` is whose column it is.

    >>> convert(pa.array(["7", "x"]), "text", Column("zone", "integer"), "").wrong
    array([False,  True])
    """
    if isinstance(values, pa.Array):
        if form == "text":
            return _parse(values, column.type, timezone)
        return _cast(values, column, timezone, origin)
    if column.type == "time":
        return _json_times(values, timezone, epoch=form == "event")
    return _json(values, column.type)


def _parse(raw: pa.Array, kind: str, timezone: str) -> Converted:
    if kind == "text":
        present = pc.if_else(pc.equal(raw, ""), None, raw)
        return _converted(present, present)
    text = pc.utf8_trim_whitespace(raw)
    text = pc.if_else(pc.equal(text, ""), None, text)
    if kind == "time":
        return _times(text, timezone)
    if kind == "bool":
        return _converted(text, pa.array([_BOOLS.get((one or "").lower()) for one in text.to_pylist()], pa.bool_()))
    if kind == "number":
        return _converted(text, _finite(pc.cast(_only(text, _NUMBER), pa.float64())))
    whole = pc.replace_substring_regex(_only(text, _WHOLE), r"\.0*$", "")
    return _converted(text, _int64([None if one is None else int(one) for one in whole.to_pylist()]))


def _cast(values: pa.Array, column: Column, timezone: str, origin: str) -> Converted:
    """A column of a Parquet file."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    found, kind = values.type, column.type
    number = pa.types.is_floating(found) or pa.types.is_decimal(found)
    if pa.types.is_null(found):
        return _converted(values, pa.nulls(len(values), TYPES[kind]))
    if kind == "time" and pa.types.is_timestamp(found):
        if found.tz is not None:
            return _converted(values, pc.cast(values, UTC_US, safe=False))
        local = pc.cast(values, pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
        return _wall_clock(values, local, timezone)
    if kind == "text" and (pa.types.is_string(found) or pa.types.is_large_string(found)):
        return _converted(values, pc.cast(values, pa.string()))
    if kind == "bool" and pa.types.is_boolean(found):
        return _converted(values, values)
    if kind == "number" and (number or pa.types.is_integer(found)):
        present = _nan_is_null(pc.cast(values, pa.float64(), safe=False))
        return _converted(present, _finite(present))
    if kind == "integer" and pa.types.is_integer(found):
        fits = pc.less(values, pa.scalar(2**63, pa.uint64())) if pa.types.is_uint64(found) else pc.is_valid(values)
        return _converted(values, pc.cast(pc.if_else(fits, values, None), pa.int64()))
    if kind == "integer" and number:
        present = _nan_is_null(pc.cast(values, pa.float64(), safe=False))
        fits = pc.and_(pc.equal(pc.floor(present), present), pc.less_equal(pc.abs(present), _EXACT))
        return _converted(present, pc.cast(pc.if_else(fits, present, None), pa.int64()))
    raise InvalidData(
        f"{origin}: the column {column.official or column.name!r} is {found}; it is declared {kind}.",
        next_step="Correct the declaration, or convert the column.",
    )


def _json(values: Sequence[Any], kind: str) -> Converted:
    if kind == "integer":
        return _converted(values, _int64([_whole(value) for value in values]))
    if kind == "number":
        numbers = [_float(value) if type(value) in (int, float) else None for value in values]
        return _converted(values, pa.array(numbers, pa.float64()))
    own = str if kind == "text" else bool
    return _converted(values, pa.array([value if type(value) is own else None for value in values], TYPES[kind]))


def _json_times(values: Sequence[Any], timezone: str, *, epoch: bool) -> Converted:
    """ISO 8601 text; in events also whole microseconds since 1970-01-01 UTC."""
    texts = pa.array([value if type(value) is str else None for value in values], pa.string())
    parsed = _times(texts, timezone)
    whole = _int64([value if epoch and type(value) is int else None for value in values])
    moments = pc.coalesce(parsed.values, pc.cast(whole, UTC_US))
    found = _converted(values, moments)
    return Converted(moments, found.wrong & ~parsed.local, parsed.local)


def _times(text: pa.Array, timezone: str) -> Converted:
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")  # finer than 1 us, years are few
    aware = _only(text, _MOMENT)
    parsed = pd.to_datetime(pd.Series(aware.to_pylist(), dtype=object), format="ISO8601", utc=True, errors="coerce")
    moments = pa.Array.from_pandas(parsed.dt.as_unit("us"), type=UTC_US)
    clock = wall_clock_times(pc.if_else(pc.is_valid(aware), None, text))
    on_clock = _wall_clock(text, clock, timezone)
    moments = pc.coalesce(moments, on_clock.values)
    found = _converted(text, moments)
    return Converted(moments, found.wrong & ~on_clock.local, on_clock.local)


def _wall_clock(raw: pa.Array, local: np.ndarray, timezone: str) -> Converted:
    """Moments of wall-clock times (rows,) datetime64[us]; without a zone there is none."""
    utc = to_utc(local, timezone) if timezone else np.full(len(local), np.datetime64("NaT"), "datetime64[us]")
    moments = pa.array(utc, pa.timestamp("us"), from_pandas=True).cast(UTC_US)
    return Converted(moments, np.zeros(len(raw), bool), ~np.isnat(local) & np.isnat(utc))


def _converted(raw: pa.Array | Sequence[Any], values: pa.Array) -> Converted:
    """Wrong is what was there and is null now."""
    there = _mask(pc.is_valid(raw)) if isinstance(raw, pa.Array) else np.array([one is not None for one in raw], bool)
    return Converted(values, there & ~_mask(pc.is_valid(values)), np.zeros(len(values), bool))


def _mask(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)


def _only(text: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _finite(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_finite(values), values, None)


def _nan_is_null(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(values), None, values)


def _float(value: float) -> float | None:
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < float("inf") else None


def _whole(value: Any) -> int | None:
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value if type(value) is int else None


def _int64(values: list[int | None]) -> pa.Array:
    """Null beyond 64 bits."""
    return pa.array([None if one is None or not -(2**63) <= one < 2**63 else one for one in values], pa.int64())
