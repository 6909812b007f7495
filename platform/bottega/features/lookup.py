"""Looking windows up: which chunks a batch of keys and moments touches, and what they add up to."""

from collections.abc import Iterator

import lmdb
import numpy as np

from bottega.errors import InvalidInput
from bottega.features import chunks, records
from bottega.features.chunks import CHUNK
from bottega.features.definition import Definition, Layout
from bottega.features.records import Entry


def window_totals(
    transaction: lmdb.Transaction, entry: Entry, keys: tuple[np.ndarray, ...], at_us: np.ndarray
) -> np.ndarray:
    """Window totals (states, W, batch) int64 of a batch: keys (batch,) each, `at_us` (batch,) int64."""
    layout = entry.layout
    edges = _edges(layout, at_us)
    known, columns = _key_columns(entry.definition, keys, len(at_us))
    if len(at_us) == 1 and known.all():
        prefix = entry.entity_prefix(tuple(column.item(0) for column in columns))
        return _entity_totals(transaction, layout, prefix, edges)
    totals = np.empty((len(layout.states), len(layout.windows), len(at_us)), np.int64)
    totals[:] = layout.neutral[:, None, None]
    for members, rows in _by_entity(columns, known):
        totals[:, :, rows] = _entity_totals(transaction, layout, entry.entity_prefix(members), edges[rows])
    return totals


def _entity_totals(transaction: lmdb.Transaction, layout: Layout, prefix: bytes, edges: np.ndarray) -> np.ndarray:
    """Window totals (states, W, batch) of one entity.

    `edges` (batch, W + 1): the last tile before each window, longest window first, then the last tile of them all.
    """
    totals = np.empty((len(layout.states), len(layout.windows), len(edges)), np.int64)
    totals[:] = layout.neutral[:, None, None]
    for chunk in _touched(edges):
        packed = transaction.get(prefix + records.chunk_id(chunk))
        if packed is not None:
            chunks.add_windows(totals, packed, layout, edges)
    return totals


def _touched(edges: np.ndarray) -> list[int]:
    """The chunks that hold the windows' tiles."""
    if len(edges) == 1:
        one = range((int(edges[0, 0]) + 1) // CHUNK, int(edges[0, -1]) // CHUNK + 1)
        return [number for number in one if 0 <= number <= records.LAST_CHUNK]
    first, last = (edges[:, 0] + 1) // CHUNK, edges[:, -1] // CHUNK
    many = np.unique(np.minimum(first[:, None] + np.arange(int((last - first).max()) + 1), last[:, None]))
    return [number for number in many.tolist() if 0 <= number <= records.LAST_CHUNK]


def _edges(layout: Layout, at_us: np.ndarray) -> np.ndarray:
    """The last tile before each window, then the last closed tile: (batch, W + 1) int64."""
    closed = at_us // layout.tile_us - 1
    return closed[:, None] - layout.reach


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


def _by_entity(
    columns: tuple[np.ndarray, ...], known: np.ndarray
) -> Iterator[tuple[tuple[int | str, ...], np.ndarray]]:
    """Each entity's keys and its rows in the batch."""
    rows = np.flatnonzero(known)
    if not len(rows):
        return
    codes = [np.unique(column[rows], return_inverse=True)[1] for column in columns]
    order = np.lexsort(codes) if codes else np.arange(len(rows))
    changed = np.zeros(len(rows), bool)
    for code in codes:
        changed[1:] |= code[order][1:] != code[order][:-1]
    for members in np.split(rows[order], np.flatnonzero(changed)):
        yield (
            tuple(column[members[0]].item() if column.dtype != object else column[members[0]] for column in columns),
            members,
        )
