"""Records: what one entity's events add up to, as columns of whole numbers that kernel.c describes.

Counts and sums are running totals, so that a window of seven days costs as much as one of fifteen minutes; least,
greatest and different values have a second level of blocks. A tile to which events came late is also kept in parts, so
that a read at any moment counts exactly what was known then.

This module computes with numpy what the compiled kernel computes: it stands in where no compiler is, and it is the
oracle of the kernel's tests.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import IntegrityError
from bottega.features.definition import INT64_MAX, REFUSED, Layout, State
from bottega.features.tiles import ON_TIME, Cells, changes, reduce_runs

BLOCK = 32
FORMAT = 4
_HEADER = struct.Struct("<5I")
_PADDING = bytes(8)
_WIDTHS = (1, 2, 4)
_HAS_BASE = 16
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
    check_format(content)
    _, n, m, where, _ = _HEADER.unpack_from(content)
    whole, parts = _Columns(content, _HEADER.size), _Columns(content, where)
    return Chunk(_unpack_whole(layout, whole, n), _unpack_parts(layout, parts, m))


def tiles_in(content: bytes | memoryview) -> np.ndarray:
    """The tiles of a record, ascending."""
    return _Columns(content, _HEADER.size).take(tile_count(content))


def tile_count(content: bytes | memoryview) -> int:
    """How many tiles a record has."""
    return int(_HEADER.unpack_from(content)[1])


def _unpack_whole(layout: Layout, columns: "_Columns", n: int) -> Cells:
    tile, state, sets = columns.take(n), np.zeros((len(layout.states), n), np.int64), {}
    for i, one in enumerate(layout.states):
        if one.adds:
            state[i] = np.diff(columns.take(n + 1))
        elif one.kind == "distinct":
            sets[i] = columns.take_sets(n)
            listed = int(columns.take(_blocks(n) + 1)[-1])
            columns.take(listed)
            columns.take(listed)
        else:
            state[i] = columns.take(n if one.kind == "last" else n + _blocks(n), one.neutral)[:n]
    return Cells(np.zeros(n, np.int64), tile, np.full(n, ON_TIME), state, sets)


def _unpack_parts(layout: Layout, columns: "_Columns", m: int) -> Cells:
    tile, available_us = columns.take(m), columns.take(m)
    state, sets = np.zeros((len(layout.states), m), np.int64), {}
    for i, one in enumerate(layout.states):
        if one.kind == "distinct":
            sets[i] = columns.take_sets(m)
        else:
            state[i] = columns.take(m, one.neutral)
    return Cells(np.zeros(m, np.int64), tile, available_us, state, sets)


def pack(layout: Layout, chunk: Chunk) -> bytes:
    """A record of cells."""
    whole, parts = chunk.whole, chunk.parts
    n, found = len(whole), [_column(chunk.whole.tile)]
    for i, one in enumerate(layout.states):
        values = whole.state[i]
        if one.adds:
            found.append(_column(np.concatenate([[0], np.cumsum(values)])))
        elif one.kind == "distinct":
            found += map(_column, (*whole.sets[i], *_newest_lists(whole.tile, *whole.sets[i], one.cap + 1)))
        elif one.kind == "last":
            found.append(_column(values, one.neutral))
        else:
            best = reduce_runs(_block_state(one), values, np.arange(0, n, BLOCK))
            found.append(_column(np.concatenate([values, best]), one.neutral))
    where = _HEADER.size + sum(map(len, found))
    found += [_column(parts.tile), _column(parts.available_us)]
    for i, one in enumerate(layout.states):
        if one.kind == "distinct":
            found += map(_column, parts.sets[i])
        else:
            found.append(_column(parts.state[i], None if one.adds else one.neutral))
    size = _HEADER.size + sum(map(len, found)) + len(_PADDING)
    return b"".join([_HEADER.pack(FORMAT, n, len(parts), where, size), *found, _PADDING])


def _column(values: np.ndarray, neutral: int | None = None) -> bytes:
    """Numbers as a column, in as few bytes each as do for all; the greatest stands for the neutral one."""
    missing = np.zeros(len(values), bool) if neutral is None else values == neutral
    some = values[~missing]
    low, high = (int(some.min()), int(some.max())) if len(some) else (0, 0)
    width = _width(high - low)
    base = 0 if width == 8 or (low >= 0 and _width(high) == width) else low
    if not len(values) or (values == values[0]).all():
        width, base = 0, int(values[0]) if len(values) else 0
    head = bytes([width | (_HAS_BASE if base else 0)]) + (base.to_bytes(8, "little", signed=True) if base else b"")
    if width == 0:
        return head
    if width == 8:
        return head + values.astype("<i8").tobytes()
    offsets = np.where(missing, 256**width - 1, values - base)
    return head + offsets.astype(f"<u{width}").tobytes()


def _width(largest: int) -> int:
    return next((width for width in _WIDTHS if largest < 256**width - 1), 8)


def _newest_lists(
    tile: np.ndarray, start: np.ndarray, values: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each block the values of all tiles up to its end, and of each the newest tile that has it, newest first."""
    ends = [0]
    listed: list[int] = []
    tiles: list[int] = []
    newest: dict[int, int] = {}
    for begin in range(0, len(tile), BLOCK):
        found: dict[int, int] = {}
        for k in range(min(begin + BLOCK, len(tile)) - 1, begin - 1, -1):
            for value in values[start[k] : start[k + 1]].tolist():
                found.setdefault(value, int(tile[k]))
        newest = dict(list({**found, **{v: at for v, at in newest.items() if v not in found}}.items())[:most])
        listed += newest.keys()
        tiles += newest.values()
        ends.append(len(listed))
    return np.array(ends, np.int64), np.array(listed, np.int64), np.array(tiles, np.int64)


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


def check_format(content: bytes | memoryview) -> None:
    """Raise IntegrityError where a record has another format than this version writes."""
    found = _HEADER.unpack_from(content)[0] if len(content) >= _HEADER.size else 0
    if found != FORMAT:
        raise IntegrityError(
            f"The online store holds a record of format {found}, this version reads {FORMAT}.",
            next_step="Drop the view ('bottega features drop VIEW') and materialise it again.",
        )


def _block_state(state: State) -> State:
    return State("min" if state.kind == "min" else "max")


def _blocks(n: int) -> int:
    return -(-n // BLOCK)


class _Columns:
    """Takes a record's columns one after the other."""

    def __init__(self, content: bytes | memoryview, at: int) -> None:
        self._content, self._at = content, at

    def take(self, count: int, neutral: int | None = None) -> np.ndarray:
        """The next column's numbers, (count,) int64."""
        head, base = self._content[self._at], 0
        width, self._at = head & (_HAS_BASE - 1), self._at + 1
        if head & _HAS_BASE:
            base = int.from_bytes(self._content[self._at : self._at + 8], "little", signed=True)
            self._at += 8
        if width == 0:
            return np.full(count, base, np.int64)
        raw = np.frombuffer(self._content, f"<{'i' if width == 8 else 'u'}{width}", count, self._at)
        self._at += count * width
        found = raw.astype(np.int64) + base
        if neutral is not None and width < 8:
            found[raw == 256**width - 1] = neutral
        return found

    def take_sets(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The starts and values of the next state's sets."""
        start = self.take(rows + 1)
        return start, self.take(int(start[-1]))
