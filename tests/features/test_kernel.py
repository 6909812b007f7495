"""The compiled kernel against numpy, record by record."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega import toolchain
from bottega.errors import IntegrityError, StorageError, Unavailable, Unsupported
from bottega.features import Entity, FeatureView, chunks, count, distinct, kernel, last, max, mean, min, stddev, sum
from bottega.features.binding import Events
from bottega.features.chunks import Chunk
from bottega.features.definition import layout_of
from bottega.features.tiles import Tiles, tiles_of

VIEW = FeatureView(
    "v",
    Entity("zone", ("zone",)),
    "events",
    "t",
    [
        count().over("5m", "1h", "7d"),
        mean("x").over("1h"),
        sum("x").over("7d"),
        min("x").over("5m", "7d"),
        max("x", default=3.0).over("1h"),
        last("x").over("1h", "7d"),
        stddev("x").over("7d"),
        distinct("x", cap=4).over("1h", "7d"),
    ],
    ttl="1h",
)
LAYOUT = layout_of(VIEW.definition)
TILE_US = LAYOUT.tile_us

rows = st.lists(
    st.tuples(
        st.integers(0, 90),  # tile
        st.integers(0, TILE_US - 1),  # moment in the tile
        st.sampled_from([0, 0, 0, 1, TILE_US, 5 * TILE_US]),  # delay
        st.one_of(st.none(), st.integers(-9, 9), st.integers(-(2**31), 2**31)),
    ),
    max_size=60,
)


def bound(rows: list[tuple]) -> Events:
    tile, moment, delay, value = (np.array(column, object) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    event_us = np.array(tile, np.int64) * TILE_US + np.array(moment, np.int64)
    valid = np.array([one is not None for one in value], bool)
    values = np.array([one or 0 for one in value], np.int64)
    n = len(rows)
    return Events(
        (np.zeros(n, np.int64),),
        event_us // TILE_US,
        event_us,
        event_us + np.array(delay, np.int64),
        (values, values),
        (valid, valid),
        (),
        np.arange(n),
        {},
    )


@pytest.fixture(scope="module")
def compiled() -> kernel.Kernel:
    found = kernel.load()
    assert found is not None
    return found


def edges_of(tiles: Tiles) -> tuple[np.ndarray, np.ndarray]:
    return np.array([0, len(tiles.whole)]), np.array([0, len(tiles.parts)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(rows, min_size=1, max_size=3),
    st.lists(st.integers(-2, 110 * TILE_US), min_size=1, max_size=5),
    st.tuples(st.integers(0, 95), st.integers(0, 95), st.integers(0, 95)),
)
def test_records_and_values_are_those_of_numpy(compiled, batches, moments, bounds):
    mine: list[bytes | memoryview | None] = [None]
    other: list[bytes] = []
    for batch in batches:
        tiles = tiles_of(bound(batch), VIEW.definition)
        mine = list(compiled.add_rows(LAYOUT, mine, tiles, *edges_of(tiles)))
        old = Chunk.empty(LAYOUT) if not other else chunks.unpack(other[0], LAYOUT)
        other = [chunks.pack(LAYOUT, chunks.join(LAYOUT, old, Chunk(tiles.whole, tiles.parts)))]
        assert bytes(mine[0] or b"") == other[0]
    first, end, settled = bounds
    ranges = (first, end), (end, 96)
    mine += compiled.join(LAYOUT, mine, np.array(ranges[:1]), mine, np.array(ranges[1:]), settled)
    halves = [chunks.unpack(other[0], LAYOUT).between(*part) for part in ranges]
    other.append(chunks.pack(LAYOUT, chunks.join(LAYOUT, *halves, settled)))
    assert bytes(mine[1] or b"") == other[1]
    at_us = np.array(moments)
    totals = np.empty((len(LAYOUT.states), len(LAYOUT.windows), len(at_us)), np.int64)
    for held in (1, 2):  # what both records hold adds up
        found = compiled.read(LAYOUT, mine[:held] * len(at_us), held * np.arange(len(at_us) + 1), at_us, totals)
        for i, at in enumerate(moments):
            expected, expected_age_s = chunks.window_totals(LAYOUT, other[:held], at)
            if held == 1 or settled <= at // TILE_US - LAYOUT.unsettled:
                np.testing.assert_array_equal(totals[:, :, i], expected)
                np.testing.assert_array_equal(found[-1, i], expected_age_s)
            one = compiled.read_one(LAYOUT, mine[:held], at)
            np.testing.assert_array_equal(one[:, 0], found[:, i])
        np.testing.assert_array_equal(found[:-1], LAYOUT.values(totals))


def test_a_record_of_another_format_is_refused(compiled):
    wrong, tiles = np.array([7, 0, 0, 20, 20], np.int32).tobytes(), tiles_of(bound([]), VIEW.definition)
    edges = np.zeros(2, np.int64)
    for read in (
        lambda: compiled.read_one(LAYOUT, [wrong, None], 0),
        lambda: chunks.window_totals(LAYOUT, [wrong], 0),
        lambda: compiled.add_rows(LAYOUT, [wrong], tiles, edges, edges),
        lambda: compiled.join(LAYOUT, [None], np.zeros((1, 2)), [wrong], np.zeros((1, 2)), 0),
    ):
        with pytest.raises(IntegrityError, match="record of format 7, this version reads 4"):
            read()


def test_more_windows_than_the_kernel_has_room_for_are_refused(compiled):
    many = [count().over(*(f"{5 * n}m" for n in range(1, 70)))]
    layout = layout_of(FeatureView("v", Entity("zone", ("zone",)), "events", "t", many).definition)
    with pytest.raises(Unsupported, match="69 different windows; 64 is the limit"):
        compiled.read_one(layout, [], 0)


@pytest.mark.parametrize("own", [True, False])
def test_it_is_built_by_the_machine_s_compiler_or_by_the_carried_one(tmp_path, monkeypatch, own):
    if not own:
        pytest.importorskip("ziglang")
        monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    assert toolchain.cached_library(kernel.SOURCE, tmp_path) is None
    path = kernel.build(tmp_path)
    assert path is not None
    assert kernel.build(tmp_path) == toolchain.cached_library(kernel.SOURCE, tmp_path) == path
    tiles = tiles_of(bound([(3, 0, 0, 5)]), VIEW.definition)
    record = chunks.pack(LAYOUT, Chunk(tiles.whole, tiles.parts))
    found = kernel.Kernel(path).read_one(LAYOUT, [record, None], 4 * TILE_US)
    assert (found[0, 0], found[-1, 0]) == (1.0, 0.0)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_without_a_compiler_nothing_is_built_and_a_broken_one_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "compiler", lambda: None)
    assert kernel.build(tmp_path) is None
    assert toolchain.cached_library(kernel.SOURCE, tmp_path) is None
    monkeypatch.setattr(toolchain, "compiler", lambda: ["false"])
    with pytest.raises(Unavailable, match=r"false could not make the library of kernel\.c"):
        kernel.build(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Set XDG_CACHE_HOME"):
        kernel.build(tmp_path / "file" / "folder")
