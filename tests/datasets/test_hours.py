from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.datasets.hours import DAY_MIN, DAYS, WEEK_MIN, on_days, open_at, read_span
from bottega.errors import InvalidData

MEXICO = "America/Mexico_City"


def local(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment in the week of Monday 1 January 2024, Mexico's clock."""
    return datetime(2024, 1, 1 + day, hour, minute, tzinfo=ZoneInfo(MEXICO))


def test_an_evening_past_midnight_is_open_on_the_next_day_until_its_end():
    saturday = on_days(read_span("20:00-01:30"), ["Sat"])
    assert not open_at(saturday, local(5, 19, 59), MEXICO)
    assert open_at(saturday, local(5, 20), MEXICO)
    assert open_at(saturday, local(6, 1, 29), MEXICO)
    assert not open_at(saturday, local(6, 1, 30), MEXICO)


def test_sunday_night_reaches_into_monday_where_the_week_begins_again():
    sunday = on_days(read_span("19:00-02:00"), ["Sun"])
    assert open_at(sunday, local(0, 1, 59), MEXICO)
    assert not open_at(sunday, local(0, 2), MEXICO)
    assert not open_at(sunday, local(1, 1), MEXICO)


def test_the_clock_is_the_place_s_own():
    lunch = on_days(read_span("12:00-15:00"), DAYS)
    noon_in_utc = datetime(2024, 1, 3, 12, tzinfo=UTC)
    assert not open_at(lunch, noon_in_utc, MEXICO)
    assert open_at(lunch, noon_in_utc + timedelta(hours=6), MEXICO)
    assert open_at(lunch, datetime(2024, 7, 3, 16, tzinfo=UTC), "America/New_York")  # summer time


@given(st.integers(0, DAY_MIN - 1), st.integers(1, DAY_MIN), st.sampled_from(DAYS), st.integers(0, WEEK_MIN - 1))
def test_open_at_agrees_with_a_week_that_is_painted_minute_by_minute(start, length, day, minute):
    spans = on_days((start, start + length), [day])
    week = [False] * WEEK_MIN
    for offset in range(length):
        week[(DAYS.index(day) * DAY_MIN + start + offset) % WEEK_MIN] = True
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    assert open_at(spans, moment, "UTC") == week[minute]


@pytest.mark.parametrize("text", ["", "12-13", "25:00-26:00", "12:00", "aa:bb-cc:dd", "12:00-13:00-14:00"])
def test_what_are_no_hours_is_refused(text):
    with pytest.raises(InvalidData, match="no opening hours"):
        read_span(text)


def test_an_unknown_day_is_refused():
    with pytest.raises(InvalidData, match="Days are Mon"):
        on_days((0, 60), ["Lun"])
