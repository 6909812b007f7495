import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidData
from bottega.features import Entity, FeatureView, count, mean
from bottega.features.binding import LARGEST, bind_events

VIEW = FeatureView("v", Entity("zone", ("zone",)), "trips", "t", [mean("x", scale=10).over("1h"), count().over("1h")])


def table(**columns) -> pd.DataFrame:
    base = {"zone": [1, 2], "t": pd.to_datetime([0, 300], unit="s", utc=True), "x": [1.0, 2.0]}
    return pd.DataFrame(base | columns)


def test_events_become_whole_numbers():
    times = pd.to_datetime([299_999_999, 300_000_000, 300_000_001, 0], unit="us", utc=True)
    events = bind_events(VIEW, pd.DataFrame({"zone": [1.0, 2.0, None, 3.0], "t": times, "x": [0.26, None, 1, -0.34]}))
    assert events.tile.tolist() == [0, 1, 0]
    assert events.keys[0].tolist() == [1, 2, 3]
    assert events.values["x"].tolist() == [3, 0, -3]
    assert events.valid["x"].tolist() == [True, False, True]
    assert events.dropped == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_resolution_and_zone_fall_into_the_same_tile(unit):
    moments = pd.Series(pd.to_datetime(["2024-03-10 06:59:59", "2024-03-10 07:00:00"], utc=True))
    local = moments.dt.tz_convert("America/New_York").dt.as_unit(unit)
    expected = [1710053999 // 300, 1710054000 // 300]
    assert bind_events(VIEW, table(t=local)).tile.tolist() == expected
    assert bind_events(VIEW, table(t=[1710053999 * 10**6, 1710054000 * 10**6])).tile.tolist() == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"t": pd.to_datetime([0, 300], unit="s")}, "the time 't' is datetime64.*without a time zone. Make it"),
        ({"t": ["yesterday", "today"]}, "without a time zone"),
        ({"x": ["1", "2"]}, "the column 'x' is .*it must be numbers"),
        ({"x": [1.0, np.inf]}, "x is inf; with scale 10 it must lie within"),
        ({"x": [1.0, LARGEST]}, "smaller scale"),
        ({"zone": ["a", "b"]}, "the key 'zone' is .*must be whole numbers"),
        ({"zone": [1.5, 2.0]}, "must be whole numbers"),
    ],
)
def test_a_wrong_column_is_refused_by_name(columns, message):
    with pytest.raises(InvalidData, match=message):
        bind_events(VIEW, table(**columns))


def test_a_missing_column_names_those_there_are():
    with pytest.raises(
        InvalidData, match=r"The source 'trips' of FeatureView 'v' has no column 'x'. It has: zone, t\."
    ):
        bind_events(VIEW, table().drop(columns="x"))


def test_a_text_key_must_be_text():
    view = FeatureView("v", Entity("plate", ("plate",), "string"), "trips", "t", [count().over("1h")])
    assert bind_events(view, table(plate=["a", None])).keys[0].tolist() == ["a"]
    with pytest.raises(InvalidData, match="must be text"):
        bind_events(view, table(plate=[1, 2]))
