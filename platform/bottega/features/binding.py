"""Binding: a table of events or labels checked against a declaration, and turned into whole numbers.

Both engines start from what is bound here, so tile numbers, arrival times and fixed-point values are the same for both,
and so is what is refused.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import InvalidData
from bottega.features.conditions import parse_where
from bottega.features.definition import Input
from bottega.features.source import Source
from bottega.features.view import FeatureView
from bottega.times import parse_duration_s

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**40
"""Largest fixed-point value: eight million of them still add up within 64 bits."""
LARGEST_SQUARED = 2**31
"""Largest fixed-point value of a standard deviation's column: two thousand million squares still add up."""

NULL_KEY = "null key"
NULL_TIME = "null time"
FUTURE = "from the future"
BEYOND_WATERMARK = "beyond the watermark"
DUPLICATE = "duplicate"
UNREADABLE = "unreadable"


@dataclass(frozen=True, eq=False)
class Events:
    """Bound events, (n,) each.

    `keys` int64, or object for text; `tile` the tile in which each happened; `event_us` and `available_us` when it
    happened and became known; `values` in fixed point and `valid` by the definition's inputs; `id`, one or more int64
    columns that tell an event from its copies (none where the source has no event_id); `position` each row's place in
    the table. Rows that the rules refuse are left out, and counted by reason in `refused`.
    """

    keys: tuple[np.ndarray, ...]
    tile: np.ndarray
    event_us: np.ndarray
    available_us: np.ndarray
    values: tuple[np.ndarray, ...]
    valid: tuple[np.ndarray, ...]
    id: tuple[np.ndarray, ...]
    position: np.ndarray
    refused: dict[str, int]

    def take(self, rows: np.ndarray) -> "Events":
        """The events at `rows`, a mask or positions."""
        return Events(
            tuple(key[rows] for key in self.keys),
            self.tile[rows],
            self.event_us[rows],
            self.available_us[rows],
            tuple(values[rows] for values in self.values),
            tuple(valid[rows] for valid in self.valid),
            tuple(part[rows] for part in self.id),
            self.position[rows],
            self.refused,
        )

    def __len__(self) -> int:
        return len(self.tile)


def bind_events(view: FeatureView, table: "pd.DataFrame", source: str = "") -> Events:
    """Check a table of one source's events against a view's declaration and turn it into whole numbers.

    `source` names one of the view's sources; a view with a single one needs no name. Copies within the table are not
    looked for here.

    Raises InvalidData for a missing column, a time without zone, a key or value of another type, and a value that is
    not finite or too large for its scale.
    """
    declared = view.find_source(source)
    what = f"The source {declared.name!r} of FeatureView {view.name!r}"
    named = [declared.column(name) for name in view.columns]
    times = [declared.event_time, *([declared.available_at] if declared.available_at else [])]
    ids = [declared.event_id] if declared.event_id else []
    check_columns(what, table, [*declared.keys, *times, *named, *ids])
    keys, known = bind_keys(what, table, declared.keys, view.entity.dtype)
    event_us, present = bind_times(what, table, declared.event_time)
    available_us = event_us + declared.delay_us
    if declared.available_at:
        available_us, also = bind_times(what, table, declared.available_at)
        present = present & also
    reasons = np.select(
        [
            ~known,
            ~present,
            available_us < event_us,
            available_us - event_us > parse_duration_s(view.lateness) * 1_000_000,
        ],
        [1, 2, 3, 4],
        0,
    )
    counts = np.bincount(reasons, minlength=5).tolist()
    names = (NULL_KEY, NULL_TIME, FUTURE, BEYOND_WATERMARK)
    refused = {name: n for name, n in zip(names, counts[1:], strict=True) if n}
    values, valid = _inputs(what, view, declared, table)
    bound = Events(
        keys,
        event_us // (parse_duration_s(view.tile) * 1_000_000),
        event_us,
        available_us,
        values,
        valid,
        _event_id(what, table, declared.event_id) if declared.event_id else (),
        np.arange(len(table)),
        refused,
    )
    return bound.take(reasons == 0) if refused else bound


def _inputs(
    what: str, view: FeatureView, source: Source, table: "pd.DataFrame"
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    squared = {Input(f.column, f.scale, f.where) for f in view.features if f.aggregate == "stddev"}
    named = table.rename(columns={theirs: ours for ours, theirs in source.columns}) if source.columns else table
    masks: dict[str, np.ndarray] = {"": np.ones(len(table), bool)}
    columns: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    values, valid = [], []
    for one in view.definition.inputs:
        if one.where not in masks:
            masks[one.where] = np.all([part.holds(what, named) for part in parse_where(one.where)], axis=0)
        if not one.column:
            values.append(np.ones(len(table), np.int64))
            valid.append(masks[one.where])
            continue
        column = (one.column, one.scale)
        if column not in columns:
            columns[column] = _fixed_point(what, named, one.column, one.scale, LARGEST)
        fixed, present = columns[column]
        if one in squared:
            _check_size(what, named, one.column, one.scale, fixed, LARGEST_SQUARED)
        values.append(fixed)
        valid.append(present & masks[one.where] if one.where else present)
    return tuple(values), tuple(valid)


def check_columns(what: str, table: "pd.DataFrame", columns: Sequence[str]) -> None:
    """Raise InvalidData for the first column that the table lacks, naming those it has."""
    for name in columns:
        if name not in table.columns:
            raise InvalidData(
                f"{what} has no column {name!r}.", next_step=f"It has: {', '.join(map(str, table.columns))}."
            )


def bind_keys(
    what: str, table: "pd.DataFrame", columns: Sequence[str], dtype: str
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Key columns as int64 (or object holding text), and which rows have no null among them."""
    known = np.ones(len(table), bool)
    keys = []
    for name in columns:
        column = table[name]
        present = column.notna().to_numpy()
        known &= present
        filled = column if present.all() else column.where(column.notna(), "" if dtype == "string" else 0)
        keys.append(_key(what, name, filled.to_numpy(), dtype))
    return tuple(keys), known


def _key(what: str, name: str, values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "string":
        if values.dtype.kind not in "OU" or not all(isinstance(value, str) for value in values):
            raise InvalidData(f"{what}: the key {name!r} is {values.dtype}; it must be text.")
        return values.astype(object)
    whole = values
    if values.dtype.kind == "O" and all(isinstance(value, int | np.integer) for value in values):
        whole = values.astype(np.int64)
    if whole.dtype.kind == "f" and (whole == np.floor(whole)).all():
        whole = whole.astype(np.int64)
    if whole.dtype.kind not in "iu":
        raise InvalidData(
            f"{what}: the key {name!r} is {values.dtype}; it must be whole numbers.",
            next_step="Convert it, or declare the entity with dtype string.",
        )
    return whole.astype(np.int64)


def _event_id(what: str, table: "pd.DataFrame", name: str) -> tuple[np.ndarray, ...]:
    """An id as int64 columns: itself where it is a whole number, or the two halves of a 128-bit digest of its text."""
    column = table[name]
    if column.isna().any():
        raise InvalidData(
            f"{what}: the event id {name!r} is null in row {int(np.argmax(column.isna().to_numpy()))}.",
            next_step="Quarantine such rows, or declare no event_id.",
        )
    if column.dtype.kind in "iu":
        return (column.to_numpy(np.int64),)
    if not all(isinstance(value, str) for value in column):
        raise InvalidData(f"{what}: the event id {name!r} is {column.dtype}; it must be whole numbers or text.")
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=16).digest() for value in column)
    halves = np.frombuffer(digests, np.int64).reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()


def bind_times(what: str, table: "pd.DataFrame", name: str) -> tuple[np.ndarray, np.ndarray]:
    """A time column as epoch_us (n,) int64, and which rows are not null."""
    column = table[name]
    if column.dtype.kind in "iu":
        return column.to_numpy(np.int64), np.ones(len(column), bool)
    if getattr(column.dtype, "tz", None) is None:
        raise InvalidData(
            f"{what}: the time {name!r} is {column.dtype}, without a time zone.",
            next_step="Make it datetime64[us, UTC], for example with .dt.tz_localize(zone).dt.tz_convert('UTC').",
        )
    naive = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return naive.astype("datetime64[us]").view(np.int64), column.notna().to_numpy()


def _fixed_point(
    what: str, table: "pd.DataFrame", name: str, scale: int, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    column = table[name]
    if column.dtype.kind not in "iufb":
        raise InvalidData(f"{what}: the column {name!r} is {column.dtype}; it must be numbers.")
    present = column.notna().to_numpy()
    steps = np.rint(np.where(present, column.to_numpy(np.float64, na_value=np.nan), 0.0) * scale)
    _check_size(what, table, name, scale, steps, largest)
    return steps.astype(np.int64), present


def _check_size(what: str, table: "pd.DataFrame", name: str, scale: int, steps: np.ndarray, largest: int) -> None:
    wrong = ~(np.abs(steps) <= largest)
    if wrong.any():
        raise InvalidData(
            f"{what}: {name} is {table[name].to_numpy()[int(np.argmax(wrong))]!s}; with scale {scale} it must lie "
            f"within {largest / scale:g} of zero.",
            next_step="Quarantine such rows, or declare a smaller scale.",
        )
