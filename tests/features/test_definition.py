"""From window totals to values: one formula, held to exact fractions."""

import builtins
import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bottega.features import Entity, FeatureView, count, distinct, last, max, mean, min, stddev, sum
from bottega.features.definition import REFUSED, deviation, deviations, layout_of

VIEW = FeatureView(
    "v",
    Entity("zone", ("zone",)),
    "events",
    "t",
    [
        count().over("1h"),
        mean("x", scale=7).over("1h", "5m"),
        sum("x", scale=7).over("5m"),
        min("x", scale=7).over("1h"),
        max("x", scale=7, default=-1.0).over("1h"),
        last("x", scale=7).over("1h"),
        stddev("x", scale=7).over("1h"),
        distinct("x", cap=9).over("1h"),
    ],
    ttl="10m",
)
LAYOUT = layout_of(VIEW.definition)
AT = {(state.kind, state.input.scale): i for i, state in enumerate(LAYOUT.states)}


def values(**totals: int) -> dict[str, float]:
    """Values where every window of a state has the same total; the others are empty."""
    table = np.repeat(LAYOUT.neutral[:, None, None], len(LAYOUT.windows), axis=1)
    for i, state in enumerate(LAYOUT.states):
        if state.kind in totals:
            table[i] = totals[state.kind]
    found = LAYOUT.values(table)[:, 0].tolist()
    return dict(zip([feature.name for feature in VIEW.features], found, strict=True))


def test_windows_are_nested_longest_first():
    assert LAYOUT.windows.tolist() == [12, 2, 1]
    assert [state.kind for state in LAYOUT.states][:3] == ["rows", "n", "sum"]


@given(st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=60))
def test_values_are_exact_up_to_one_rounding(steps):
    n, total, square = len(steps), builtins.sum(steps), builtins.sum(step * step for step in steps)
    found = values(
        rows=n,
        n=n,
        sum=total,
        min=int(np.min(steps)),
        max=int(np.max(steps)),
        last=steps[-1],
        squares_high=square >> 32,
        squares_low=square & (2**32 - 1),
    )
    assert found["count_1h"] == n
    assert found["x_sum_5m"] == float(Fraction(total, 7))
    assert found["x_mean_1h"] == found["x_mean_5m"] == float(Fraction(total, 7 * n))
    assert (found["x_min_1h"], found["x_max_1h"]) == (np.min(steps) / 7, np.max(steps) / 7)
    assert found["x_last_1h"] == steps[-1] / 7
    variance = Fraction(n * square - total * total, n * n)
    assert math.isclose(found["x_stddev_1h"], math.sqrt(variance) / 7, rel_tol=1e-15, abs_tol=0.0)


def test_nothing_known_is_zero_null_or_the_default():
    found = values(rows=1)
    assert (found["count_1h"], found["x_sum_5m"], found["x_distinct_1h"], found["x_max_1h"]) == (1.0, 0.0, 0.0, -1.0)
    assert all(math.isnan(found[name]) for name in ("x_mean_1h", "x_min_1h", "x_last_1h", "x_stddev_1h"))


def test_without_an_event_within_the_time_to_live_nothing_has_a_value_but_the_default():
    found = values(n=5, sum=35, distinct=3)
    assert found.pop("x_max_1h") == -1.0
    assert all(math.isnan(value) for value in found.values())


def test_a_distinct_count_above_its_cap_is_null():
    assert values(rows=20, distinct=9)["x_distinct_1h"] == 9.0
    assert math.isnan(values(rows=20, distinct=REFUSED)["x_distinct_1h"])


def test_a_deviation_near_the_largest_moments_does_not_overflow():
    n, value = 2**31, 2**31
    assert deviation(n, 0, n * value * value) == float(value)


moments = st.lists(
    st.lists(st.integers(-(2**31), 2**31) | st.integers(-3000, 3000), min_size=1, max_size=40), min_size=1, max_size=9
)


@given(moments, st.sampled_from([1, 10**6]))
def test_deviations_of_many_equal_those_of_one(groups, copies):
    n = [len(group) * copies for group in groups]
    total = [builtins.sum(group) * copies for group in groups]
    squares = [builtins.sum(step * step for step in group) for group in groups]
    high = [builtins.sum(step * step >> 32 for step in group) * copies for group in groups]
    low = [builtins.sum(step * step & (2**32 - 1) for step in group) * copies for group in groups]
    found = deviations(*(np.array(column, np.int64) for column in (n, total, high, low)))
    expected = [deviation(a, b, c * copies) for a, b, c in zip(n, total, squares, strict=True)]
    assert found.tolist() == expected
