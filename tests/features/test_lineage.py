"""Lineage: every column behind a feature, and everything that depends on it."""

from bottega.features import Attribute, Entity, ExternalView, FeatureView, Source, StaticView, count, mean, on_request
from bottega.features.lineage import Edge, downstream, lineage, upstream

ZONE = Entity("zone", keys=("zone",))
TRAFFIC = FeatureView(
    "traffic",
    ZONE,
    sources=[
        Source("green", "dropoff_at", keys=("pu_zone",)),
        Source("yellow", "ended", available_at="seen", keys=("start_zone",), columns={"speed_kmh": "speed"}),
    ],
    features=[
        mean("speed_kmh").over("1h"),
        count(where="km > 2", name="long").over("1h"),
    ],
)
AREAS = StaticView("areas", ZONE, "zones", [Attribute("area_km2")])


@on_request
def density(xp, trips, area):
    return trips / area


EDGES = lineage(
    [TRAFFIC, AREAS],
    {"speed": "traffic:speed_kmh_mean_1h@pu_zone", "trips": "traffic:long_1h@pu_zone", "area": "areas:area_km2@zone"},
    [density],
    ["speed", "density"],
)


def test_an_external_feature_comes_from_its_service():
    weather = ExternalView("weather", ZONE, "weather_service", ["temperature_c"])
    edges = lineage([weather], {"warm": "weather:temperature_c@pu_zone"}, [], ["warm"])
    assert upstream(edges, "model") == (
        Edge("warm", "model", "input"),
        Edge("weather:temperature_c", "warm", "read by pu_zone"),
        Edge("weather_service.temperature_c", "weather:temperature_c", "service"),
    )


def test_a_feature_comes_from_each_source_s_own_columns():
    assert set(upstream(EDGES, "traffic:speed_kmh_mean_1h")) == {
        Edge("green.speed_kmh", "traffic:speed_kmh_mean_1h", "mean"),
        Edge("yellow.speed", "traffic:speed_kmh_mean_1h", "mean"),
        Edge("green.pu_zone", "traffic:speed_kmh_mean_1h", "key"),
        Edge("yellow.start_zone", "traffic:speed_kmh_mean_1h", "key"),
        Edge("green.dropoff_at", "traffic:speed_kmh_mean_1h", "time"),
        Edge("yellow.ended", "traffic:speed_kmh_mean_1h", "time"),
        Edge("yellow.seen", "traffic:speed_kmh_mean_1h", "time"),
    }
    assert Edge("green.km", "traffic:long_1h", "condition") in upstream(EDGES, "traffic:long_1h")


def test_what_depends_on_a_column_goes_through_functions_to_the_model():
    ways = downstream(EDGES, "green.km")
    assert ways == (
        Edge("green.km", "traffic:long_1h", "condition"),
        Edge("traffic:long_1h", "trips", "read by pu_zone"),
        Edge("trips", "density", "density()"),
        Edge("density", "model", "input"),
    )
    assert downstream(EDGES, "zones.area_km2")[-1] == Edge("density", "model", "input")


def test_all_of_a_model_is_upstream_of_it_and_nothing_downstream():
    origins = {edge.origin for edge in upstream(EDGES, "model")}
    assert {"yellow.speed", "green.km", "zones.area_km2", "speed", "density"} <= origins
    assert downstream(EDGES, "model") == ()
    assert upstream(EDGES, "no.such") == ()
