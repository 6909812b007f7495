from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InvalidInput
from bottega.times import from_epoch_us, local_us, parse_duration_s, parse_time, to_epoch_us

NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-16T08:30", "2024-01-16T13:30:00+00:00"),
        ("2024-07-16T08:30", "2024-07-16T12:30:00+00:00"),
        ("2024-01-16", "2024-01-16T05:00:00+00:00"),
        ("2024-01-16T08:30:00+01:00", "2024-01-16T07:30:00+00:00"),
        ("2024-01-16T08:30:00Z", "2024-01-16T08:30:00+00:00"),
        ("2023-11-05T01:30", "2023-11-05T05:30:00+00:00"),  # ambiguous: its first occurrence, daylight time
    ],
)
def test_a_text_without_offset_is_local_time(text, utc):
    assert parse_time(text, NEW_YORK) == datetime.fromisoformat(utc)


@pytest.mark.parametrize("text", ["yesterday", "", "2024-13-01", "2024-01-16T25:00"])
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(InvalidInput, match=r"is not a time.*for example"):
        parse_time(text, NEW_YORK)


def test_a_local_time_that_the_clock_skips_is_refused():
    with pytest.raises(InvalidInput, match=r"does not exist in America/New_York"):
        parse_time("2023-03-12T02:30", NEW_YORK)


def test_an_api_demands_an_offset():
    with pytest.raises(InvalidInput, match=r"no offset"):
        parse_time("2024-01-16T08:30", None)


@given(
    st.integers(int(datetime(1991, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2059, 1, 1, tzinfo=UTC).timestamp()))
)
def test_local_wall_clock_equals_zoneinfo(epoch_s):
    local = datetime.fromtimestamp(epoch_s, ZoneInfo(NEW_YORK)).replace(tzinfo=UTC)
    assert local_us(np.array([epoch_s * 1_000_000]), NEW_YORK)[0] == int(local.timestamp()) * 1_000_000


@given(st.integers(-(10**15), 4 * 10**15))
def test_epoch_round_trip(epoch_us):
    assert to_epoch_us(from_epoch_us(epoch_us)) == epoch_us


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("24h", 86400), ("7d", 604800)])
def test_durations(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "15", "0m", "-5m", "1.5h", "5w"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidInput, match=r"is not a duration"):
        parse_duration_s(text)
