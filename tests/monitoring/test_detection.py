from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bottega.monitoring.detection import detect
from bottega.monitoring.reference import take_reference

START = datetime(2024, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def normal(outcomes, monitor):
    return take_reference(outcomes(72, 100, seed=99, start=START - timedelta(days=3)), monitor, 1).normal


def test_a_quiet_month_is_quiet(outcomes, monitor, normal):
    for seed in range(5):
        found = detect(outcomes(30 * 24, 60, seed=seed), normal, monitor)
        assert found.alarm is None and found.day is None and found.page_hinkley is None


def test_a_stable_shift_of_three_percent_does_not_matter(outcomes, monitor, normal):
    assert detect(outcomes(30 * 24, 60, shift=0.03), normal, monitor).alarm is None


def test_emptied_roads_are_noticed_within_the_day(outcomes, monitor, normal):
    table = outcomes(200, 100, shift=lambda hours: np.where(hours >= 100, -0.25, 0.0))
    found = detect(table, normal, monitor)
    assert found.alarm is not None
    assert found.alarm == found.cusum and found.alarm.direction == "below"
    start = START + timedelta(hours=100)
    assert start < found.alarm.at <= start + timedelta(hours=14)
    assert abs(found.alarm.change_at - start) <= timedelta(hours=2)
    assert found.alarm.shift == pytest.approx(-0.25, abs=0.04)
    assert found.day is not None and found.day.direction == "below"
    assert found.alarm.value > found.alarm.threshold == monitor.threshold


def test_the_order_of_labels_counts_not_that_of_requests(outcomes, monitor, normal):
    """Labels that arrive four days late cannot alarm before they arrive."""
    table = outcomes(200, 100, shift=lambda hours: np.where(hours >= 100, -0.25, 0.0))
    late = table.assign(label_at=table["label_at"] + timedelta(days=4))
    on_time, delayed = detect(table, normal, monitor).alarm, detect(late, normal, monitor).alarm
    assert on_time is not None and delayed is not None
    assert delayed.at - on_time.at == timedelta(days=4)


def test_few_labels_are_pooled_and_still_alarm(outcomes, monitor, normal):
    table = outcomes(1000, 5, shift=lambda hours: np.where(hours >= 500, 0.4, 0.0))
    found = detect(table, normal, monitor)
    assert found.alarm is not None and found.alarm.direction == "above"
    assert (found.series["labels"] >= monitor.min_labels).all()
    assert START + timedelta(hours=500) < found.alarm.at < START + timedelta(hours=700)


def test_the_path_of_the_sums_crosses_where_the_alarm_is(outcomes, monitor, normal):
    table = outcomes(200, 100, shift=lambda hours: np.where(hours >= 100, 0.25, 0.0))
    found = detect(table, normal, monitor)
    crossed = found.series[found.series["above"] > monitor.threshold]
    assert found.alarm is not None and crossed["end"].iloc[0] == found.alarm.at
    assert crossed["above"].iloc[0] == pytest.approx(found.alarm.value)


def test_no_labels_no_alarm(outcomes, monitor, normal):
    found = detect(outcomes(5, 10).iloc[:0], normal, monitor)
    assert found.alarm is None and found.series.empty and found.days.empty
