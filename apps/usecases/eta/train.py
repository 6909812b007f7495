"""How ETA models learn: labels, encoding, interval, the models to try, and the groups they are judged by."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.features.steps import Bucket
from bottega.times import local_us
from bottega.training.encoding import LOG_MEAN, LOG_ROWS, LOG_SPREAD, PairEncoding
from bottega.training.interval import IntervalSettings
from bottega.training.lateness import Lateness
from bottega.training.recipe import ModelSpec, Target
from bottega.training.router import HOPS, KM, LOG_HOUR, MINUTES, Router
from bottega.training.settings import BoostingSettings, NetworkSettings
from usecases.eta.features import CITY_TIMEZONE

target = Target("duration_min", "min", answer="eta_min", low="low_min", high="high_min")

pair = ("pu_zone", "do_zone")
router = Router("routes", "route_hours", keys=pair, hour="hour_of_week")
routed = {"route_min": MINUTES, "route_km": KM, "route_hops": HOPS, "hour_log": LOG_HOUR}
encoding = PairEncoding("pairs", keys=pair, covariate="route_min")
encoded = {"pair_log": LOG_MEAN, "pair_log_rows": LOG_ROWS, "pair_log_spread": LOG_SPREAD}

bands = (
    Bucket(
        "great_circle_km", (0.5, 1.5, 3.0, 5.0, 8.0, 15.0, 1000.0), "distance_band"
    ),  # the last one: distance unknown
    Bucket("pair_log_spread", (0.35, 0.45, 0.55), "spread_band"),
)
lateness = Lateness(tolerance=3.0, weight=2.0)
interval = IntervalSettings(low="log_low", high="log_high", smoothing=60.0)

inputs = (
    "pu_zone",
    "do_zone",
    "pu_lat",
    "pu_lon",
    "do_lat",
    "do_lon",
    "great_circle_km",
    "north",
    "east",
    "route_min",
    "route_km",
    "route_hops",
    "hour_log",
    "hour",
    "weekday",
    "minute_of_day",
    "pair_log",
    "pair_log_rows",
    "pair_log_spread",
    "pu_speed_1h",
)

models = (
    ModelSpec("boosting", inputs, BoostingSettings()),
    ModelSpec("deepeta", inputs, NetworkSettings(ids=("pu_zone", "do_zone"), segment="hour", segments=24)),
)


def labels(sources: Sources) -> pd.DataFrame:
    """One row a trip: the request as it was made at pickup, and the duration, known at drop-off."""
    trips = sources["trips"]
    moment = trips["pickup_at"]
    return pd.DataFrame(
        {
            "pu_zone": trips["pu_zone"].to_numpy(np.int32),
            "do_zone": trips["do_zone"].to_numpy(np.int32),
            "at": moment.dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64),
            "requested_at": moment.to_numpy() if moment.dt.tz is None else moment,
            "duration_min": trips["duration_min"].to_numpy(np.float64),
            "label_at": trips["dropoff_at"],
        }
    ).set_index(pd.Index(trips["trip_id"].astype(str), name="request_id"))


def slices(rows: pd.DataFrame, sources: Sources) -> Mapping[str, np.ndarray]:
    """Pickup borough, local month and hour, and straight-line distance between the zones, for each label row."""
    table = sources["zones"].set_index("zone")
    start, end = (table.reindex(rows[key].to_numpy()) for key in ("pu_zone", "do_zone"))
    north = 111.2 * (end["lat"].to_numpy() - start["lat"].to_numpy())
    east = 84.3 * (end["lon"].to_numpy() - start["lon"].to_numpy())  # at 40.7 degrees north
    local = local_us(rows["at"].to_numpy(), CITY_TIMEZONE)
    hour = local // 3_600_000_000 % 24
    names = np.array(["0 to 1 km", "1 to 3 km", "3 to 6 km", "6 to 12 km", "over 12 km", "unknown"])
    distance = np.hypot(north, east)
    band = np.where(np.isnan(distance), 5, np.searchsorted([1, 3, 6, 12], distance, side="right"))
    return {
        "borough": start["borough"].fillna("Unknown").to_numpy().astype(str),
        "month": local.astype("datetime64[us]").astype("datetime64[M]").astype(str),
        "hour": np.char.zfill(hour.astype(str), 2),
        "distance": names[band],
    }
