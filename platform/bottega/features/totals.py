"""Window totals: what an engine is asked for a bucket of entities, and how its answers combine.

Events that are on time, and late ones that lie at least the lateness back, are known to every request: `spine`. What of
the newer late events a request knew is told by `late`, and different values by `variety`.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from ibis.expr.types import Table

from bottega.features import late, spine, variety
from bottega.features.definition import REFUSED, Definition, layout_of
from bottega.features.engines import Engine
from bottega.features.history import NO_EVENT, History
from bottega.features.requests import Requests

_COMBINE = {"min": np.minimum, "max": np.maximum, "last": np.maximum}
Places = list[tuple[int, int]]
"""The (state, window) pairs that a column answers."""


def window_totals(engine: Engine, definition: Definition, history: History, requests: Requests) -> np.ndarray:
    """Window totals (states, W, requests) int64; those that no value needs are as of a tile without events.

    Raises OverflowError where a sum goes beyond 64 bits.
    """
    answer = _Answer(engine, definition, history, requests)
    answer.add_tiles(history.on_time, newest=1)
    if history.late is not None:
        answer.add_tiles(history.late, newest=1 + answer.reach)
        answer.add_late(history.late)
    answer.count_values()
    return answer.finish()


class _Answer:
    """Totals under way. A `last` is kept as its event's rank until the end."""

    def __init__(self, engine: Engine, definition: Definition, history: History, requests: Requests) -> None:
        self._engine, self._history, self._layout = engine, history, layout_of(definition)
        self.reach = -(-definition.lateness_s // definition.tile_s)
        self._ranked = [i for i, state in enumerate(self._layout.states) if state.kind == "last"]
        self._totals = np.empty((len(self._layout.states), len(self._layout.windows), len(requests)), np.int64)
        self._totals[:] = np.array([self._empty(i) for i in range(len(self._totals))])[:, None, None]
        first, self._pair = _distinct_pairs(requests.entity, requests.tile)
        self._pairs = len(first)
        tile = (requests.tile - history.first_tile).astype(np.int32)
        ids = np.arange(len(first), dtype=np.int32)
        pairs = {"id": ids, "entity": requests.entity[first], "tile": tile[first]}
        self._spine = engine.table("spine", pa.table(pairs))
        row = np.arange(len(requests), dtype=np.int32)
        moments = {"row": row, "entity": requests.entity, "tile": tile, "at_us": requests.at_us}
        self._asked = engine.table("asked", pa.table(moments))

    def add_tiles(self, tiles: Table, newest: int) -> None:
        """Add the tiles at least `newest` before each request's."""
        summed = self._wanted(True, newest)
        if summed:
            states = {name: self._history.states[name] for name, _ in summed}
            lengths = sorted({length for _, length in summed})
            edges = [newest, *(length + 1 for length in lengths)]
            found = self._engine.run(
                spine.running_totals(tiles, self._spine, states, edges, self._history.span, self._engine.shards)
            )
            until = self._edge_totals(found, list(states), len(edges))
            for (name, length), places in summed.items():
                total = until[name][0] - until[name][1 + lengths.index(length)]
                self._combine(places, slice(None), total[self._pair])
        framed = self._wanted(False, newest)
        if framed:
            wanted, answers = self._columns(framed)
            self._combine_pairs(self._engine.run(spine.extremes(tiles, self._spine, wanted, newest)), answers)

    def add_late(self, cells: Table) -> None:
        """Add the late events of the newest tiles that each request knew."""
        wanted, places = self._columns(self._wanted(True, 1) | self._wanted(False, 1))
        if not wanted:
            return
        before = late.arrived_before(cells, self._spine, wanted, self._history.states, self.reach)
        self._combine_pairs(self._engine.run(before), places)
        found = self._engine.run(late.arrived_meanwhile(cells, self._asked, wanted, self.reach))
        rows = found.column("row").to_numpy()
        for name, at in places.items():
            self._combine(at, rows, self._filled(found, name, at[0][0]))

    def count_values(self) -> None:
        """Count different values, up to the cap."""
        first_us = self._history.first_tile * self._layout.tile_us
        for state, values in self._history.values.items():
            windows = {int(self._layout.windows[j]): j for i, j in self._layout.needed if i == state}
            counts = variety.distinct_counts(values, self._asked, list(windows), self._layout.tile_us, first_us)
            found = self._engine.run(counts)
            total, row = found.column("total").fill_null(0).to_numpy(), found.column("row").to_numpy()
            total = np.where(total > self._layout.states[state].cap, REFUSED, total)
            for length, j in windows.items():
                mine = found.column("window").to_numpy() == length
                self._totals[state, j, row[mine]] = total[mine]

    def finish(self) -> np.ndarray:
        """The totals, `last` as time and value."""
        for i in self._ranked:
            rank = self._totals[i].copy()
            known = rank != NO_EVENT
            self._totals[i - 1 : i + 1] = self._layout.neutral[i]
            if known.any():
                at_us, values = self._history.ranks[i]
                self._totals[i - 1][known], self._totals[i][known] = at_us[rank[known]], values[rank[known]]
        return self._totals

    def _wanted(self, adds: bool, newest: int) -> dict[tuple[str, int], Places]:
        """Columns and window lengths to ask for, and which places each one answers."""
        found: dict[tuple[str, int], Places] = {}
        for i, j in sorted(self._layout.needed):
            name, length = self._history.columns.get(i), int(self._layout.windows[j])
            if name and self._layout.states[i].adds == adds and length >= newest:
                found.setdefault((name, length), []).append((i, j))
        return found

    def _columns(self, asked: dict[tuple[str, int], Places]) -> tuple[spine.Wanted, dict[str, Places]]:
        """New columns, as expressions want them, and which places each one answers."""
        wanted = {f"w{n}": (name, self._history.states[name], length) for n, (name, length) in enumerate(asked)}
        return wanted, dict(zip(wanted, asked.values(), strict=True))

    def _edge_totals(self, found: pa.Table, names: Sequence[str], edges: int) -> dict[str, np.ndarray]:
        place = found.column("edge").to_numpy().astype(np.int64) * self._pairs + found.column("id").to_numpy()
        totals = {}
        for name in names:
            flat = np.zeros(edges * self._pairs, np.int64)
            flat[place] = found.column(name).fill_null(0).to_numpy()
            totals[name] = flat.reshape(edges, self._pairs)
        return totals

    def _combine_pairs(self, found: pa.Table, places: dict[str, Places]) -> None:
        """Combine an answer by pairs of the spine into their requests' totals."""
        ids = found.column("id").to_numpy()
        for name, at in places.items():
            state = at[0][0]
            by_pair = np.full(self._pairs, self._empty(state))
            by_pair[ids] = self._filled(found, name, state)
            self._combine(at, slice(None), by_pair[self._pair])

    def _combine(self, places: Places, rows: np.ndarray | slice, values: np.ndarray) -> None:
        for i, j in places:
            combine = _COMBINE.get(self._layout.states[i].kind, np.add)
            self._totals[i, j, rows] = combine(self._totals[i, j, rows], values)

    def _filled(self, found: pa.Table, name: str, state: int) -> np.ndarray:
        return found.column(name).fill_null(self._empty(state)).to_numpy()

    def _empty(self, state: int) -> int:
        return NO_EVENT if state in self._ranked else int(self._layout.neutral[state])


def _distinct_pairs(entity: np.ndarray, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different (entity, tile): one row of each, and each row's place among them."""
    order = np.lexsort((tile, entity))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(entity[order]) != 0) | (np.diff(tile[order]) != 0)
    pair = np.empty(len(order), np.int64)
    pair[order] = np.cumsum(new) - 1
    return order[new], pair
