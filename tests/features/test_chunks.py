"""Records: what is packed comes back, and does not depend on the order in which it came."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import IntegrityError
from bottega.features import Entity, FeatureView, chunks, count, distinct, last, min, stddev, sum
from bottega.features.binding import Events
from bottega.features.chunks import Chunk
from bottega.features.definition import layout_of
from bottega.features.tiles import Cells, tiles_of

VIEW = FeatureView(
    "v",
    Entity("all", ()),
    "events",
    "t",
    [
        count().over("1m", "10m"),
        sum("x").over("10m"),
        min("x").over("1m", "10m"),
        last("x").over("10m"),
        stddev("x").over("1m"),
        distinct("x", cap=3).over("1m", "10m"),
    ],
    tile="1s",
    lateness="20s",
)
LAYOUT = layout_of(VIEW.definition)
S = LAYOUT.tile_us

rows = st.lists(
    st.tuples(st.integers(0, 80 * S), st.sampled_from([0, 0, S, 20 * S]), st.integers(-4, 4)), min_size=1, max_size=60
)


def chunk_of(events: list[tuple[int, int, int]]) -> Chunk:
    n = len(events)
    event_us, delay_us, x = np.array(events, np.int64).reshape(n, 3).T
    columns = {"": np.ones(n, np.int64), "x": x}
    values = tuple(columns[one.column] for one in VIEW.definition.inputs)
    valid = tuple(np.ones(n, bool) for _ in values)
    bound = Events((), event_us // S, event_us, event_us + delay_us, values, valid, (), np.arange(n), {})
    tiles = tiles_of(bound, VIEW.definition)
    return Chunk(tiles.whole, tiles.parts)


def assert_same(one: Cells, other: Cells) -> None:
    for name in ("tile", "available_us", "state"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for i, (start, values) in one.sets.items():
        np.testing.assert_array_equal(start, other.sets[i][0])
        np.testing.assert_array_equal(values, other.sets[i][1])


@given(rows)
def test_what_is_packed_comes_back(events):
    chunk = chunk_of(events)
    back = chunks.unpack(chunks.pack(LAYOUT, chunk), LAYOUT)
    assert_same(back.whole, chunk.whole)
    assert_same(back.parts, chunk.parts)


@settings(deadline=None)
@given(rows, st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_record_does_not_depend_on_how_its_events_were_batched(events, sides):
    halves = [[event for event, side in zip(events, sides, strict=False) if side is which] for which in (True, False)]
    one, other = (chunk_of(half) if half else Chunk.empty(LAYOUT) for half in halves)
    at_once = chunks.pack(LAYOUT, chunk_of(events))
    assert chunks.pack(LAYOUT, chunks.join(LAYOUT, one, other)) == at_once
    assert chunks.pack(LAYOUT, chunks.join(LAYOUT, other, one)) == at_once


@settings(deadline=None)
@given(rows, rows, st.integers(0, 100 * S))
def test_what_several_records_hold_adds_up(events, more, at_us):
    apart = [chunks.pack(LAYOUT, chunk_of(part)) for part in (events, more)]
    together = [chunks.pack(LAYOUT, chunk_of(events + more))]
    found, age_s = chunks.window_totals(LAYOUT, apart, at_us)
    expected, expected_age_s = chunks.window_totals(LAYOUT, together, at_us)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(age_s, expected_age_s)


@settings(deadline=None)
@given(rows, st.integers(0, 100 * S), st.integers(0, 100 * S))
def test_settled_parts_are_of_no_use_to_later_reads(events, before_us, later_us):
    settled = before_us // S - LAYOUT.unsettled
    chunk = chunk_of(events)
    kept = chunks.join(LAYOUT, chunk, Chunk.empty(LAYOUT), settled)
    assert not len(kept.parts) or kept.parts.tile.min() >= settled
    found, _ = chunks.window_totals(LAYOUT, [chunks.pack(LAYOUT, kept)], before_us + later_us)
    expected, _ = chunks.window_totals(LAYOUT, [chunks.pack(LAYOUT, chunk)], before_us + later_us)
    np.testing.assert_array_equal(found, expected)


def test_a_record_of_another_format_is_refused():
    with pytest.raises(IntegrityError, match="record of format 2, this version reads 4"):
        chunks.unpack(np.array([2, 0, 0, 20, 20], np.int32).tobytes(), LAYOUT)
