"""Looking values up: which records a batch of keys and moments touches, and what they say."""

import functools
import itertools

import numpy as np

from bottega.errors import InvalidInput
from bottega.features import chunks, kernel
from bottega.features.definition import Definition, Layout
from bottega.features.records import KEY, TAIL, Entry, span_ids
from bottega.features.storage import Content, Reading

FEW = 1000


def look_up(transaction: Reading, entry: Entry, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> np.ndarray:
    """The features of a batch, keys (batch,) each and `at_us` (batch,) int64: values (features + 1, batch) float64.

    NaN where there is none; the last row is age_s, NaN without any event.
    """
    prefix = _whole_number_prefix(entry, keys) if len(at_us) == 1 else None
    if prefix is None:
        known, columns = _key_columns(entry.definition, keys, len(at_us))
        return _many(transaction, entry, known, columns, at_us)
    layout, at = entry.layout, at_us.item()
    records = transaction.get_many([prefix + end for end in _ends(layout.longest, at // layout.tile_us)])
    compiled = kernel.load()
    if compiled is not None:
        return compiled.read_one(layout, records, at)
    return _by_numpy(layout, records, np.array([0, len(records)]), at_us)


def _whole_number_prefix(entry: Entry, keys: tuple[np.ndarray, ...]) -> bytes | None:
    """What the keys of one entity's records begin with, where its keys are whole numbers as they come, else None."""
    if len(keys) != entry.numbers:
        return None
    prefix = entry.prefix
    for key in keys:
        number = key.item()
        if type(number) is not int or number >= 2**63:
            return None
        prefix += KEY.pack(number)
    return prefix


def _many(
    transaction: Reading, entry: Entry, known: np.ndarray, keys: tuple[np.ndarray, ...], at_us: np.ndarray
) -> np.ndarray:
    layout = entry.layout
    nows = at_us // layout.tile_us
    if len(nows) and (nows == nows[0]).all():
        ends = [_ends(layout.longest, int(nows[0]))] * len(nows)
    else:
        ends = [_ends(layout.longest, now) for now in nows.tolist()]
    if not known.all():
        ends = [mine if there else () for mine, there in zip(ends, known.tolist(), strict=True)]
    names = entry.record_names(keys, ends)
    start = np.array([0, *itertools.accumulate(map(len, ends))])
    records = _get_each_once(transaction, names)
    compiled = kernel.load()
    if compiled is not None:
        return compiled.read(layout, records, start, at_us)
    return _by_numpy(layout, records, start, at_us)


@functools.lru_cache(maxsize=1024)
def _ends(longest: int, now: int) -> tuple[bytes, ...]:
    """How the keys of the records end that have the longest window before tile `now`."""
    return (TAIL, *span_ids(now - longest, now - 1))


def _get_each_once(transaction: Reading, names: list[bytes]) -> list[Content | None]:
    """The contents of keys, of which large batches have many more than once."""
    if len(names) < FEW:
        return transaction.get_many(names)
    different = list(dict.fromkeys(names))
    content = dict(zip(different, transaction.get_many(different), strict=True))
    return [content[name] for name in names]


def _by_numpy(layout: Layout, records: list[Content | None], start: np.ndarray, at_us: np.ndarray) -> np.ndarray:
    totals = np.empty((len(layout.states), len(layout.windows), len(at_us)), np.int64)
    age_s = np.empty(len(at_us))
    for i, ((first, end), at) in enumerate(zip(itertools.pairwise(start.tolist()), at_us.tolist(), strict=True)):
        mine = [content for content in records[first:end] if content is not None]
        totals[:, :, i], age_s[i] = chunks.window_totals(layout, mine, at)
    return np.concatenate([layout.values(totals), age_s[None]])


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
        elif column.dtype.kind in "iu" and (column.dtype != np.uint64 or (column < 2**63).all()):
            column = column.astype(np.int64, copy=False)
        else:
            raise InvalidInput(
                f"The key {name!r} of view {definition.view!r} is {column.dtype}; give whole numbers of 64 bits."
            )
        columns.append(column)
    return known, tuple(columns)
