"""Tiles: events added up by entity and tile, as whole numbers; late ones apart, with their arrival."""

from dataclasses import dataclass

import numpy as np

from bottega.features.binding import Events
from bottega.features.definition import SQUARE_BITS, Definition, Input, State


@dataclass(frozen=True, eq=False)
class Cells:
    """States of (entity, tile), or of (entity, tile, arrival), sorted so.

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
    """On-time and late cells of entities, whose `keys` (entities,) each are sorted."""

    keys: tuple[np.ndarray, ...]
    on_time: Cells
    late: Cells


def tiles_of(events: Events, definition: Definition) -> Tiles:
    """Add events up by entity and tile, late ones also by arrival."""
    codes = [np.unique(key, return_inverse=True)[1] for key in events.keys]
    order = np.lexsort(codes[::-1]) if codes else np.arange(len(events))
    new = changes([code[order] for code in codes], len(order))
    entity = np.empty(len(order), np.int64)
    entity[order] = np.cumsum(new) - 1
    first = order[np.flatnonzero(new)]
    late = events.available_us // (definition.tile_s * 1_000_000) > events.tile
    return Tiles(
        tuple(key[first] for key in events.keys),
        _cells(events, entity, np.flatnonzero(~late), definition, by_arrival=False),
        _cells(events, entity, np.flatnonzero(late), definition, by_arrival=True),
    )


def _cells(events: Events, entity: np.ndarray, rows: np.ndarray, definition: Definition, by_arrival: bool) -> Cells:
    events, entity = events.take(rows), entity[rows]
    available_us = events.available_us if by_arrival else np.zeros(len(rows), np.int64)
    order = np.lexsort((available_us, events.tile, entity)) if by_arrival else np.lexsort((events.tile, entity))
    entity, tile, available_us = entity[order], events.tile[order], available_us[order]
    first = np.flatnonzero(changes([entity, tile, available_us], len(order)))
    states, inputs = definition.states, definition.inputs
    state = np.zeros((len(states), len(first)), np.int64)
    sets = {}
    for i, one in enumerate(states):
        if one.kind == "distinct":
            sets[i] = _sets(events, inputs.index(one.input), order, first, one.cap + 1)
        elif one.kind == "last":
            state[i - 1 : i + 1] = _last(events, inputs.index(one.input), order, first, one)
        elif one.kind != "last_at":
            state[i] = reduce_runs(one, column_of(events, inputs, one)[order], first)
    return Cells(entity[first], tile[first], available_us[first], state, sets)


def _last(events: Events, position: int, order: np.ndarray, first: np.ndarray, state: State) -> np.ndarray:
    """Time and value of the latest event of each run, of several at the same time the greatest value: (2, runs)."""
    found = np.full((2, len(first)), state.neutral, np.int64)
    valid = events.valid[position][order]
    run = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))[valid]
    at, value = events.event_us[order][valid], events.values[position][order][valid]
    ranked = np.lexsort((value, at, run))
    ends = np.flatnonzero(np.diff(run[ranked], append=-1))
    found[:, run[ranked][ends]] = at[ranked][ends], value[ranked][ends]
    return found


def _sets(
    events: Events, position: int, order: np.ndarray, first: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each run's different values, ascending, at most `most` of them: start (runs + 1,), values."""
    valid = events.valid[position][order]
    run = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))[valid]
    value = events.values[position][order][valid]
    ranked = np.lexsort((value, run))
    run, value = run[ranked], value[ranked]
    kept = changes([run, value], len(run))
    run, value = run[kept], value[kept]
    before = np.searchsorted(run, np.arange(len(first) + 1))
    kept = np.arange(len(run)) - before[run] < most
    sizes = np.minimum(np.diff(before), most)
    return np.concatenate([[0], np.cumsum(sizes)]), value[kept]


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
