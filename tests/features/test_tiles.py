"""Tiles against sums by hand: whole ones, and the parts of those to which events came late."""

import itertools

import numpy as np
import pytest

from bottega.features import Entity, FeatureView, count, distinct, last, max, sum
from bottega.features.binding import Events
from bottega.features.tiles import ON_TIME, Tiles, tiles_of

VIEW = FeatureView(
    "v",
    Entity("pair", ("pu", "do")),
    "events",
    "t",
    [
        count().over("1h"),
        sum("x").over("1h"),
        max("x").over("1h"),
        last("x").over("1h"),
        distinct("x", cap=2).over("1h"),
    ],
    tile="1s",
)
S = 1_000_000
# pu, do, event time, arrival, value (None is null): tile 5 is on time, tile 6 of entity (2, 1) has two late arrivals.
ROWS = [
    (2, 1, 6 * S + 3, 6 * S + 3, 4),
    (1, 9, 5 * S, 5 * S + 9, 7),
    (2, 1, 6 * S + 5, 8 * S, -1),
    (1, 9, 5 * S, 5 * S, 8),
    (2, 1, 6 * S + 5, 8 * S, 3),
    (2, 1, 6 * S + 9, 7 * S, None),
    (1, 9, 5 * S, 5 * S, 6),
]


@pytest.fixture
def tiles() -> Tiles:
    pu, do, event_us, available_us, x = (np.array(column) for column in zip(*ROWS, strict=True))
    valid = np.array([one is not None for one in x])
    values, n = np.array([one or 0 for one in x], np.int64), len(ROWS)
    columns = {"": (np.ones(n, np.int64), np.ones(n, bool)), "x": (values, valid)}
    inputs = [columns[one.column] for one in VIEW.definition.inputs]
    events = Events((pu, do), event_us // S, event_us, available_us, *zip(*inputs, strict=True), (), np.arange(n), {})
    return tiles_of(events, VIEW.definition)


def state_of(tiles: Tiles, kind: str, part: str) -> list[int]:
    position = [state.kind for state in VIEW.definition.states].index(kind)
    return getattr(tiles, part).state[position].tolist()


def test_whole_tiles_have_all_events_of_each_entity_in_order(tiles):
    assert [key.tolist() for key in tiles.keys] == [[1, 2], [9, 1]]
    assert (tiles.whole.entity.tolist(), tiles.whole.tile.tolist()) == ([0, 1], [5, 6])
    assert state_of(tiles, "rows", "whole") == [3, 4]
    assert state_of(tiles, "n", "whole") == [3, 3]
    assert state_of(tiles, "sum", "whole") == [21, 6]
    assert state_of(tiles, "max", "whole") == [8, 4]


def test_of_events_at_the_same_time_the_greatest_value_is_the_last(tiles):
    assert state_of(tiles, "last_at", "whole") == [5 * S, 6 * S + 5]
    assert state_of(tiles, "last", "whole") == [8, 3]


def test_a_tile_with_late_events_is_split_by_arrival(tiles):
    assert tiles.parts.entity.tolist() == [1, 1, 1]
    assert tiles.parts.available_us.tolist() == [ON_TIME, 7 * S, 8 * S]
    assert state_of(tiles, "rows", "parts") == [1, 1, 2]
    assert state_of(tiles, "sum", "parts") == [4, 0, 2]


def test_different_values_are_kept_ascending_up_to_one_more_than_the_cap(tiles):
    position = [state.kind for state in VIEW.definition.states].index("distinct")
    start, values = tiles.whole.sets[position]
    assert [values[a:b].tolist() for a, b in itertools.pairwise(start)] == [[6, 7, 8], [-1, 3, 4]]
    start, values = tiles.parts.sets[position]
    assert [values[a:b].tolist() for a, b in itertools.pairwise(start)] == [[4], [], [-1, 3]]


def test_cells_are_taken_in_the_order_asked_for(tiles):
    taken = tiles.whole.take(np.array([1, 0]))
    position = [state.kind for state in VIEW.definition.states].index("distinct")
    assert taken.tile.tolist() == [6, 5]
    assert taken.sets[position][1].tolist() == [-1, 3, 4, 6, 7, 8]
