import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InvalidData
from bottega.features import Entity, FeatureView, Source, count, last, mean, stddev, sum
from bottega.features.binding import LARGEST, LARGEST_SQUARED, bind_events

VIEW = FeatureView("v", Entity("zone", ("zone",)), "trips", "t", [mean("x", scale=10).over("1h"), count().over("1h")])


def table(**columns) -> pd.DataFrame:
    base = {"zone": [1, 2], "t": pd.to_datetime([0, 300], unit="s", utc=True), "x": [1.0, 2.0]}
    return pd.DataFrame(base | columns)


def test_events_become_whole_numbers():
    times = pd.to_datetime([299_999_999, 300_000_000, 300_000_001, 0], unit="us", utc=True)
    events = bind_events(VIEW, pd.DataFrame({"zone": [1.0, 2.0, None, 3.0], "t": times, "x": [0.26, None, 1, -0.34]}))
    assert events.tile.tolist() == [0, 1, 0]
    assert events.keys[0].tolist() == [1, 2, 3]
    assert events.values[0].tolist() == [3, 0, -3]
    assert events.valid[0].tolist() == [True, False, True]
    assert events.available_us.tolist() == events.event_us.tolist() == [299_999_999, 300_000_000, 0]
    assert events.position.tolist() == [0, 1, 3]
    assert events.refused == {"null key": 1}


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


def seconds(*moments) -> pd.Series:
    return pd.Series(pd.to_datetime(moments, unit="s", utc=True))


def test_arrival_is_a_column_or_a_delay_and_each_refusal_is_counted_by_its_reason():
    view = FeatureView(
        "v", Entity("zone", ("zone",)), "trips", "t", [count().over("1h")], available_at="seen", lateness="10m"
    )
    frame = pd.DataFrame(
        {
            "zone": [1, 1, 1, 1, 1, None, 1],
            "t": seconds(100, 100, 100, 100, None, 100, 100),
            "seen": seconds(100, 700, 701, 99, 100, None, None),
        }
    )
    bound = bind_events(view, frame)
    assert bound.position.tolist() == [0, 1]
    assert bound.available_us.tolist() == [100_000_000, 700_000_000]
    assert bound.refused == {"null key": 1, "null time": 2, "from the future": 1, "beyond the watermark": 1}
    delayed = FeatureView("v", Entity("zone", ("zone",)), "trips", "t", [count().over("1h")], delay="10m")
    bound = bind_events(delayed, frame[["zone", "t"]].head(1))
    assert (bound.event_us[0], bound.available_us[0]) == (100_000_000, 700_000_000)


def test_each_source_has_its_own_names_and_every_input_its_own_scale_and_condition():
    view = FeatureView(
        "v",
        Entity("zone", ("zone",)),
        sources=[
            Source("green", "t", keys=("pu",)),
            Source("yellow", "ended", keys=("start",), columns={"x": "speed", "kind": "how"}),
        ],
        features=[
            mean("x", scale=10).over("1h"),
            sum("x", scale=100).over("1h"),
            last("x", scale=10, where="kind == 'a'", name="x_of_a").over("1h"),
            count(where="x > 1", name="large").over("1h"),
        ],
    )
    inputs = [(one.column, one.scale, one.where) for one in view.definition.inputs]
    assert inputs == [("x", 10, ""), ("x", 100, ""), ("x", 10, "kind == 'a'"), ("", 1, "x > 1")]
    green = pd.DataFrame({"pu": [1, 2], "t": seconds(0, 0), "x": [1.26, None], "kind": ["b", "a"]})
    yellow = green.rename(columns={"pu": "start", "t": "ended", "x": "speed", "kind": "how"})
    for name, frame in (("green", green), ("yellow", yellow)):
        bound = bind_events(view, frame, name)
        assert [values[0] for values in bound.values] == [13, 126, 13, 1]
        assert [valid.tolist() for valid in bound.valid] == [[True, False], [True, False], [False] * 2, [True, False]]
    with pytest.raises(InvalidData, match=r"The source 'yellow' of FeatureView 'v' has no column 'start'"):
        bind_events(view, green, "yellow")


def test_ids_are_whole_numbers_or_text_and_never_null():
    view = FeatureView("v", Entity("zone", ("zone",)), "trips", "t", [count().over("1h")], event_id="id")
    assert [part.tolist() for part in bind_events(view, table(id=[7, 8])).id] == [[7, 8]]
    one, other = bind_events(view, table(id=["a", "b"])).id
    again = bind_events(view, table(id=["b", "a"])).id
    assert (one[0], other[0]) == (again[0][1], again[1][1]) != (one[1], other[1])
    with pytest.raises(InvalidData, match="the event id 'id' is null in row 1"):
        bind_events(view, table(id=["a", None]))
    with pytest.raises(InvalidData, match="must be whole numbers or text"):
        bind_events(view, table(id=[1.5, 2.5]))


def test_a_standard_deviation_takes_smaller_values_than_a_sum():
    view = FeatureView("v", Entity("zone", ("zone",)), "trips", "t", [stddev("x", scale=1).over("1h")])
    assert bind_events(view, table(x=[LARGEST_SQUARED, -LARGEST_SQUARED])).values[0].tolist() == [2**31, -(2**31)]
    with pytest.raises(InvalidData, match="must lie within"):
        bind_events(view, table(x=[LARGEST_SQUARED + 1, 0]))


def test_a_view_may_name_a_column_that_the_source_uses_for_something_else():
    view = FeatureView(
        "v",
        Entity("zone", ("zone",)),
        sources=[Source("trips", "t", columns={"x": "y", "y": "x", "z": "x"})],
        features=[
            mean("x", scale=1).over("1h"),
            mean("y", scale=1).over("1h"),
            mean("z", scale=1, where="y > 1", name="z").over("1h"),
        ],
    )
    bound = bind_events(view, table(x=[1, 2], y=[30, 40], z=[5, 5]))
    assert [values.tolist() for values in bound.values] == [[30, 40], [1, 2], [1, 2]]
    assert bound.valid[2].tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float32", "Int64", "boolean"])
def test_a_column_of_any_number_type_gives_the_same_whole_numbers(dtype):
    bound = bind_events(VIEW, table(x=pd.Series([0, 1]).astype(dtype)))
    assert bound.values[0].tolist() == [0, 10]
    assert bound.values[0].dtype == np.int64
    assert bound.valid[0].tolist() == [True, True]


def test_null_numbers_of_any_type_are_not_valid():
    for dtype in ("float32", "float64", "Int64", "boolean"):
        bound = bind_events(VIEW, table(x=pd.Series([1, None], dtype=dtype)))
        assert (bound.values[0].tolist(), bound.valid[0].tolist()) == ([10, 0], [True, False])


@given(
    st.lists(st.integers(-(2**41), 2**41) | st.floats(-1e9, 1e9), max_size=20),
    st.sampled_from([1, 7, 1000]),
)
def test_fixed_point_is_the_product_rounded_half_to_even_or_refused(numbers, scale):
    view = FeatureView("v", Entity("city"), "trips", "t", [mean("x", scale=scale).over("1h")])
    whole = all(isinstance(number, int) for number in numbers)
    frame = pd.DataFrame({"t": np.zeros(len(numbers), np.int64), "x": np.array(numbers, np.int64 if whole else float)})
    expected = [round(float(number) * scale) for number in numbers]
    if all(abs(step) <= LARGEST for step in expected):
        assert bind_events(view, frame).values[0].tolist() == expected
    else:
        with pytest.raises(InvalidData, match="must lie within"):
            bind_events(view, frame)


def test_keys_beyond_64_bits_are_no_whole_numbers():
    for keys in ([1, np.inf], [1, 1e300], [1, 2**63], [1.0, 2.0**53 + 2]):
        with pytest.raises(InvalidData, match="must be whole numbers of 64 bits"):
            bind_events(VIEW, table(zone=keys))
    assert bind_events(VIEW, table(zone=np.array([1, 2**63 - 1], np.uint64))).keys[0].tolist() == [1, 2**63 - 1]


@pytest.mark.parametrize("moment", [-1, 32_503_680_000_000_000, 1_710_053_999_000_000_000])
def test_a_time_of_another_unit_or_before_1970_is_refused(moment):
    with pytest.raises(InvalidData, match="between the years 1970 and 3000: check the unit"):
        bind_events(VIEW, table(t=[0, moment]))


def test_null_times_count_as_such_in_every_type():
    for times in (seconds(0, None), pd.Series([0, None], dtype="Int64")):
        bound = bind_events(VIEW, table(t=times))
        assert (bound.position.tolist(), bound.refused) == ([0], {"null time": 1})


def test_the_first_rule_that_a_row_breaks_is_its_reason_and_all_may_be_refused():
    view = FeatureView("v", Entity("pair", ("a", "b")), "trips", "t", [count().over("1h")], available_at="seen")
    frame = pd.DataFrame({"a": [None, 1], "b": [1, None], "t": seconds(None, 9), "seen": seconds(1, 1)})
    bound = bind_events(view, frame)
    assert (len(bound), bound.refused) == (0, {"null key": 2})


def test_a_key_that_its_type_cannot_hold_is_refused_by_a_reason_of_its_own():
    edges = [-(2**31) - 1, -(2**31), 2**31 - 1, 2**31, None]
    rows = pd.DataFrame({"zone": pd.array(edges, "Int64"), "t": seconds(*range(5)), "x": 1.0})
    narrow = FeatureView("v", Entity("zone", ("zone",), dtype="int32"), "trips", "t", VIEW.features)
    bound = bind_events(narrow, rows)
    assert (bound.position.tolist(), bound.refused) == ([1, 2], {"key out of range": 2, "null key": 1})
    assert bind_events(VIEW, rows).refused == {"null key": 1}


def test_an_empty_table_binds_to_no_events():
    assert len(bind_events(VIEW, table().head(0))) == 0


def test_a_condition_may_look_at_a_key():
    view = FeatureView(
        "v", Entity("zone", ("zone",)), "trips", "t", [count(where="zone != 2", name="others").over("1h")]
    )
    assert bind_events(view, table()).valid[0].tolist() == [True, False]
