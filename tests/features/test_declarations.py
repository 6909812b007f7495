"""Entity, FeatureView, StaticView, aggregations: what can be declared, and what a wrong declaration says."""

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidData, InvalidInput, NotFound, Unsupported
from bottega.features import Attribute, Entity, FeatureView, Source, StaticView, count, distinct, max, mean, min, sum
from bottega.features.windows import Aggregation

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
        (lambda: view(count().over("1h"), freshness="soon"), "is not a duration"),
        (lambda: FeatureView("v", ZONE, features=[count().over("1h")]), "does not say which events it counts"),
        (
            lambda: FeatureView("v", ZONE, "trips", features=[count().over("1h")], sources=[Source("a", "t")]),
            "does not say which events it counts",
        ),
        (
            lambda: FeatureView("v", ZONE, features=[count().over("1h")], sources=[Source("a", "t"), Source("a", "t")]),
            "declares source 'a' twice",
        ),
        (lambda: Source("trips", "t", columns={"x": "1x"}), "is not a name"),
        (lambda: count(where="x > 1"), "has a condition and no name"),
        (lambda: count(where="x > 1", name="1x"), "is not a name"),
        (lambda: mean("x", default=float("nan")), "is a finite number, or None"),
        (lambda: distinct("x", cap=0), "greatest count that is told exactly, 1 to"),
        (lambda: distinct("x", cap=10**6), "greatest count that is told exactly, 1 to"),
        (lambda: view(count().over("1h"), keys=("pu_zone", "do_zone")), "names 2 key columns .* has 1. Name one"),
        (lambda: view(count().over("1h"), tile="0m"), "is not a duration"),
        (lambda: StaticView("z", Entity("plate", ("plate",), "string"), "plates", ["x"]), "not addressed by whole"),
        (lambda: StaticView("z", ZONE, "zones", ["x", "x"]), "declares feature 'x' twice"),
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
