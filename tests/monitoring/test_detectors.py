import doctest

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.monitoring import detectors
from bottega.monitoring.detectors import Cusum, Level, PageHinkley, Sums, scan
from bottega.monitoring.monitor import Monitor

MONTH_H = 31 * 24
DEFAULT = Monitor("eta_min")
SLACK = DEFAULT.slack / DEFAULT.sd_floor  # in standard deviations, as for a quiet reference
CUSUM = Cusum(SLACK, DEFAULT.threshold)
PAGE_HINKLEY = PageHinkley(SLACK, DEFAULT.threshold)


def hourly_noise(seed: int, hours: int = MONTH_H, correlation: float = 0.5) -> np.ndarray:
    """Standard normal with the hour-to-hour correlation of real hourly medians."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=hours)
    for hour in range(1, hours):
        values[hour] = correlation * values[hour - 1] + np.sqrt(1 - correlation**2) * values[hour]
    return values


@pytest.mark.parametrize("detector", [CUSUM, PAGE_HINKLEY], ids=["cusum", "page_hinkley"])
def test_no_false_alarm_in_three_hundred_quiet_months(detector):
    assert [seed for seed in range(300) if scan(detector, hourly_noise(seed).tolist()) is not None] == []


def test_a_stable_shift_of_three_percent_is_no_alarm():
    shift = 0.03 / DEFAULT.sd_floor
    for seed in range(100):
        assert scan(CUSUM, (hourly_noise(seed) + shift).tolist()) is None
        assert scan(CUSUM, (hourly_noise(seed) - shift).tolist()) is None


@pytest.mark.parametrize("size", [2.0, 3.0, 5.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_large_shift_is_found_in_time_and_place(size, sign):
    delays, misplaced = [], []
    for seed in range(50):
        values = hourly_noise(seed)
        values[300:] += sign * size
        found = scan(CUSUM, values.tolist())
        assert found is not None and found.index >= 300
        assert found.direction == ("above" if sign > 0 else "below")
        delays.append(found.index - 300)
        misplaced.append(abs(found.start - 300))
    assert np.mean(delays) == pytest.approx(DEFAULT.threshold / (size - SLACK), rel=0.25)
    assert np.median(misplaced) <= 3


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(0, 2))
def test_cusum_is_the_best_sum_over_all_starts(values, slack):
    state = Cusum(slack, 1e9).start()
    for value in values:
        state = Cusum(slack, 1e9).update(state, value)
    ends = [sum(value - slack for value in values[first:]) for first in range(len(values))]
    assert state.above == pytest.approx(max(0.0, *ends), abs=1e-9)
    ends = [sum(-value - slack for value in values[first:]) for first in range(len(values))]
    assert state.below == pytest.approx(max(0.0, *ends), abs=1e-9)


def test_page_hinkley_is_the_rise_above_the_lowest_cumulative_sum():
    values, slack, memory = hourly_noise(3, 200) + np.repeat([0, 2], 100), 0.5, 24.0
    counts = memory + np.arange(1, 201)
    means = np.cumsum(values) / counts
    sums = np.concatenate([[0], np.cumsum(values - means - slack)])
    expected = sums - np.minimum.accumulate(sums)
    state = Sums()
    for value, wanted in zip(values.tolist(), expected[1:], strict=True):
        state = PageHinkley(slack, 1e9, memory).update(state, value)
        assert state.above == pytest.approx(wanted, abs=1e-9)


def test_page_hinkley_takes_a_slow_trend_for_normal_where_cusum_does_not():
    trend = np.linspace(0, 1.8, 2000)
    assert scan(CUSUM, trend.tolist()) is not None
    assert scan(PAGE_HINKLEY, trend.tolist()) is None


@pytest.mark.parametrize("detector", [CUSUM, PAGE_HINKLEY, Level(2.5)])
def test_a_stored_state_continues_as_if_never_stopped(detector):
    values = hourly_noise(5, 400)
    values[200:] += 2
    whole = scan(detector, values.tolist())
    state = detector.start()
    for value in values[:30].tolist():
        state = detector.update(state, value)
    stored = msgspec.json.decode(msgspec.json.encode(state), type=Sums)
    assert whole is not None and whole.index >= 30
    assert scan(detector, values[30:].tolist(), stored) == whole


def test_level_tells_the_first_value_beyond():
    found = scan(Level(0.13), [0.1, -0.12, -0.14, 0.5])
    assert found is not None
    assert (found.index, found.start, found.value, found.direction) == (2, 2, 0.14, "below")
    assert scan(Level(0.13), [0.1, -0.13]) is None


def test_the_example_in_the_docs_holds():
    assert doctest.testmod(detectors) == (0, 1)
