"""Events as records: one JSON object each, from a table and back, with every value as it was.

Numbers, booleans and text are JSON's own; a time is the whole number of its microseconds since 1970-01-01 UTC; null
stands for what is missing (also NaN). `msgspec.json.encode(event)` makes the same record of a single event. Whoever
reads says which columns they expect, as {name: type} with the types int, float, bool, str and datetime.
"""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd

from bottega.errors import InvalidInput
from bottega.times import to_epoch_us

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_JSON = {
    int: _Int64,
    float: float,
    bool: bool,
    str: str,
    datetime: _Int64 | Annotated[datetime, msgspec.Meta(tz=True)],
}
_NO_TIME = np.iinfo(np.int64).min  # numpy's "not a time"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # the last: fields nested too deeply


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not an event with the expected columns: its position among the records, and why."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The events that could be read, indexed by the record's position, and the records that could not."""

    rows: pd.DataFrame
    refused: tuple[Refused, ...] = ()


def encode_rows(frame: pd.DataFrame) -> list[bytes]:
    """One record for each row. Refuses columns of other types, infinite numbers and times without a zone."""
    if not len(frame.columns) or not frame.columns.is_unique:
        raise InvalidInput("A table of events needs columns, each with a name of its own.")
    values = [_json_values(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    event = _event(tuple((str(name), Any) for name in frame.columns))
    try:
        return list(map(msgspec.json.Encoder().encode, map(event, *values)))
    except UnicodeEncodeError as error:
        raise InvalidInput(f"A text is not valid Unicode: {error}.", next_step="Repair it before.") from error


def decode_rows(records: Sequence[bytes], columns: Mapping[str, type]) -> Decoded:
    """The records' events as a table with `columns`; other fields are ignored, and missing ones are null.

    Dtypes are int64, float64, bool, str and datetime64[us, UTC]; int and bool columns with nulls are Int64 and boolean.
    Of a time, ISO 8601 text with an offset is read too.

    >>> decode_rows([b'{"zone":7}', b'{"zone":"x"}'], {"zone": int}).refused
    (Refused(position=1, reason='Expected `int | null`, got `str` - at `$.zone`'),)
    """
    decode = _decoder(tuple(columns.items()))
    refused: list[Refused] = []
    index: pd.Index = pd.RangeIndex(len(records))
    try:
        events = list(map(decode, records))
    except _UNREADABLE:
        events, refused = _decode_each(records, decode)
        index = index.delete([r.position for r in refused])
    rows = {
        name: _COLUMNS[kind](list(map(operator.attrgetter(f"c{i}"), events)))
        for i, (name, kind) in enumerate(columns.items())
    }
    return Decoded(pd.DataFrame(rows, index=index, copy=False), tuple(refused))


def _decode_each(records: Sequence[bytes], decode: Callable[[bytes], Any]) -> tuple[list[Any], list[Refused]]:
    events, refused = [], []
    for position, record in enumerate(records):
        try:
            events.append(decode(record))
        except _UNREADABLE as error:
            refused.append(Refused(position, str(error)))
    return events, refused


@functools.lru_cache(maxsize=64)
def _decoder(columns: tuple[tuple[str, type], ...]) -> Callable[[bytes], Any]:
    for name, kind in columns:
        if kind not in _JSON:
            raise InvalidInput(
                f"Column {name!r} of an event cannot be {kind!r}.", next_step="Use int, float, bool, str or datetime."
            )
    return msgspec.json.Decoder(_event(tuple((name, _JSON[kind] | None) for name, kind in columns))).decode


@functools.lru_cache(maxsize=64)
def _event(fields: tuple[tuple[str, Any], ...]) -> type[msgspec.Struct]:
    """A struct with the fields c0, c1, ... under their names in JSON, which need not be Python's."""
    return msgspec.defstruct(
        "Event",
        [(f"c{i}", kind, msgspec.field(default=None, name=name)) for i, (name, kind) in enumerate(fields)],
        frozen=True,
        gc=False,
    )


def _json_values(name: str, column: pd.Series) -> list[Any]:
    """A column's values as msgspec writes them: null for what is missing."""
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind) or pd.api.types.is_integer_dtype(kind):
        if pd.api.types.is_unsigned_integer_dtype(kind) and (column > np.iinfo(np.int64).max).any():
            raise InvalidInput(f"Column {name!r} has numbers beyond int64.", next_step="Write them as text.")
        return column.tolist() if isinstance(kind, np.dtype) else column.to_numpy(object, na_value=None).tolist()
    if pd.api.types.is_float_dtype(kind):
        numbers = column.to_numpy(np.float64, na_value=np.nan)
        if np.isinf(numbers).any():
            raise InvalidInput(
                f"Column {name!r} has infinite numbers.", next_step="JSON has none: leave such rows out."
            )
        return numbers.tolist()
    if isinstance(kind, pd.DatetimeTZDtype):
        return _json_times(name, column)
    if pd.api.types.is_string_dtype(kind):
        texts = column.to_numpy(object, na_value=None).tolist()
        if not set(map(type, texts)) - {str, type(None)}:
            return texts
    hint = " without a zone" if pd.api.types.is_datetime64_any_dtype(kind) else ""
    raise InvalidInput(
        f"Column {name!r} of type {kind}{hint} cannot be written to an event log.",
        next_step="Use whole numbers, floats, booleans, text, or times with a zone.",
    )


def _json_times(name: str, column: pd.Series) -> list[int | None]:
    whole = column.dt.as_unit("us")
    if not (whole == column)[column.notna()].all():
        raise InvalidInput(f"Column {name!r} has times finer than 1 us.", next_step="Round them to microseconds.")
    times: list[int | None] = whole.to_numpy("datetime64[us]").view(np.int64).tolist()
    return [None if time == _NO_TIME else time for time in times] if whole.hasnans else times


def _ints(values: list[int | None]) -> np.ndarray | pd.api.extensions.ExtensionArray:
    try:
        return np.array(values, np.int64)
    except TypeError:  # null among them
        return pd.array(values, dtype="Int64")


def _bools(values: list[bool | None]) -> np.ndarray | pd.api.extensions.ExtensionArray:
    return pd.array(values, dtype="boolean") if None in values else np.array(values, bool)


def _floats(values: list[float | None]) -> np.ndarray:
    return np.array(values, np.float64)  # numpy reads None as NaN


def _texts(values: list[str | None]) -> pd.api.extensions.ExtensionArray:
    return pd.array(values, dtype="str")


def _times(values: list[int | datetime | None]) -> pd.DatetimeIndex:
    try:
        epoch_us = np.array(values, np.int64)
    except TypeError:  # null or ISO text among them
        epoch_us = np.array([_epoch_us(value) for value in values], np.int64)
    return pd.DatetimeIndex(epoch_us.view("datetime64[us]"), tz="UTC")


def _epoch_us(value: int | datetime | None) -> int:
    if value is None:
        return _NO_TIME
    return to_epoch_us(value) if isinstance(value, datetime) else value


_COLUMNS: Mapping[type, Callable[[list], Any]] = MappingProxyType(
    {int: _ints, float: _floats, bool: _bools, str: _texts, datetime: _times}
)
