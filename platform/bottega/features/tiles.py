"""Tiles: events added up by entity and tile, as whole numbers."""

from dataclasses import dataclass

import numpy as np

from bottega.features.binding import Events
from bottega.features.definition import SQUARE_BITS, Input, State

_COMBINE = {"min": np.minimum, "max": np.maximum}


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles sorted by entity and tile number.

    `keys` (entities,) each; `start` (entities + 1,) delimits each entity's tiles; `tile` (t,); `state` (states, t)
    int64.
    """

    keys: tuple[np.ndarray, ...]
    start: np.ndarray
    tile: np.ndarray
    state: np.ndarray


def tiles_of(events: Events, inputs: tuple[Input, ...], states: tuple[State, ...]) -> Tiles:
    """Add events up by entity and tile."""
    codes = [np.unique(key, return_inverse=True)[1] for key in events.keys]
    order = np.lexsort((events.tile, *reversed(codes)))
    tile = events.tile[order]
    new_entity = changes([code[order] for code in codes], len(order))
    new_tile = new_entity | changes([tile], len(order))
    first = np.flatnonzero(new_tile)
    state = np.array([reduce_runs(state, column_of(events, inputs, state)[order], first) for state in states])
    entity_first = np.flatnonzero(new_entity)
    start = np.append(np.searchsorted(first, entity_first), len(first))
    return Tiles(tuple(key[order][entity_first] for key in events.keys), start, tile[first], state)


def column_of(events: Events, inputs: tuple[Input, ...], state: State) -> np.ndarray:
    """What each event contributes to a state: (n,) int64, the neutral value where the column is null."""
    if state.kind == "rows":
        return np.ones(len(events.tile), np.int64)
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
    return _COMBINE.get(state.kind, np.add).reduceat(values, first) if len(first) else values[:0]


def changes(columns: list[np.ndarray], size: int) -> np.ndarray:
    """Where a row differs from the one before, the first row included: (size,) bool."""
    changed = np.zeros(size, bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
