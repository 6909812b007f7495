"""Pieces: a view's tiles as the offline store keeps them, and the way back to tiles that the online store takes."""

from dataclasses import dataclass

import numpy as np

from bottega.features.definition import Definition
from bottega.features.tiles import ON_TIME, Cells, Tiles, add_cells, changes, number_entities


@dataclass(frozen=True, eq=False)
class Pieces:
    """What a day's events add up to, by entity, tile and arrival (ON_TIME for all that were on time); (n,) each.

    `states` are the columns of the states that are one number, by their place. `values` holds different values: for
    each distinct state, the piece (m,) and the value (m,).
    """

    keys: tuple[np.ndarray, ...]
    tile: np.ndarray
    available_us: np.ndarray
    states: dict[int, np.ndarray]
    values: dict[int, tuple[np.ndarray, np.ndarray]]


def to_tiles(pieces: Pieces, definition: Definition, first_tile: int, end_tile: int, before_us: int) -> Tiles:
    """The tiles first_tile to end_tile (exclusive), without late events that became known at `before_us` or after."""
    inside = (pieces.tile >= first_tile) & (pieces.tile < end_tile) & (pieces.available_us < before_us)
    rows = np.flatnonzero(inside)
    keys, entity = number_entities(tuple(key[rows] for key in pieces.keys), len(rows))
    order = np.lexsort((pieces.available_us[rows], pieces.tile[rows], entity))
    rows, entity = rows[order], entity[order]
    cells = Cells(
        entity,
        pieces.tile[rows],
        pieces.available_us[rows],
        np.zeros((len(definition.states), len(rows)), np.int64),
        {i: _sets(*values, rows, len(pieces.tile)) for i, values in pieces.values.items()},
    )
    for i, values in pieces.states.items():
        cells.state[i] = values[rows]
    first = np.flatnonzero(changes([entity, cells.tile], len(rows)))
    sizes = np.diff(first, append=len(rows))
    split = np.repeat(cells.available_us[first + sizes - 1] != ON_TIME, sizes)
    return Tiles(keys, add_cells(cells, definition, first), cells.take(np.flatnonzero(split)))


def _sets(piece: np.ndarray, value: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's different values, ascending: start (rows + 1,), values."""
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    kept = place[piece] >= 0
    row, value = place[piece][kept], value[kept]
    order = np.lexsort((value, row))
    return np.searchsorted(row[order], np.arange(len(rows) + 1)), value[order]
