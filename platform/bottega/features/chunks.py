"""Records: what one entity's events add up to, as an array of 64-bit words that kernel.c describes.

Counts and sums are running totals, so that a window of seven days costs as much as one of fifteen minutes; least,
greatest and different values have a second level of blocks. A tile to which events came late is also kept in parts, so
that a read at any moment counts exactly what was known then.

This module computes with numpy what the compiled kernel computes: it stands in where no compiler is, and it is the
oracle of the kernel's tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import IntegrityError
from bottega.features.definition import INT64_MAX, REFUSED, Layout, State
from bottega.features.tiles import Cells, changes, reduce_runs

BLOCK = 32
FORMAT = 3
HEADER = 4
EVER = (-INT64_MAX, INT64_MAX)
"""All tiles, as a range."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """A record taken apart, as bottega.features.tiles.Tiles of a single entity."""

    whole: Cells
    parts: Cells

    @classmethod
    def empty(cls, layout: Layout) -> "Chunk":
        """A chunk without events."""
        nothing = np.zeros(0, np.int64)
        sets = {i: (np.zeros(1, np.int64), nothing) for i, one in enumerate(layout.states) if one.kind == "distinct"}
        cells = Cells(nothing, nothing, nothing, np.zeros((len(layout.states), 0), np.int64), sets)
        return cls(cells, cells)

    def between(self, begin: int, end: int) -> "Chunk":
        """What lies in tiles begin to end (exclusive)."""
        return Chunk(
            *(part.take(np.flatnonzero((part.tile >= begin) & (part.tile < end))) for part in (self.whole, self.parts))
        )


def unpack(content: bytes | memoryview, layout: Layout) -> Chunk:
    """A record's cells. Raises IntegrityError for a record of another format."""
    words = np.frombuffer(content, np.int64)
    check_format(int(words[0]))
    n, m, where = words[1:HEADER].tolist()
    return Chunk(_unpack_whole(layout, _Words(words[HEADER:where]), n), _unpack_parts(layout, _Words(words[where:]), m))


def _unpack_whole(layout: Layout, words: "_Words", n: int) -> Cells:
    tile, state, sets = words.take(n), np.zeros((len(layout.states), n), np.int64), {}
    for i, one in enumerate(layout.states):
        if one.adds:
            state[i] = np.diff(words.take(n + 1))
        elif one.kind == "distinct":
            sets[i] = words.take_sets(n)
            words.take(2 * int(words.take(_blocks(n) + 1)[-1]))
        else:
            state[i] = words.take(n)
            if one.kind != "last":
                words.take(_blocks(n))
    return Cells(np.zeros(n, np.int64), tile, np.zeros(n, np.int64), state, sets)


def _unpack_parts(layout: Layout, words: "_Words", m: int) -> Cells:
    tile, available_us = words.take(m), words.take(m)
    state, sets = np.zeros((len(layout.states), m), np.int64), {}
    for i, one in enumerate(layout.states):
        if one.kind == "distinct":
            sets[i] = words.take_sets(m)
        else:
            state[i] = words.take(m)
    return Cells(np.zeros(m, np.int64), tile, available_us, state, sets)


def pack(layout: Layout, chunk: Chunk) -> bytes:
    """A record of cells."""
    whole, parts = chunk.whole, chunk.parts
    n, found = len(whole), [chunk.whole.tile]
    for i, one in enumerate(layout.states):
        if one.adds:
            found.append(np.concatenate([[0], np.cumsum(whole.state[i])]))
        elif one.kind == "distinct":
            found += [*whole.sets[i], *_newest_lists(whole.tile, *whole.sets[i], one.cap + 1)]
        else:
            found.append(whole.state[i])
            if one.kind != "last":
                found.append(reduce_runs(_block_state(one), whole.state[i], np.arange(0, n, BLOCK)))
    where = HEADER + sum(map(len, found))
    found += [parts.tile, parts.available_us]
    for i, one in enumerate(layout.states):
        found += parts.sets[i] if one.kind == "distinct" else (parts.state[i],)
    return np.concatenate([[FORMAT, n, len(parts), where], *found]).astype(np.int64).tobytes()


def _newest_lists(tile: np.ndarray, start: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """For each block the values of all tiles up to its end, each with the newest tile that has it, newest first."""
    ends, pairs = [0], []
    newest: dict[int, int] = {}
    for begin in range(0, len(tile), BLOCK):
        found: dict[int, int] = {}
        for k in range(min(begin + BLOCK, len(tile)) - 1, begin - 1, -1):
            for value in values[start[k] : start[k + 1]].tolist():
                found.setdefault(value, int(tile[k]))
        newest = dict(list({**found, **{v: at for v, at in newest.items() if v not in found}}.items())[:most])
        pairs += [word for pair in newest.items() for word in pair]
        ends.append(len(pairs) // 2)
    return np.array(ends, np.int64), np.array(pairs, np.int64)


def join(layout: Layout, one: Chunk, other: Chunk, settled: int = EVER[0]) -> Chunk:
    """What both hold, added up; parts of tiles before `settled` are left out."""
    split = np.union1d(one.parts.tile, other.parts.tile)
    split = split[split >= settled]
    parts = [part for chunk in (one, other) for part in _split(chunk, split)]
    return Chunk(_add_up(layout, [one.whole, other.whole]), _add_up(layout, parts))


def _split(chunk: Chunk, tiles: np.ndarray) -> tuple[Cells, Cells]:
    """What a chunk has for split tiles: its parts, or the whole tile as what was on time."""
    has_parts, parts, whole = chunk.parts.tile, chunk.parts, chunk.whole
    return (
        parts.take(np.flatnonzero(np.isin(parts.tile, tiles))),
        whole.take(np.flatnonzero(np.isin(whole.tile, tiles) & ~np.isin(whole.tile, has_parts))),
    )


def window_totals(layout: Layout, records: Sequence[bytes | memoryview], at_us: int) -> tuple[np.ndarray, float]:
    """Window totals (states, W) of one entity at a moment, and how many seconds ago its newest tile closed."""
    now = at_us // layout.tile_us
    totals = np.repeat(layout.neutral[:, None], len(layout.windows), axis=1)
    known: list[Cells] = []
    for chunk in [unpack(content, layout) for content in records]:
        whole, parts = chunk.whole, chunk.parts
        known.append(whole.take(np.flatnonzero(~np.isin(whole.tile, parts.tile))))
        known.append(parts.take(np.flatnonzero(parts.available_us <= at_us)))
    newest: list[int] = []
    for w, window in enumerate(layout.windows.tolist()):
        cells = [part.take(np.flatnonzero((part.tile < now) & (part.tile >= now - window))) for part in known]
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


def _add_up(layout: Layout, parts: Sequence[Cells]) -> Cells:
    """Cells with each tile and arrival once, ascending."""
    cells = _concatenate(parts)
    order = np.lexsort((cells.available_us, cells.tile))
    cells = cells.take(order)
    first = np.flatnonzero(changes([cells.tile, cells.available_us], len(order)))
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
    return Cells(np.zeros(len(first), np.int64), cells.tile[first], cells.available_us[first], state, sets)


def _concatenate(parts: Sequence[Cells]) -> Cells:
    sets = {}
    for i in parts[0].sets:
        sizes = np.concatenate([np.diff(part.sets[i][0]) for part in parts])
        sets[i] = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([part.sets[i][1] for part in parts])
    tile = np.concatenate([part.tile for part in parts])
    available_us = np.concatenate([part.available_us for part in parts])
    state = np.concatenate([part.state for part in parts], axis=1)
    return Cells(np.zeros(len(tile), np.int64), tile, available_us, state, sets)


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

    def take_sets(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        start = self.take(rows + 1)
        return start, self.take(int(start[-1]))
