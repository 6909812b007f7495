"""Entity, FeatureView, StaticView, aggregations: what can be declared, and what a wrong declaration says."""

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidData, InvalidInput, NotFound, Unsupported
from bottega.features import Attribute, Entity, FeatureView, Source, StaticView, count, distinct, max, mean, min, sum
from bottega.features.windows import Aggregation, Feature

ZONE = Entity("zone", keys=("zone",), dtype="int32")


def view(*features, **options) -> FeatureView:
    return FeatureView("zone_traffic", ZONE, "trips", "dropoff_at", features, **options)


def test_features_are_named_by_column_aggregation_and_window():
    declared = view(mean("speed_kmh", unit="km/h").over("15m", "24h"), count().over("7d"), sum("fare_usd").over("1h"))
    assert [f.name for f in declared.features] == [
        "speed_kmh_mean_15m",
        "speed_kmh_mean_24h",
        "count_7d",
        "fare_usd_sum_1h",
    ]
    assert [f.unit for f in declared.features] == ["km/h", "km/h", "events", ""]
    assert [f.window_s for f in declared.features] == [900, 86400, 604800, 3600]
    assert declared.columns == ("speed_kmh", "fare_usd")


def test_one_feature_or_key_needs_no_list():
    declared = FeatureView("v", ZONE, "trips", "t", mean("x").over("1h"), keys="pu_zone")
    assert [feature.name for feature in declared.features] == ["x_mean_1h"]
    assert declared.sources == (Source("trips", "t", keys=("pu_zone",)),)
    assert FeatureView("v", ZONE, "trips", "t", mean("x").over("1h")[0], keys=["pu_zone"]) == declared
    assert StaticView("z", ZONE, "zones", "x", keys="id").keys == ("id",)


def test_sources_keep_their_own_columns_and_promises():
    declared = FeatureView(
        "v",
        ZONE,
        features=[mean("x").over("1h"), count(where="kind == 'a' and x > 1", name="large").over("1h")],
        sources=[
            Source("green", "t", "seen", event_id="id", id_dtype="string"),
            Source("yellow", "ended", delay="10m", keys=("start",), columns={"x": "speed", "kind": "how"}),
        ],
        lateness="2h",
        ttl="7d",
        freshness="1m",
    )
    assert declared.source_names == ("green", "yellow")
    assert declared.columns == ("x", "kind")
    assert [one.column("x") for one in declared.sources] == ["x", "speed"]
    assert [one.keys for one in declared.sources] == [("zone",), ("start",)]
    assert [one.delay_us for one in declared.sources] == [0, 600_000_000]
    found = declared.definition
    assert (found.lateness_s, found.ttl_s, found.freshness_s) == (7200, 604800, 60)
    with pytest.raises(NotFound, match=r"has no source 'blue'\. It has: green, yellow"):
        declared.find_source("blue")
    with pytest.raises(NotFound, match="has no source ''"):
        declared.find_source()


def test_only_windows_may_change_while_stored_tiles_stay_readable():
    one = view(mean("x").over("1h")).definition
    assert one.fits(view(mean("x", default=0.0, unit="km").over("15m", "24h")).definition)
    for other in (
        view(mean("x", scale=10).over("1h")),
        view(mean("x", where="x > 1", name="x_mean").over("1h")),
        view(mean("x").over("1h"), tile="1m"),
        view(mean("x").over("1h"), lateness="2h"),
    ):
        assert not one.fits(other.definition)


def test_equal_declarations_are_equal_and_hashable():
    assert view(count().over("1h")) == view(count().over("1h"))
    assert len({view(count().over("1h")), view(count().over("1h")), view(count().over("2h"))}) == 2


def test_an_entity_may_have_one_key_several_or_none():
    assert Entity("zone", "zone").keys == ("zone",)
    assert Entity("pair", ("pu", "do")).keys == ("pu", "do")
    assert Entity("city").keys == ()


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Entity("zone; DROP TABLE x"), "is not a name. Use letters"),
        (lambda: Entity("pair", ("a", "a")), "names a key twice"),
        (lambda: Entity("zone", ("zone",), dtype="float64"), "Key types are int32, int64, string"),
        (lambda: Aggregation("median", "speed_kmh"), "'median' is no aggregation. Aggregations are count, sum, mean"),
        (lambda: mean('x"; SELECT 1'), "is not a name"),
        (lambda: mean("x", scale=0), "number of fixed-point steps"),
        (lambda: mean("x", scale=0.5), "number of fixed-point steps"),
        (lambda: mean("x").over(), "names no window"),
        (lambda: mean("x").over("15 minutes"), "is not a duration. Write a whole number"),
        (lambda: view(), "has no features"),
        (lambda: view(mean("x")), r'mean\("x"\) has no windows. Write mean\("x"\).over'),
        (lambda: view("x"), "'x' is no feature"),
        (lambda: view(count().over("1h"), count().over("1h")), "declares feature 'count_1h' twice"),
        (lambda: view(count().over("7m")), "not a multiple of the tile 5m .* Use 600s or 300s, or another tile"),
        (lambda: view(count().over("1m")), "Use 300s, or another tile"),
        (lambda: view(count().over("1h"), ttl="7m"), "time to live 7m is not a multiple"),
        (lambda: view(count().over("1h"), event_id="no id"), "is not a name"),
        (lambda: view(count().over("1h"), available_at="seen", delay="5m"), "has both available_at and delay"),
        (lambda: view(count().over("1h"), delay="-5m"), "is not a duration"),
        (lambda: view(count().over("1h"), lateness="1w"), "is not a duration"),
        (lambda: view(count().over("1h"), lateness=None), "The lateness of FeatureView .* None is not a duration"),
        (lambda: view(count().over("1h"), delay="2h"), 'the delay of source .trips. is 2h.* Declare lateness="2h"'),
        (lambda: view(count().over("1h"), tile=300), "The tile of .* 300 is not a duration. Write it as text"),
        (lambda: view(count().over("1h"), ttl=""), "is not a duration"),
        (lambda: count().over("40000d"), "The window of count.*: '40000d' is longer than a century"),
        (lambda: count().over(900), r"The window of count\(\): 900 is not a duration"),
        (lambda: count().over("9" * 5000 + "s"), "is longer than a century"),
        (lambda: view(count().over("1h"), freshness="soon"), "is not a duration"),
        (lambda: FeatureView("v", ZONE, features=[count().over("1h")]), "does not say which events it counts"),
        (
            lambda: FeatureView("v", ZONE, "trips", features=[count().over("1h")], sources=[Source("a", "t")]),
            r"says twice which events it counts.* Move source, .* into sources=\[Source",
        ),
        (
            lambda: FeatureView("v", ZONE, features=[count().over("1h")], sources=[Source("a", "t")], delay="5m"),
            "says twice which events it counts",
        ),
        (lambda: FeatureView("v", ZONE, features=[count().over("1h")], sources=["trips"]), "'trips' is no source"),
        (
            lambda: FeatureView("v", "zone", "trips", "t", [count().over("1h")]),
            r"The entity of .* Declare it: Entity\(",
        ),
        (
            lambda: FeatureView("v", ZONE, features=[count().over("1h")], sources=[Source("a", "t"), Source("a", "t")]),
            "declares source 'a' twice",
        ),
        (lambda: Source("trips", "t", columns={"x": "1x"}), "is not a name"),
        (lambda: Source("trips", "t", columns=[("x", "a"), ("x", "b")]), "declares column 'x' twice"),
        (lambda: Source("trips", "no time"), "A column of Source 'trips': 'no time' is not a name"),
        (lambda: Source("trips", None), "None is not a name"),
        (lambda: Source("trips", "t", event_id="id", id_dtype="uuid"), "ids of type 'uuid'. Use int64 or string"),
        (lambda: Source("trips", "t", delay=300), "The delay of Source .trips.: 300 is not a duration. Write it as"),
        (
            lambda: FeatureView(
                "v", ZONE, features=[mean("x").over("1h")], sources=[Source("a", "t", columns={"xx": "speed"})]
            ),
            "source 'a' names the column 'xx', which no feature uses. The features use: x",
        ),
        (lambda: view(mean("zone").over("1h")), "'zone_mean_1h' aggregates 'zone', which is a key of source 'trips'"),
        (lambda: view(max("dropoff_at").over("1h")), "aggregates 'dropoff_at', which is a time of source"),
        (
            lambda: FeatureView(
                "v",
                ZONE,
                features=[distinct("x", cap=9).over("1h")],
                sources=[Source("a", "t", event_id="id", columns={"x": "id"}, id_dtype="string")],
            ),
            r"aggregates 'x', which is an id of text of source 'a'. Aggregate a column of numbers, or count\(\)",
        ),
        (lambda: count(where="x > 1"), "has a condition and no name"),
        (lambda: count(where="x > 1", name="1x"), "is not a name"),
        (lambda: count(where=["x > 1"], name="x"), r"The condition of count\(\) is \['x > 1'\]. Write it as text"),
        (lambda: count(where="f(x) > 1", name="x"), "is no condition"),
        (lambda: count(name="n; DROP TABLE trips"), "is not a name"),
        (lambda: mean("x", name='n"; SELECT 1'), "is not a name"),
        (lambda: view(Feature("n; DROP TABLE trips", "count", "", 300)), "A feature of .* is not a name"),
        (lambda: mean("x", default="0"), "The default of mean.* is '0'. It is a finite number"),
        (lambda: mean("x", default=10**400), "is a finite number, or None"),
        (lambda: distinct("x", cap=True), "greatest count that is told exactly, 1 to"),
        (lambda: mean("x", default=float("nan")), "is a finite number, or None"),
        (lambda: distinct("x", cap=0), "greatest count that is told exactly, 1 to"),
        (lambda: distinct("x", cap=10**6), "greatest count that is told exactly, 1 to"),
        (lambda: view(count().over("1h"), keys=("pu_zone", "do_zone")), "names 2 key columns .* has 1. Name one"),
        (lambda: view(count().over("1h"), tile="0m"), "is not a duration"),
        (lambda: StaticView("z", Entity("plate", ("plate",), "string"), "plates", ["x"]), "not addressed by whole"),
        (lambda: StaticView("z", ZONE, "zones", ["x", "x"]), "declares feature 'x' twice"),
        (lambda: StaticView("z", ZONE, "zones", []), "has no features. Name one: Attribute"),
        (lambda: StaticView("z", ZONE, "zones", [7]), "7 is no attribute"),
        (lambda: StaticView("z", ZONE, "zones", [Attribute("x", default=float("inf"))]), "the default of 'x' is inf"),
        (lambda: StaticView("z", "zone", "zones", ["x"]), "The entity of StaticView 'z' is 'zone'"),
        (lambda: StaticView("z", ZONE, "zones", ["x"], keys="a b"), "A key column of StaticView 'z': 'a b' is not"),
    ],
)
def test_a_wrong_declaration_fails_where_it_is_written(declare, message):
    with pytest.raises((InvalidInput, Unsupported), match=message):
        declare()


def test_an_unknown_feature_names_those_there_are():
    declared = view(mean("speed_kmh").over("15m"), count().over("1h"))
    with pytest.raises(NotFound) as caught:
        declared.feature("fare")
    assert str(caught.value) == (
        "FeatureView 'zone_traffic' has no feature 'fare'. It has: speed_kmh_mean_15m, count_1h. "
        "See 'bottega features show zone_traffic'."
    )


def test_states_are_kept_once_for_all_features_that_need_them():
    declared = view(mean("x").over("1h"), sum("x").over("1h"), min("x").over("1h"), max("x").over("5m"))
    assert [(s.kind, s.input.column) for s in declared.definition.states] == [
        ("rows", ""),
        ("n", "x"),
        ("sum", "x"),
        ("min", "x"),
        ("max", "x"),
    ]


@pytest.fixture
def areas() -> StaticView:
    return StaticView("zone_area", ZONE, "zones", [Attribute("area_km2", "km2", default=0.0), "lat"], keys=("id",))


def test_a_static_view_becomes_a_table_of_the_plan(areas):
    table = areas.table(pd.DataFrame({"id": [3, 1], "area_km2": [7, 5], "lat": [40.5, None], "name": ["x", "y"]}))
    area, lat = table.read([np.array([1, 3, 2])], ["area_km2", "lat"])
    assert area.tolist() == [5.0, 7.0, 0.0]
    np.testing.assert_array_equal(lat, [np.nan, 40.5, np.nan])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"id": [1], "area_km2": [2.0]}, "has no column 'lat'. It has: id, area_km2"),
        ({"id": [1, 1], "area_km2": [2.0, 3.0], "lat": [0, 0]}, "repeated key: id 1"),
        ({"id": [1, None], "area_km2": [2.0, 3.0], "lat": [0, 0]}, "repeated key: id nan"),
        ({"id": [1, -1], "area_km2": [2.0, 3.0], "lat": [0, 0]}, "repeated key: id -1"),
        ({"id": ["a"], "area_km2": [2.0], "lat": [0]}, "must be whole numbers"),
    ],
)
def test_a_static_view_refuses_a_wrong_source(areas, rows, message):
    with pytest.raises(InvalidData, match=message):
        areas.table(pd.DataFrame(rows))
