"""Chunks: one entity's tiles over a fixed span as a record, an array of 64-bit words that kernel.c describes.

Counts and sums are running totals, so that a window of seven days costs as much as one of fifteen minutes; least and
greatest values have a second level of blocks. Late events stand apart, each with its arrival, so that a read at any
moment counts exactly what was known then.

This module computes with numpy what the compiled kernel computes: it stands in where no compiler is, and it is the
oracle of the kernel's tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import IntegrityError
from bottega.features.definition import REFUSED, Layout, State
from bottega.features.tiles import Cells, changes, reduce_runs

CHUNK = 2048
"""Tiles a chunk: 7.1 days of five minutes."""
BLOCK = 32
FORMAT = 2
_HEADER = 3


@dataclass(frozen=True, eq=False)
class Chunk:
    """A record taken apart: cells by tile, and late cells in the order in which they came. All of entity 0."""

    on_time: Cells
    late: Cells


def unpack(content: bytes | memoryview, layout: Layout) -> Chunk:
    """A record's cells. Raises IntegrityError for a record of another format."""
    words = np.frombuffer(content, np.int64)
    check_format(int(words[0]))
    n, m = words[1:3].tolist()
    parts = _Words(words[_HEADER:])
    tile = parts.take(n)
    state, sets = np.zeros((len(layout.states), n), np.int64), {}
    for i, one in enumerate(layout.states):
        if one.adds:
            state[i] = np.diff(parts.take(n + 1))
        elif one.kind == "distinct":
            start = parts.take(n + 1)
            sets[i] = start, parts.take(int(start[-1]))
        else:
            state[i] = parts.take(n)
            if one.kind != "last":
                parts.take(_blocks(n))
    on_time = Cells(np.zeros(n, np.int64), tile, np.zeros(n, np.int64), state, sets)
    late_tile, available_us = parts.take(m), parts.take(m)
    state, sets = np.zeros((len(layout.states), m), np.int64), {}
    for i, one in enumerate(layout.states):
        if one.kind == "distinct":
            start = parts.take(m + 1)
            sets[i] = start, parts.take(int(start[-1]))
        else:
            state[i] = parts.take(m)
    return Chunk(on_time, Cells(np.zeros(m, np.int64), late_tile, available_us, state, sets))


def pack(layout: Layout, on_time: Cells, late: Cells) -> bytes:
    """A record of cells: each tile once, ascending; late ones as they are."""
    n, m = len(on_time), len(late)
    parts = [np.array([FORMAT, n, m], np.int64), on_time.tile]
    for i, one in enumerate(layout.states):
        if one.adds:
            parts.append(np.concatenate([[0], np.cumsum(on_time.state[i])]))
        elif one.kind == "distinct":
            parts += on_time.sets[i]
        else:
            parts.append(on_time.state[i])
            if one.kind != "last":
                parts.append(reduce_runs(_block_state(one), on_time.state[i], np.arange(0, n, BLOCK)))
    parts += [late.tile, late.available_us]
    for i, one in enumerate(layout.states):
        parts += late.sets[i] if one.kind == "distinct" else (late.state[i],)
    return np.concatenate(parts).astype(np.int64).tobytes()


def merge(layout: Layout, content: bytes | memoryview | None, on_time: Cells, late: Cells) -> bytes:
    """The record with more cells: on-time ones added up by tile, late ones appended."""
    if content is None:
        return pack(layout, on_time, late)
    old = unpack(content, layout)
    return pack(layout, _add_up(layout, join(layout, old.on_time, on_time)), join(layout, old.late, late))


def join(layout: Layout, one: Cells, other: Cells) -> Cells:
    """The cells of both, one after the other."""
    sets = {}
    for i, (start, values) in one.sets.items():
        more, more_values = other.sets[i]
        sets[i] = np.concatenate([start, start[-1] + more[1:]]), np.concatenate([values, more_values])
    return Cells(
        np.zeros(len(one) + len(other), np.int64),
        np.concatenate([one.tile, other.tile]),
        np.concatenate([one.available_us, other.available_us]),
        np.concatenate([one.state, other.state], axis=1),
        sets,
    )


def fold(layout: Layout, chunk: Chunk, before_us: int) -> Chunk:
    """The chunk with late cells that were known before a moment counted as if they had been on time."""
    known = chunk.late.available_us < before_us
    early = chunk.late.take(np.flatnonzero(known))
    early = Cells(early.entity, early.tile, np.zeros(len(early), np.int64), early.state, early.sets)
    on_time = _add_up(layout, join(layout, chunk.on_time, early))
    return Chunk(on_time, chunk.late.take(np.flatnonzero(~known)))


def window_totals(layout: Layout, records: Sequence[bytes | memoryview], at_us: int) -> tuple[np.ndarray, float]:
    """Window totals (states, W) of one entity at a moment, and how many seconds ago its newest tile closed."""
    now = at_us // layout.tile_us
    totals = np.repeat(layout.neutral[:, None], len(layout.windows), axis=1)
    chunks = [unpack(content, layout) for content in records]
    newest: list[int] = []
    for w, window in enumerate(layout.windows.tolist()):
        cells = [
            part.take(np.flatnonzero((part.tile < now) & (part.tile >= now - window) & (part.available_us <= limit)))
            for chunk in chunks
            for part, limit in ((chunk.on_time, np.iinfo(np.int64).max), (chunk.late, at_us))
        ]
        cells = [part for part in cells if len(part)]
        newest += [int(part.tile.max()) for part in cells]
        for part in cells:
            _add_totals(layout, totals[:, w], part)
        for i, one in enumerate(layout.states):
            if one.kind == "distinct":
                found = np.unique(np.concatenate([part.sets[i][1] for part in cells])) if cells else np.zeros(0)
                totals[i, w] = len(found) if len(found) <= one.cap else REFUSED
    age_s = (at_us - (max(newest) + 1) * layout.tile_us) / 1e6 if newest else np.nan
    return totals, age_s


def _add_totals(layout: Layout, total: np.ndarray, cells: Cells) -> None:
    """Add the scalar states of cells to total (states,)."""
    for i, one in enumerate(layout.states):
        values = cells.state[i]
        if one.adds:
            total[i] += values.sum()
        elif one.kind == "min":
            total[i] = min(total[i], values.min())
        elif one.kind == "max":
            total[i] = max(total[i], values.max())
        elif one.kind == "last":
            best = np.lexsort((values, cells.state[i - 1]))[-1]
            total[i - 1], total[i] = max(
                (int(total[i - 1]), int(total[i])), (int(cells.state[i - 1, best]), int(values[best]))
            )


def _add_up(layout: Layout, cells: Cells) -> Cells:
    """Cells with each tile once, ascending."""
    order = np.argsort(cells.tile, kind="stable")
    cells = cells.take(order)
    first = np.flatnonzero(changes([cells.tile], len(order)))
    state, sets = np.zeros((len(layout.states), len(first)), np.int64), {}
    run = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))
    for i, one in enumerate(layout.states):
        if one.kind == "distinct":
            sets[i] = _unite(cells.sets[i], run, len(first), one.cap + 1)
        elif one.kind == "last":
            ranked = np.lexsort((cells.state[i], cells.state[i - 1], run))
            ends = ranked[np.flatnonzero(np.diff(run[ranked], append=-1))]
            state[i - 1 : i + 1] = cells.state[i - 1 : i + 1, ends]
        elif one.kind != "last_at":
            state[i] = reduce_runs(one, cells.state[i], first)
    zeros = np.zeros(len(first), np.int64)
    return Cells(zeros, cells.tile[first], zeros, state, sets)


def _unite(sets: tuple[np.ndarray, np.ndarray], run: np.ndarray, runs: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The different values of each run of cells, ascending, at most `most`."""
    start, values = sets
    of = np.repeat(run, np.diff(start))
    ranked = np.lexsort((values, of))
    of, values = of[ranked], values[ranked]
    kept = changes([of, values], len(of))
    of, values = of[kept], values[kept]
    before = np.searchsorted(of, np.arange(runs + 1))
    kept = np.arange(len(of)) - before[of] < most
    return np.concatenate([[0], np.cumsum(np.minimum(np.diff(before), most))]), values[kept]


def check_format(found: int) -> None:
    """Raise IntegrityError where a record has another format than this version writes."""
    if found != FORMAT:
        raise IntegrityError(
            f"The online store holds a record of format {found}, this version reads {FORMAT}.",
            next_step="Drop the view there and materialise it again.",
        )


def _block_state(state: State) -> State:
    return State("min" if state.kind == "min" else "max")


def _blocks(n: int) -> int:
    return -(-n // BLOCK)


class _Words:
    """Takes a record's words from the front."""

    def __init__(self, words: np.ndarray) -> None:
        self._words, self._at = words, 0

    def take(self, count: int) -> np.ndarray:
        found = self._words[self._at : self._at + count]
        self._at += count
        return found
