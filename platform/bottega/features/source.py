"""Binding: a table of events or labels checked against a declaration, and turned into whole numbers.

Both engines start from what is bound here, so tile numbers and fixed-point values are the same for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import InvalidData
from bottega.features.view import FeatureView
from bottega.times import parse_duration_s

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**40
"""Largest fixed-point value: eight million of them still add up within 64 bits."""


@dataclass(frozen=True, eq=False)
class Events:
    """Bound events, (n,) each: keys (int64, or object for text), tile number, fixed-point values with their validity.

    Rows with a null key or time are left out; `dropped` counts them. `position` is each row's place in the table.
    """

    keys: tuple[np.ndarray, ...]
    tile: np.ndarray
    values: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    position: np.ndarray
    dropped: int

    def take(self, rows: np.ndarray) -> "Events":
        """The events at `rows`, a mask or positions."""
        return Events(
            tuple(key[rows] for key in self.keys),
            self.tile[rows],
            {name: values[rows] for name, values in self.values.items()},
            {name: valid[rows] for name, valid in self.valid.items()},
            self.position[rows],
            self.dropped,
        )


def bind_events(view: FeatureView, table: "pd.DataFrame") -> Events:
    """Check a table of events against a view's declaration and turn it into tile and fixed-point numbers.

    Raises InvalidData for a missing column, a time without zone, a key or value of another type, and a value that is
    not finite or too large for its scale.
    """
    what = f"The source {view.source!r} of FeatureView {view.name!r}"
    times = [view.event_time, *([view.available_at] if view.available_at else [])]
    check_columns(what, table, [*view.keys, *times, *view.columns])
    keys, known = bind_keys(what, table, view.keys, view.entity.dtype)
    visible_us = np.full(len(table), np.iinfo(np.int64).min)
    for name in times:
        epoch_us, present = bind_times(what, table, name)
        visible_us, known = np.maximum(visible_us, epoch_us), known & present
    values, valid = {}, {}
    for feature in view.features:
        if feature.column and feature.column not in values:
            fixed, present = _fixed_point(what, table, feature.column, feature.scale)
            values[feature.column], valid[feature.column] = fixed, present
    tile = visible_us // (parse_duration_s(view.tile) * 1_000_000)
    bound = Events(keys, tile, values, valid, np.arange(len(table)), int((~known).sum()))
    return bound if known.all() else bound.take(known)


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


def _fixed_point(what: str, table: "pd.DataFrame", name: str, scale: int) -> tuple[np.ndarray, np.ndarray]:
    column = table[name]
    if column.dtype.kind not in "iufb":
        raise InvalidData(f"{what}: the column {name!r} is {column.dtype}; it must be numbers.")
    present = column.notna().to_numpy()
    steps = np.rint(np.where(present, column.to_numpy(np.float64, na_value=np.nan), 0.0) * scale)
    wrong = ~(np.abs(steps) <= LARGEST)
    if wrong.any():
        raise InvalidData(
            f"{what}: {name} is {column.to_numpy()[int(np.argmax(wrong))]!s}; with scale {scale} it must lie within "
            f"{LARGEST / scale:g} of zero.",
            next_step="Quarantine such rows, or declare a smaller scale.",
        )
    return steps.astype(np.int64), present
