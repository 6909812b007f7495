"""Looking values up: which records a batch of keys and moments touches, and what they say."""

import itertools

import numpy as np

from bottega.errors import InvalidInput
from bottega.features import chunks, kernel
from bottega.features.definition import Definition, Layout
from bottega.features.records import LAST_SPAN, SPAN, SPAN_ID, TAIL, Entry
from bottega.features.storage import Content, Reading

Found = tuple[np.ndarray, np.ndarray]
"""Values (features, batch) float64, NaN where there is none, and age_s (batch,) float64, NaN without any event."""

FEW = 1000


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
    records = transaction.get_many([prefix + end for end in _ends(layout, at_us // layout.tile_us)])
    compiled = kernel.load()
    if compiled is not None:
        return compiled.read_one(layout, records, at_us)
    return _by_numpy(layout, records, np.array([0, len(records)]), np.array([at_us]))


def _many(
    transaction: Reading, entry: Entry, known: np.ndarray, keys: tuple[np.ndarray, ...], at_us: np.ndarray
) -> Found:
    layout = entry.layout
    prefixes = entry.entity_prefixes(keys, len(at_us))
    nows = (at_us // layout.tile_us).tolist()
    ends_of = {now: _ends(layout, now) for now in set(nows)}
    ends = [ends_of[now] if there else () for now, there in zip(nows, known.tolist(), strict=True)]
    names = [prefix + end for prefix, mine in zip(prefixes, ends, strict=True) for end in mine]
    start = np.array([0, *itertools.accumulate(map(len, ends))])
    records = _get_each_once(transaction, names)
    compiled = kernel.load()
    if compiled is not None:
        return compiled.read(layout, records, start, at_us)
    return _by_numpy(layout, records, start, at_us)


def _ends(layout: Layout, now: int) -> tuple[bytes, ...]:
    """How the keys of the records end that have the windows before tile `now`."""
    first, last = (now - layout.longest) // SPAN, (now - 1) // SPAN
    spans = range(first if first > 0 else 0, (last if last < LAST_SPAN else LAST_SPAN) + 1)
    return (TAIL, *map(SPAN_ID.pack, spans))


def _get_each_once(transaction: Reading, names: list[bytes]) -> list[Content | None]:
    """The contents of keys, of which large batches have many more than once."""
    if len(names) < FEW:
        return transaction.get_many(names)
    different = list(dict.fromkeys(names))
    content = dict(zip(different, transaction.get_many(different), strict=True))
    return [content[name] for name in names]


def _by_numpy(layout: Layout, records: list[Content | None], start: np.ndarray, at_us: np.ndarray) -> Found:
    totals = np.empty((len(layout.states), len(layout.windows), len(at_us)), np.int64)
    age_s = np.empty(len(at_us))
    for i, ((first, end), at) in enumerate(zip(itertools.pairwise(start.tolist()), at_us.tolist(), strict=True)):
        mine = [content for content in records[first:end] if content is not None]
        totals[:, :, i], age_s[i] = chunks.window_totals(layout, mine, at)
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
