"""What is known of a zone when an hour begins: its counts until then, its neighbours', the city's, and what is usual.

A sum over the last 168 hours less one over 167 is the count of the same hour a week ago, so windows give every lag. An
hour counts from its end on: the view's tiles are hours, and a value covers closed tiles only.
"""

from typing import Any

from bottega.features import Attribute, Entity, FeatureView, OnRequest, StaticView, count, on_request
from bottega.features import sum as total
from bottega.features.steps import Calendar

CITY_TIMEZONE = "America/New_York"
LAGS_H = (24, 48, 168, 336, 504)
"""Hours back that the coming hour is compared with: yesterday, the day before, and the last three weeks."""
RECENT_H = (1, 2, 3, 6, 12, 24)
LONG_H = (168, 336, 672)
_AROUND_H = sorted({hours + beside for hours in LAGS_H for beside in (-2, -1, 0, 1)})

zone = Entity("zone", keys=("zone",), dtype="int32", description="A taxi zone of the city.")

zones = StaticView(
    "zones",
    zone,
    source="zones",
    features=[Attribute("lat", "degrees"), Attribute("lon", "degrees")],
    description="Each zone's centroid.",
)


def _windows(*hours: int) -> list[str]:
    return [f"{h}h" for h in hours]


PICKUP_H = sorted({*RECENT_H, *LONG_H, *_AROUND_H})
DROPOFF_H = (1, 2, 3, 6, 23, 24, 166, 167, 168, 169)
NEAR_H = (1, 3, 6)
CITY_H = (1, 3, 6, 24, 168, 672)
KNOWN_H = (24, 48, 168, 336, 504, 672)

zone_demand = FeatureView(
    "zone_demand",
    zone,
    source="demand",
    event_time="hour",
    tile="1h",
    features=[
        total("pickups", scale=1, unit="trips").over(*_windows(*PICKUP_H)),
        total("dropoffs", scale=1, unit="trips").over(*_windows(*DROPOFF_H)),
        total("near_pickups", scale=1, unit="trips").over(*_windows(*NEAR_H)),
        total("city_pickups", scale=1, unit="trips").over(*_windows(*CITY_H)),
        count(unit="hours").over(*_windows(*KNOWN_H)),
    ],
    description="Pickups and drop-offs of a zone, of the zones around it and of the city, hour by hour.",
)

emergencies = FeatureView(
    "emergencies",
    zone,
    source="emergencies",
    event_time="declared_at",
    features=[count(unit="declarations").over("6h")],
    description="Emergencies that the authorities declared in a zone: for six hours the price's cap is low there.",
)

views = (zones, zone_demand, emergencies)

calendar = Calendar("at", CITY_TIMEZONE, {"hour": "hour", "weekday": "weekday", "hour_of_week": "hour_of_week"})

references = {
    **{f"p{h}": f"zone_demand:pickups_sum_{h}h" for h in PICKUP_H},
    **{f"d{h}": f"zone_demand:dropoffs_sum_{h}h" for h in DROPOFF_H},
    **{f"n{h}": f"zone_demand:near_pickups_sum_{h}h" for h in NEAR_H},
    **{f"c{h}": f"zone_demand:city_pickups_sum_{h}h" for h in CITY_H},
    **{f"k{h}": f"zone_demand:count_{h}h" for h in KNOWN_H},
    "declared": "emergencies:count_6h",
}


def _if_known(xp: Any, known: Any, hours: float, value: Any) -> Any:
    """The value where so many hours are known, else null."""
    return xp.where(known >= hours, value, xp.nan)


@on_request(outputs=("usual_log", "day_log", "level_log"))
def usual(xp: Any, pickups_usual: Any, pickups_day: Any, pickups_level: Any) -> Any:
    """What is usual at this hour of the week, at this hour of such days, and at any hour, in logarithms."""
    return xp.log(pickups_usual + 0.02), xp.log(pickups_day + 0.02), xp.log(pickups_level + 0.01)


@on_request(outputs=("r1", "r3", "r6", "rc1", "rc3", "rc6"))
def recent(
    xp: Any,
    p1: Any,
    p3: Any,
    p6: Any,
    c1: Any,
    c3: Any,
    c6: Any,
    k24: Any,
    pickups_usual_1h: Any,
    pickups_usual_3h: Any,
    pickups_usual_6h: Any,
    pickups_city_1h: Any,
    pickups_city_3h: Any,
    pickups_city_6h: Any,
) -> Any:
    """The last hours beside what is usual in them, in the zone and in the city, as logarithms of ratios."""
    pairs = (
        (p1, pickups_usual_1h, 2.0),
        (p3, pickups_usual_3h, 2.0),
        (p6, pickups_usual_6h, 2.0),
        (c1, pickups_city_1h, 20.0),
        (c3, pickups_city_3h, 20.0),
        (c6, pickups_city_6h, 20.0),
    )
    return tuple(_if_known(xp, k24, 6.0, xp.log((found + few) / (like + few))) for found, like, few in pairs)


@on_request(outputs=("r24", "r168", "r336", "r672", "rc24", "rc168", "rc672"))
def level(
    xp: Any,
    p24: Any,
    p168: Any,
    p336: Any,
    p672: Any,
    c24: Any,
    c168: Any,
    c672: Any,
    k24: Any,
    k168: Any,
    k336: Any,
    k672: Any,
    pickups_level: Any,
    pickups_city_level: Any,
) -> Any:
    """The last day and weeks beside the training span's level, as logarithms of ratios; hours that nobody knows do not
    count."""
    own = ((p24, k24), (p168, k168), (p336, k336), (p672, k672))
    city = ((c24, k24), (c168, k168), (c672, k672))
    return (
        *(xp.log((found + 3.0) / (known * pickups_level + 3.0)) for found, known in own),
        *(xp.log((found + 20.0) / (known * pickups_city_level + 20.0)) for found, known in city),
    )


@on_request(outputs=("m24", "m168", "m672"))
def means(xp: Any, p24: Any, p168: Any, p672: Any, k24: Any, k168: Any, k672: Any) -> Any:
    """Mean pickups an hour of the last day and weeks."""
    return tuple(found / xp.maximum(known, 1.0) for found, known in ((p24, k24), (p168, k168), (p672, k672)))


@on_request(outputs=("lag24", "lag48", "lag168", "lag336", "lag504"))
def lags(
    xp: Any,
    p23: Any,
    p24: Any,
    p47: Any,
    p48: Any,
    p167: Any,
    p168: Any,
    p335: Any,
    p336: Any,
    p503: Any,
    p504: Any,
    k24: Any,
    k48: Any,
    k168: Any,
    k336: Any,
    k504: Any,
) -> Any:
    """Pickups in the same hour one and two days, and one to three weeks ago."""
    pairs = ((p24, p23, k24, 24), (p48, p47, k48, 48), (p168, p167, k168, 168), (p336, p335, k336, 336))
    found = [_if_known(xp, known, float(hours), to - since) for to, since, known, hours in pairs]
    return (*found, _if_known(xp, k504, 504.0, p504 - p503))


@on_request(outputs=("wide24", "wide48", "wide168", "wide336", "wide504"))
def wide_lags(
    xp: Any,
    p22: Any,
    p25: Any,
    p46: Any,
    p49: Any,
    p166: Any,
    p169: Any,
    p334: Any,
    p337: Any,
    p502: Any,
    p505: Any,
    k24: Any,
    k48: Any,
    k168: Any,
    k336: Any,
    k504: Any,
) -> Any:
    """The same, with the hours before and after: mean of three."""
    pairs = ((p25, p22, k24, 24), (p49, p46, k48, 48), (p169, p166, k168, 168), (p337, p334, k336, 336))
    found = [_if_known(xp, known, float(hours), (to - since) / 3.0) for to, since, known, hours in pairs]
    return (*found, _if_known(xp, k504, 504.0, (p505 - p502) / 3.0))


@on_request(outputs=("weeks", "wide_weeks"))
def weeks(
    xp: Any, lag168: Any, lag336: Any, lag504: Any, wide168: Any, wide336: Any, wide504: Any, pickups_usual: Any
) -> Any:
    """Mean of the same hour in the last three weeks, beside what is usual: as many weeks as are known."""

    def ratio(one: Any, two: Any, three: Any) -> Any:
        both = xp.where(xp.isnan(two), one, (one + two) / 2.0)
        mean = xp.where(xp.isnan(three), both, (one + two + three) / 3.0)
        return xp.log((mean + 0.3) / (pickups_usual + 0.3))

    return ratio(lag168, lag336, lag504), ratio(wide168, wide336, wide504)


@on_request(outputs=("d_usual_log", "d_r1", "d_r3", "d_r6", "d_lag24", "d_lag168", "d_wide168"))
def supply(
    xp: Any,
    d1: Any,
    d3: Any,
    d6: Any,
    d23: Any,
    d24: Any,
    d166: Any,
    d167: Any,
    d168: Any,
    d169: Any,
    k24: Any,
    k168: Any,
    dropoffs_usual: Any,
    dropoffs_usual_1h: Any,
    dropoffs_usual_3h: Any,
    dropoffs_usual_6h: Any,
) -> Any:
    """Drop-offs, which leave a free car behind: what is usual, the last hours beside it, yesterday and a week ago."""
    pairs = ((d1, dropoffs_usual_1h), (d3, dropoffs_usual_3h), (d6, dropoffs_usual_6h))
    ratios = [_if_known(xp, k24, 6.0, xp.log((found + 2.0) / (like + 2.0))) for found, like in pairs]
    return (
        xp.log(dropoffs_usual + 0.02),
        *ratios,
        _if_known(xp, k24, 24.0, d24 - d23),
        _if_known(xp, k168, 168.0, d168 - d167),
        _if_known(xp, k168, 168.0, (d169 - d166) / 3.0),
    )


functions: tuple[OnRequest, ...] = (usual, recent, level, means, lags, wide_lags, weeks, supply)
