import msgspec
import numpy as np
import pandas as pd

from bottega.features import Attribute, Entity, ExternalView, FeatureView, StaticView, count, mean, on_request
from bottega.features.catalogue import FeatureEntry, Statistics, catalogue, describe, statistics

ZONE = Entity("zone", keys=("zone",))
TRAFFIC = FeatureView(
    "zone_traffic",
    ZONE,
    "trips",
    "pickup_at",
    [mean("speed_kmh", unit="km/h", description="Speed of trips that ended here").over("1h"), count().over("7d")],
    available_at="dropoff_at",
    owner="mobility",
    description="Traffic by zone",
    keys=("do_zone",),
)
AREAS = StaticView("areas", ZONE, "zones", [Attribute("area_km2", "km2")])


@on_request(unit="km/h")
def pace(xp, km, hours):
    """Speed."""
    return km / hours


def test_entries_say_unit_owner_and_lineage():
    entries = {entry.name: entry for entry in catalogue([TRAFFIC, AREAS], [pace])}
    assert list(entries) == ["areas", "pace", "zone_traffic"]
    traffic = entries["zone_traffic"]
    assert (traffic.kind, traffic.entity, traffic.owner, traffic.source) == ("windowed", "zone", "mobility", "trips")
    assert traffic.features[0] == FeatureEntry(
        "zone_traffic:speed_kmh_mean_1h",
        "km/h",
        "1h",
        "mean of trips.speed_kmh over 1h by trips.do_zone, 5m tiles of trips.pickup_at, known at trips.dropoff_at",
        "Speed of trips that ended here",
    )
    assert traffic.features[1].lineage.startswith("count of trips over 7d by trips.do_zone")
    assert entries["areas"].features == (FeatureEntry("areas:area_km2", "km2", "", "zones.area_km2"),)
    assert entries["pace"].features[0].lineage == "pace(km, hours), computed at request time"
    assert msgspec.json.decode(msgspec.json.encode(traffic), type=type(traffic)) == traffic


def test_statistics_of_a_windowed_view_are_those_of_its_values(trips):
    found = statistics(TRAFFIC, {"trips": trips}, rows=500)
    speed = found["speed_kmh_mean_1h"]
    assert speed.rows == 500
    assert 0 < speed.null_share < 1
    assert trips["speed_kmh"].min() <= speed.least <= speed.median <= speed.greatest <= trips["speed_kmh"].max()
    assert found["count_7d"].null_share == 0.0
    assert statistics(TRAFFIC, {"trips": trips}, rows=500) == found


def test_statistics_of_a_static_view_are_those_of_its_source():
    zones = pd.DataFrame({"zone": [1, 2, 3, 4], "area_km2": [1.0, 2.0, 6.0, np.nan]})
    assert statistics(AREAS, {"zones": zones}) == {"area_km2": Statistics(4, 0.25, 3.0, 1.0, 2.0, 6.0)}
    assert statistics(AREAS, {"zones": zones.tail(1)}) == {"area_km2": Statistics(1, 1.0)}


def test_an_external_view_is_described_and_has_the_statistics_of_its_recorded_answers():
    features = [Attribute("temperature_c", "degC", default=15.0)]
    view = ExternalView("weather", ZONE, "weather_service", features, owner="ops")
    entry = describe(view)
    assert (entry.kind, entry.owner) == ("external", "ops")
    assert entry.features == (
        FeatureEntry("weather:temperature_c", "degC", "", "weather_service.temperature_c", missing="15"),
    )
    assert statistics(view, {}) == {}
    recorded = ExternalView("weather", ZONE, "weather_service", features, history=False, source="said")
    found = statistics(recorded, {"said": pd.DataFrame({"temperature_c": [1.0, 3.0, None]})})
    assert (found["temperature_c"].least, found["temperature_c"].greatest) == (1.0, 3.0)
