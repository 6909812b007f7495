"""Looking values up: which chunks a batch of keys and moments touches, and what they say."""

import itertools

import numpy as np

from bottega.errors import InvalidInput
from bottega.features import chunks, kernel
from bottega.features.chunks import CHUNK
from bottega.features.definition import Definition, Layout
from bottega.features.records import CHUNK_ID, LAST_CHUNK, Entry
from bottega.features.storage import Content, Reading

Found = tuple[np.ndarray, np.ndarray]
"""Values (features, batch) float64, NaN where there is none, and age_s (batch,) float64, NaN without any event."""


def look_up(transaction: Reading, entry: Entry, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Found:
    """The features of a batch: keys (batch,) each, `at_us` (batch,) int64."""
    if len(at_us) == 1:
        numbers = _whole_numbers(entry, keys)
        if numbers is not None:
            return _one(transaction, entry, numbers, at_us.item())
    known, columns = _key_columns(entry.definition, keys, len(at_us))
    return _many(transaction, entry, known, columns, at_us)


def _whole_numbers(entry: Entry, keys: tuple[np.ndarray, ...]) -> tuple[int, ...] | None:
    """One entity's keys where they are whole numbers as they come, else None."""
    if len(keys) != entry.numbers:
        return None
    found = []
    for key in keys:
        if key.dtype.kind not in "iu":
            return None
        found.append(key.item())
    return tuple(found)


def _one(transaction: Reading, entry: Entry, keys: tuple[int, ...], at_us: int) -> Found:
    layout, prefix = entry.layout, entry.entity_prefix(keys)
    now = at_us // layout.tile_us
    first, last = (now - layout.longest) // CHUNK, (now - 1) // CHUNK
    chunks_of = range(first if first > 0 else 0, (last if last < LAST_CHUNK else LAST_CHUNK) + 1)
    found = transaction.get_many([prefix + CHUNK_ID.pack(chunk) for chunk in chunks_of])
    records = [content for content in found if content is not None]
    compiled = kernel.load()
    if compiled is not None:
        return compiled.read_one(layout, records, at_us)
    return _by_numpy(layout, [records], np.array([at_us]))


def _many(
    transaction: Reading, entry: Entry, known: np.ndarray, keys: tuple[np.ndarray, ...], at_us: np.ndarray
) -> Found:
    layout = entry.layout
    now = at_us // layout.tile_us
    first = np.maximum((now - layout.longest) // CHUNK, 0)
    last = np.minimum((now - 1) // CHUNK, LAST_CHUNK)
    count = np.where(known, np.maximum(last - first + 1, 0), 0)
    row = np.repeat(np.arange(len(at_us)), count)
    chunk = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    names = entry.chunk_keys(tuple(key[row] for key in keys), chunk)
    position = {name: i for i, name in enumerate(dict.fromkeys(names))}
    contents = transaction.get_many(list(position))
    which = np.fromiter(map(position.__getitem__, names), np.int64, len(names))
    there = np.array([content is not None for content in contents], bool)[which]
    which, row = which[there], row[there]
    start = np.searchsorted(row, np.arange(len(at_us) + 1))
    compiled = kernel.load()
    if compiled is not None:
        return compiled.read(layout, contents, which, start, at_us)
    rows = [
        [c for c in map(contents.__getitem__, which[a:b]) if c is not None]
        for a, b in itertools.pairwise(start.tolist())
    ]
    return _by_numpy(layout, rows, at_us)


def _by_numpy(layout: Layout, rows: list[list[Content]], at_us: np.ndarray) -> Found:
    totals = np.empty((len(layout.states), len(layout.windows), len(rows)), np.int64)
    age_s = np.empty(len(rows))
    for i, (records, at) in enumerate(zip(rows, at_us.tolist(), strict=True)):
        totals[:, :, i], age_s[i] = chunks.window_totals(layout, records, at)
    return layout.values(totals), age_s


def _key_columns(
    definition: Definition, keys: tuple[np.ndarray, ...], batch: int
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Which rows have no null key, and the key columns as int64 or text."""
    if len(keys) != len(definition.keys):
        raise InvalidInput(
            f"View {definition.view!r} was given {len(keys)} key columns.",
            next_step=f"Its keys are {', '.join(definition.keys) or 'none'}.",
        )
    known = np.ones(batch, bool)
    columns = []
    for name, key in zip(definition.keys, keys, strict=True):
        column = np.asarray(key)
        if definition.key_dtype == "string":
            known &= np.array([isinstance(value, str) for value in column], bool)
            column = np.where(known, column, "")
        elif column.dtype.kind == "f":
            known &= np.isfinite(column)
            column = np.where(known, column, 0)
            if (column != np.floor(column)).any():
                raise InvalidInput(f"The key {name!r} of view {definition.view!r} is fractional; give whole numbers.")
            column = column.astype(np.int64)
        elif column.dtype.kind in "iu":
            column = column.astype(np.int64, copy=False)
        else:
            raise InvalidInput(f"The key {name!r} of view {definition.view!r} is {column.dtype}; give whole numbers.")
        columns.append(column)
    return known, tuple(columns)
