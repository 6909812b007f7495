import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.features import Entity, FeatureView, count, max, mean, min
from bottega.features.chunks import add_windows, merge, pack, unpack
from bottega.features.definition import layout_of

FEATURES = [count().over("15m", "1h"), mean("x").over("15m"), min("x").over("1h"), max("x").over("15m")]
LAYOUT = layout_of(FeatureView("v", Entity("city"), "s", "t", FEATURES).definition)
ADDING = layout_of(FeatureView("v", Entity("city"), "s", "t", FEATURES[:2]).definition)

tiles = st.dictionaries(st.integers(0, 40), st.integers(-9, 9), max_size=12)


def states(content: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One event a tile: its number and its value."""
    tile = np.array(sorted(content), np.int64)
    x = np.array([content[k] for k in sorted(content)], np.int64)
    return tile, np.array([np.ones_like(x), np.ones_like(x), x, x, x])


@given(content=tiles)
def test_tiles_come_back_as_they_went(content):
    tile, state = states(content)
    again_tile, again_state = unpack(pack(LAYOUT, tile, state), LAYOUT)
    np.testing.assert_array_equal(again_tile, tile)
    np.testing.assert_array_equal(again_state, state)


@settings(deadline=None)
@given(one=tiles, other=tiles, now=st.integers(0, 45))
@pytest.mark.parametrize("layout", [LAYOUT, ADDING])
def test_windows_over_merged_tiles_are_those_of_a_loop(layout, one, other, now):
    kinds = len(layout.states)
    packed = None
    for content in (one, other):
        tile, state = states(content)
        packed = merge(packed, layout, tile, state[:kinds])
    totals = np.repeat(layout.neutral[:, None], len(layout.windows), axis=1)[:, :, None].copy()
    add_windows(totals, packed, layout, (now - 1 - layout.reach)[None, :])
    for j, length in enumerate(layout.windows.tolist()):
        inside = [x for content in (one, other) for k, x in content.items() if now - length <= k < now]
        n = len(inside)
        neutral = layout.neutral.tolist()
        expected = [n, n, np.sum(inside, dtype=int), *([np.min(inside), np.max(inside)] if n else neutral[3:])]
        assert totals[:, j, 0].tolist() == expected[:kinds]
