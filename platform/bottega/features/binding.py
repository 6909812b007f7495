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
from bottega.features.definition import INT64_MAX, Input
from bottega.features.entity import key_range
from bottega.features.view import FeatureView
from bottega.times import parse_duration_s

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**40
"""Largest fixed-point value: eight million of them still add up within 64 bits."""
LARGEST_SQUARED = 2**31
"""Largest fixed-point value of a standard deviation's column: two thousand million squares still add up."""

YEAR_3000_US = 32_503_680_000_000_000

NULL_KEY = "null key"
KEY_RANGE = "key out of range"
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
    named = {name: declared.column(name) for name in view.columns}
    times = [name for name in (declared.event_time, declared.available_at) if name]
    ids = [declared.event_id] if declared.event_id else []
    check_columns(what, table, [*declared.keys, *times, *named.values(), *ids])
    keys, known = bind_keys(what, table, declared.keys, view.entity.dtype)
    event_us, present = bind_times(what, table, declared.event_time)
    available_us = event_us + declared.delay_us
    if declared.available_at:
        available_us, also = bind_times(what, table, declared.available_at)
        present = present & also
    for name, moments in zip(times, (event_us, available_us), strict=False):
        _check_era(what, name, moments)
    kept, refused = _judge(view, keys, known, present, event_us, available_us)
    values, valid = _inputs(what, view, {name: table[column] for name, column in named.items()}, len(table))
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
    return bound.take(np.flatnonzero(kept)) if refused else bound


def _judge(
    view: FeatureView,
    keys: tuple[np.ndarray, ...],
    known: np.ndarray,
    present: np.ndarray,
    event_us: np.ndarray,
    available_us: np.ndarray,
) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows count, and how many do not by the first rule that each breaks."""
    wait_us = available_us - event_us
    rules = {
        NULL_KEY: known,
        KEY_RANGE: _in_range(keys, view.entity.dtype, len(known)),
        NULL_TIME: present,
        FUTURE: wait_us >= 0,
        BEYOND_WATERMARK: wait_us <= parse_duration_s(view.lateness) * 1_000_000,
    }
    kept = np.ones(len(known), bool)
    refused = {}
    for reason, obeyed in rules.items():
        before = kept
        kept = before & obeyed
        if broken := int(np.count_nonzero(before) - np.count_nonzero(kept)):
            refused[reason] = broken
    return kept, refused


def _in_range(keys: tuple[np.ndarray, ...], dtype: str, rows: int) -> np.ndarray:
    """Which rows have keys that are of the entity's type in size too; bound keys have 64 bits."""
    fine = np.ones(rows, bool)
    if dtype == "int32":
        least, greatest = key_range(dtype)
        for key in keys:
            fine &= (key >= least) & (key <= greatest)
    return fine


def _inputs(
    what: str, view: FeatureView, named: "dict[str, pd.Series]", rows: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Values and validity of each of the definition's inputs; equal ones are one array."""
    squared = {Input(f.column, f.scale, f.where) for f in view.features if f.aggregate == "stddev"}
    ones = np.ones(rows, np.int64)
    masks: dict[str, np.ndarray] = {"": np.ones(rows, bool)}
    columns: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    values, valid = [], []
    for one in view.definition.inputs:
        if one.where not in masks:
            masks[one.where] = np.all([part.holds(what, named) for part in parse_where(one.where)], axis=0)
        if not one.column:
            values.append(ones)
            valid.append(masks[one.where])
            continue
        column = (one.column, one.scale)
        if column not in columns:
            columns[column] = _fixed_point(what, named[one.column], one.scale)
        fixed, present = columns[column]
        if one in squared:
            _check_size(what, named[one.column], one.scale, fixed, LARGEST_SQUARED)
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
        if values.dtype.kind not in "OU" or not set(map(type, values.tolist())) <= {str}:
            raise InvalidData(f"{what}: the key {name!r} is {values.dtype}; it must be text.")
        return values.astype(object)
    whole = values
    if values.dtype.kind == "O" and all(isinstance(value, int | np.integer) for value in values):
        whole = values.astype(np.int64) if _within(values, INT64_MAX) else values
    if whole.dtype.kind == "f" and _within(whole, 2**53) and (whole == np.floor(whole)).all():
        whole = whole.astype(np.int64)
    if whole.dtype.kind not in "iu" or (whole.dtype == np.uint64 and not _within(whole, INT64_MAX)):
        raise InvalidData(
            f"{what}: the key {name!r} is {values.dtype}; it must be whole numbers of 64 bits.",
            next_step="Convert it, or declare the entity with dtype string.",
        )
    return whole.astype(np.int64)


def _event_id(what: str, table: "pd.DataFrame", name: str) -> tuple[np.ndarray, ...]:
    """An id as int64 columns: itself where it is a whole number, or the two halves of a 128-bit digest of its text."""
    column = table[name]
    missing = column.isna().to_numpy()
    if missing.any():
        raise InvalidData(
            f"{what}: the event id {name!r} is null in row {int(np.argmax(missing))}.",
            next_step="Quarantine such rows, or declare no event_id.",
        )
    if column.dtype.kind in "iu":
        return (column.to_numpy(np.int64),)
    texts = column.to_list()
    if not set(map(type, texts)) <= {str}:
        raise InvalidData(f"{what}: the event id {name!r} is {column.dtype}; it must be whole numbers or text.")
    digests = b"".join([hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts])
    halves = np.frombuffer(digests, np.int64).reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()


def bind_times(what: str, table: "pd.DataFrame", name: str) -> tuple[np.ndarray, np.ndarray]:
    """A time column as epoch_us (n,) int64, and which rows are not null; the time of a null is 0."""
    column = table[name]
    present = column.notna().to_numpy()
    if column.dtype.kind in "iu":
        return column.to_numpy(np.int64, na_value=0) if not present.all() else column.to_numpy(np.int64), present
    if getattr(column.dtype, "tz", None) is None:
        raise InvalidData(
            f"{what}: the time {name!r} is {column.dtype}, without a time zone.",
            next_step="Make it datetime64[us, UTC], for example with .dt.tz_localize(zone).dt.tz_convert('UTC').",
        )
    utc = column.to_numpy("datetime64[us]").view(np.int64)
    return utc if present.all() else np.where(present, utc, 0), present


def _check_era(what: str, name: str, moments_us: np.ndarray) -> None:
    wrong = (moments_us < 0) | (moments_us >= YEAR_3000_US)
    if wrong.any():
        raise InvalidData(
            f"{what}: {name} is {moments_us[int(np.argmax(wrong))]} microseconds since 1970.",
            next_step="Times lie between the years 1970 and 3000: check the unit, or quarantine such rows.",
        )


def _fixed_point(what: str, column: "pd.Series", scale: int) -> tuple[np.ndarray, np.ndarray]:
    """A column times its scale, rounded: (n,) int64, and which rows are not null."""
    if column.dtype.kind not in "iufb":
        raise InvalidData(f"{what}: the column {column.name!r} is {column.dtype}; it must be numbers.")
    present = column.notna().to_numpy()
    if column.dtype.kind in "iu" and present.all():
        whole = column.to_numpy()
        if _within(whole, LARGEST // scale):
            return np.multiply(whole, scale, dtype=np.int64), present
    with np.errstate(over="ignore"):  # what overflows is too large, and refused below
        steps = column.to_numpy(np.float64, na_value=np.nan) * scale
    if not present.all():
        steps[~present] = 0
    np.rint(steps, out=steps)
    _check_size(what, column, scale, steps, LARGEST)
    return steps.astype(np.int64), present


def _check_size(what: str, column: "pd.Series", scale: int, steps: np.ndarray, largest: int) -> None:
    if not _within(steps, largest):
        wrong = ~(np.abs(steps) <= largest)
        raise InvalidData(
            f"{what}: {column.name} is {column.to_numpy()[int(np.argmax(wrong))]!s}; with scale {scale} it must lie "
            f"within {largest / scale:g} of zero.",
            next_step="Quarantine such rows, or declare a smaller scale.",
        )


def _within(values: np.ndarray, largest: int) -> bool:
    """Whether every value lies within `largest` of zero; NaN does not."""
    return not len(values) or bool(-largest <= values.min() and values.max() <= largest)
