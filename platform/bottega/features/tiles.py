"""Tiles: events added up by entity and tile, as whole numbers; where some came late, also by their arrival."""

from dataclasses import dataclass

import numpy as np

from bottega.features.binding import Events
from bottega.features.definition import SQUARE_BITS, Definition, Input, State

ON_TIME = 0
"""Stands for the arrival of all events of a tile that became known before it closed."""


@dataclass(frozen=True, eq=False)
class Cells:
    """States of (entity, tile), or of (entity, tile, arrival), sorted so and each once.

    `entity` (c,) indexes the entities, `tile` (c,) and `available_us` (c,) int64. `state` (states, c) int64 holds the
    scalar states; a distinct state has its different values in `sets`: {state: (start (c + 1,), values)}, each cell's
    ascending, at most one more than the cap.
    """

    entity: np.ndarray
    tile: np.ndarray
    available_us: np.ndarray
    state: np.ndarray
    sets: dict[int, tuple[np.ndarray, np.ndarray]]

    def __len__(self) -> int:
        return len(self.tile)

    def take(self, rows: np.ndarray) -> "Cells":
        """The cells at positions `rows`, in that order."""
        sets = {}
        for i, (start, values) in self.sets.items():
            sizes = np.diff(start)[rows]
            ends = np.cumsum(sizes)
            source = np.repeat(start[:-1][rows] - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
            sets[i] = np.concatenate([[0], ends]), values[source]
        return Cells(self.entity[rows], self.tile[rows], self.available_us[rows], self.state[:, rows], sets)


@dataclass(frozen=True, eq=False)
class Tiles:
    """What events add up to, of entities whose `keys` (entities,) each are sorted.

    `whole` has each tile with all its events. `parts` has once more the tiles to which some came late, split by what
    was known when: one cell of what was on time, its arrival ON_TIME, and one for each later arrival.
    """

    keys: tuple[np.ndarray, ...]
    whole: Cells
    parts: Cells


def tiles_of(events: Events, definition: Definition) -> Tiles:
    """Add events up by entity and tile; an event is late that became known after its tile had closed."""
    keys, entity = number_entities(events.keys, len(events))
    late = events.available_us // (definition.tile_s * 1_000_000) > events.tile
    available_us = np.where(late, events.available_us, ON_TIME)
    order = np.lexsort((available_us, events.tile, entity)) if late.any() else np.lexsort((events.tile, entity))
    events, entity, available_us = events.take(order), entity[order], available_us[order]
    first = np.flatnonzero(changes([entity, events.tile], len(order)))
    sizes = np.diff(first, append=len(order))
    split = np.repeat(available_us[first + sizes - 1] != ON_TIME, sizes)
    return Tiles(
        keys,
        _cells(events, entity, np.full(len(order), ON_TIME), definition),
        _cells(events.take(split), entity[split], available_us[split], definition),
    )


def number_entities(keys: tuple[np.ndarray, ...], size: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The different keys, sorted, and which of them each row has: (size,) int64."""
    codes = [np.unique(key, return_inverse=True)[1] for key in keys]
    order = np.lexsort(codes[::-1]) if codes else np.arange(size)
    new = changes([code[order] for code in codes], size)
    entity = np.empty(size, np.int64)
    entity[order] = np.cumsum(new) - 1
    return tuple(key[order[new]] for key in keys), entity


def _cells(events: Events, entity: np.ndarray, available_us: np.ndarray, definition: Definition) -> Cells:
    """Add up events that are sorted by entity, tile and arrival."""
    first = np.flatnonzero(changes([entity, events.tile, available_us], len(events)))
    states, inputs = definition.states, definition.inputs
    state = np.zeros((len(states), len(first)), np.int64)
    sets = {}
    for i, one in enumerate(states):
        if one.kind == "distinct":
            sets[i] = _sets(events, inputs.index(one.input), first, one.cap + 1)
        elif one.kind == "last":
            state[i - 1 : i + 1] = _last(events, inputs.index(one.input), first, one)
        elif one.kind != "last_at":
            state[i] = reduce_runs(one, column_of(events, inputs, one), first)
    return Cells(entity[first], events.tile[first], available_us[first], state, sets)


def _last(events: Events, position: int, first: np.ndarray, state: State) -> np.ndarray:
    """Time and value of the latest event of each run, of several at the same time the greatest value: (2, runs)."""
    valid = events.valid[position]
    run = _runs(first, len(valid))[valid]
    return _latest(run, events.event_us[valid], events.values[position][valid], len(first), state)


def _latest(run: np.ndarray, at_us: np.ndarray, value: np.ndarray, runs: int, state: State) -> np.ndarray:
    found = np.full((2, runs), state.neutral, np.int64)
    ranked = np.lexsort((value, at_us, run))
    ends = np.flatnonzero(np.diff(run[ranked], append=-1))
    found[:, run[ranked][ends]] = at_us[ranked][ends], value[ranked][ends]
    return found


def _sets(events: Events, position: int, first: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    valid = events.valid[position]
    return _different(_runs(first, len(valid))[valid], events.values[position][valid], len(first), most)


def _different(run: np.ndarray, value: np.ndarray, runs: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Each run's different values, ascending, at most `most` of them: start (runs + 1,), values."""
    ranked = np.lexsort((value, run))
    run, value = run[ranked], value[ranked]
    kept = changes([run, value], len(run))
    run, value = run[kept], value[kept]
    before = np.searchsorted(run, np.arange(runs + 1))
    kept = np.arange(len(run)) - before[run] < most
    sizes = np.minimum(np.diff(before), most)
    return np.concatenate([[0], np.cumsum(sizes)]), value[kept]


def _runs(first: np.ndarray, size: int) -> np.ndarray:
    """The number of the run of each of `size` rows, when runs begin at `first`."""
    return np.repeat(np.arange(len(first)), np.diff(first, append=size))


def add_cells(cells: Cells, definition: Definition, first: np.ndarray) -> Cells:
    """Add up runs of cells of the same entity and tile, whatever their arrival; the runs begin at `first`."""
    run, runs = _runs(first, len(cells)), len(first)
    state = np.zeros((len(definition.states), runs), np.int64)
    sets = {}
    for i, one in enumerate(definition.states):
        if one.kind == "distinct":
            start, values = cells.sets[i]
            sets[i] = _different(np.repeat(run, np.diff(start)), values, runs, one.cap + 1)
        elif one.kind == "last":
            state[i - 1 : i + 1] = _latest(run, cells.state[i - 1], cells.state[i], runs, one)
        elif one.kind != "last_at":
            state[i] = reduce_runs(one, cells.state[i], first)
    return Cells(cells.entity[first], cells.tile[first], np.full(runs, ON_TIME), state, sets)


def column_of(events: Events, inputs: tuple[Input, ...], state: State) -> np.ndarray:
    """What each event contributes to a scalar state: (n,) int64, the neutral value where the column is null."""
    if state.kind == "rows":
        return np.ones(len(events), np.int64)
    position = inputs.index(state.input)
    valid, values = events.valid[position], events.values[position]
    if state.kind == "n":
        return valid.astype(np.int64)
    if state.kind == "squares_high":
        values = (values * values) >> SQUARE_BITS
    if state.kind == "squares_low":
        values = (values * values) & (2**SQUARE_BITS - 1)
    return np.where(valid, values, state.neutral)


def reduce_runs(state: State, values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Combine the runs of `values` that begin at `first`."""
    combine = {"min": np.minimum, "max": np.maximum}.get(state.kind, np.add)
    return combine.reduceat(values, first) if len(first) else values[:0]


def changes(columns: list[np.ndarray], size: int) -> np.ndarray:
    """Where a row differs from the one before, the first row included: (size,) bool."""
    changed = np.zeros(size, bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
