"""Rules: which columns a table has, of which type, and what their values may be; each row is kept or refused."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from bottega.errors import InvalidData, InvalidInput

Kind = Literal["int", "float", "text", "bool", "time"]
_BOOLS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: its name and type, whether it may be null, and the values it may have.

    `source` is its name where the data comes from, if that is another. A time needs an offset from UTC, unless
    `timezone` says which clock it is on; `past` refuses times after the moment of ingestion.
    """

    name: str
    type: Kind
    required: bool = True
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str | int | float, ...] = ()
    source: str = ""
    timezone: str = ""
    past: bool = False


class Checked(msgspec.Struct, frozen=True):
    """Rows that obey every rule, and of the others their position and the first rule that each broke."""

    rows: pd.DataFrame
    positions: np.ndarray
    reasons: tuple[str, ...]


def check_rows(rows: pd.DataFrame, columns: Sequence[Column], unique: Sequence[str], now: datetime) -> Checked:
    """Convert rows to the declared types and refuse those that break a rule.

    Raises InvalidData where a declared column is missing altogether.
    """
    reason = np.full(len(rows), "", object)
    typed = {}
    for column in columns:
        name = column.source or column.name
        if name not in rows.columns:
            raise InvalidData(
                f"The data has no column {name!r}.", next_step=f"It has: {', '.join(map(str, rows.columns))}."
            )
        values, broken = _convert(rows[name], column)
        null = values.isna().to_numpy() & ~broken
        _note(reason, broken, f"{column.name} is no {column.type}")
        if column.required:
            _note(reason, null, f"{column.name} is missing")
        if column.minimum is not None:
            _note(
                reason,
                (values < column.minimum).fillna(False).to_numpy(bool),
                f"{column.name} is below {column.minimum:g}",
            )
        if column.maximum is not None:
            _note(
                reason,
                (values > column.maximum).fillna(False).to_numpy(bool),
                f"{column.name} is above {column.maximum:g}",
            )
        if column.allowed:
            known = values.isin(list(column.allowed)).to_numpy(bool)
            _note(reason, ~known & ~null & ~broken, f"{column.name} is not one of the allowed values")
        if column.past:
            _note(reason, (values > pd.Timestamp(now)).fillna(False).to_numpy(bool), f"{column.name} is in the future")
        typed[column.name] = values
    table = pd.DataFrame(typed)
    if unique:
        good = np.flatnonzero(reason == "")
        again = table.iloc[good].duplicated(list(unique)).to_numpy()
        reason[good[again]] = f"{', '.join(unique)} is there already"
    kept = reason == ""
    return Checked(_final(table[kept], columns), np.flatnonzero(~kept), tuple(str(text) for text in reason[~kept]))


def _note(reason: np.ndarray, broken: np.ndarray, text: str) -> None:
    reason[broken & (reason == "")] = text


def _convert(values: pd.Series, column: Column) -> tuple[pd.Series, np.ndarray]:
    """Values of the declared type, null where they are not, and which of them are not."""
    values = (
        values.replace("", None) if values.dtype.kind == "O" or pd.api.types.is_string_dtype(values.dtype) else values
    )
    present = values.notna().to_numpy()
    match column.type:
        case "text":
            wrong = np.array([not isinstance(v, str) for v in values], bool) & present
            return values.where(~wrong, None).astype("str"), wrong
        case "bool":
            found = values.map(
                lambda v: v if isinstance(v, bool | np.bool_) else _BOOLS.get(str(v).lower()), na_action="ignore"
            )
            converted = pd.Series(
                pd.array(found.where(found.notna(), None).tolist(), dtype="boolean"), index=values.index
            )
        case "time":
            converted = _times(values, column.timezone)
        case kind:
            converted = pd.to_numeric(
                values.where(~values.map(lambda v: isinstance(v, bool | np.bool_)), "no number"), errors="coerce"
            )
            converted = converted.where(np.isfinite(converted.astype("float64")))
            if kind == "int":
                converted = converted.where(converted == np.floor(converted))
    return converted, present & converted.isna().to_numpy()


def _times(values: pd.Series, timezone: str) -> pd.Series:
    """UTC times; without an offset null, unless a time zone says which clock it is."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert("UTC").dt.as_unit("us")
    moments = [_moment(value, timezone) for value in values]
    return pd.Series(pd.DatetimeIndex(moments, tz="UTC").as_unit("us"), index=values.index)


def _moment(value: object, timezone: str) -> pd.Timestamp | None:
    if pd.isna(value):
        return None
    try:
        moment = pd.Timestamp(value)
        if moment.tzinfo is None:
            moment = moment.tz_localize(timezone) if timezone and not isinstance(value, int | float) else None
        return None if moment is None else moment.tz_convert("UTC")
    except (ValueError, TypeError):
        return None


def _final(table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Plain dtypes: int64 (Int64 beside nulls), float64, str, bool (boolean beside nulls), datetime64[us, UTC]."""
    dtypes: dict[str, str] = {}
    for column in columns:
        null = bool(table[column.name].isna().any())
        dtypes[column.name] = {
            "int": "Int64" if null else "int64",
            "float": "float64",
            "text": "str",
            "bool": "boolean" if null else "bool",
            "time": "datetime64[us, UTC]",
        }[column.type]
    return table.astype(dtypes).reset_index(drop=True)


def check_declaration(table: str, columns: Sequence[Column], unique: Sequence[str]) -> None:
    """Raise InvalidInput where the rules contradict themselves."""
    names = [column.name for column in columns]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"Table {table!r} declares column {name!r} twice.", next_step="Remove one of the two.")
    if not names:
        raise InvalidInput(f"Table {table!r} declares no columns.", next_step="Add [[columns]] with name and type.")
    for name in unique:
        if name not in names:
            raise InvalidInput(f"Table {table!r}: unique names {name!r}.", next_step=f"Columns are {', '.join(names)}.")
    for column in columns:
        if column.timezone and column.type != "time":
            raise InvalidInput(f"Column {column.name!r} is no time and has a time zone.", next_step="Remove it.")
