"""What the ETA model knows of a trip before it begins: where, when, and how the traffic has been."""

from typing import Any

from bottega.features import Attribute, Entity, FeatureView, OnRequest, StaticView, count, mean, on_request
from bottega.features.steps import Calendar

CITY_TIMEZONE = "America/New_York"
EARTH_DIAMETER_KM = 12_742.0
DEGREE = 0.017453292519943295

zone = Entity("zone", keys=("zone",), dtype="int32", description="A taxi zone of the city.")

zones = StaticView(
    "zones",
    zone,
    source="zones",
    features=[Attribute("lat", "degrees"), Attribute("lon", "degrees")],
    description="Each zone's centroid.",
)

zone_traffic = FeatureView(
    "zone_traffic",
    zone,
    source="trips",
    event_time="dropoff_at",
    keys=("pu_zone",),
    features=[mean("speed_kmh", unit="km/h").over("1h"), count(unit="trips").over("1h")],
    description="Trips that began in a zone: how fast they were and how many, known from the moment they ended.",
)

views = (zones, zone_traffic)

moments = ("hour", "weekday", "minute_of_day", "hour_of_week")
calendar = Calendar("at", CITY_TIMEZONE, {part: part for part in moments})

references = {
    "pu_lat": "zones:lat@pu_zone",
    "pu_lon": "zones:lon@pu_zone",
    "do_lat": "zones:lat@do_zone",
    "do_lon": "zones:lon@do_zone",
    "pu_speed_1h": "zone_traffic:speed_kmh_mean_1h@pu_zone",
}


@on_request(unit="km")
def great_circle_km(xp: Any, pu_lat: Any, pu_lon: Any, do_lat: Any, do_lon: Any) -> Any:
    """Distance between the centroids along a great circle: haversine, its arc sine a series that is exact in a city."""
    half_lat = (do_lat - pu_lat) * (DEGREE / 2)
    half_lon = (do_lon - pu_lon) * (DEGREE / 2)
    across = xp.cos(pu_lat * DEGREE) * xp.cos(do_lat * DEGREE) * xp.sin(half_lon) * xp.sin(half_lon)
    square = xp.sin(half_lat) * xp.sin(half_lat) + across
    return EARTH_DIAMETER_KM * xp.sqrt(square) * (1 + square * (1 / 6 + square * (3 / 40)))


@on_request(outputs=("north", "east"))
def heading(xp: Any, pu_lat: Any, pu_lon: Any, do_lat: Any, do_lon: Any, great_circle_km: Any) -> Any:
    """The direction of travel as a unit vector; 0 where both zones are the same."""
    north = (do_lat - pu_lat) * DEGREE * (EARTH_DIAMETER_KM / 2)
    east = (do_lon - pu_lon) * DEGREE * (EARTH_DIAMETER_KM / 2) * xp.cos(pu_lat * DEGREE)
    length = xp.maximum(great_circle_km, 0.001)
    return north / length, east / length


functions: tuple[OnRequest, ...] = (great_circle_km, heading)
