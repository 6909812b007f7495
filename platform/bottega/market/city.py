"""The market's city: districts of a city's zones, with the demand, the destinations and the distances of its trips.

A market keeps what matters for prices and leaves out the rest: a dozen districts, five-minute ticks, one ordinary day.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bottega.errors import InvalidInput
from bottega.times import CITY_TIMEZONE, DAY_US, local_us

TICK_MIN = 5
TICKS = 24 * 60 // TICK_MIN
DISTRICTS = 12
LEAST_ZONES = 3 * DISTRICTS
_SPEED_KMH = 20.0
_BASE_FARE_USD, _FARE_USD_PER_MIN = 4.0, 0.8


@dataclass(frozen=True)
class City:
    """Where and when riders ask, where they go, how long it takes, and how many cars an ordinary day has.

    A day has TICKS ticks; districts are numbered from 0.
    """

    requests: np.ndarray  # (ticks, districts) float64: expected requests a tick
    destination: (
        np.ndarray
    )  # (districts, districts) float64: share of a district's trips that go to each, rows sum to 1
    minutes: np.ndarray  # (districts, districts) float64: driving time; within a district, that of an ordinary trip
    fare_usd: np.ndarray  # (districts,) float64: mean fare of a trip from there, before any multiplier
    trip_min: np.ndarray  # (districts,) float64: mean duration of a trip from there
    cars: np.ndarray  # (ticks,) float64: drivers on the road on an ordinary day

    @property
    def districts(self) -> int:
        """How many districts there are."""
        return len(self.destination)


def build_city(
    trips: pd.DataFrame,
    zones: pd.DataFrame,
    *,
    requests_a_day: float = 8_000.0,
    busy_share: float = 0.8,
    core: float = 0.5,
    seed: int = 7,
) -> City:
    """A market city from trips (pickup_at UTC, pu_zone, do_zone) and zones (zone, lat, lon).

    The zones in the middle that hold the share `core` of all pickups are grouped into DISTRICTS by place. `busy_share`
    is the share of their time that cars would be with riders on an ordinary day, averaged over two hours: at a peak
    there are fewer cars than riders want.
    Raises InvalidInput where the trips are too few to know a day's rhythm.
    """
    if zones[["lat", "lon"]].dropna().drop_duplicates().shape[0] < DISTRICTS:
        raise InvalidInput(f"The city has fewer than {DISTRICTS} zones with a place.", next_step="Give more zones.")
    place = _core(trips, zones.set_index("zone")[["lat", "lon"]].dropna(), core)
    known = trips[trips["pu_zone"].isin(place.index) & trips["do_zone"].isin(place.index)]
    if len(known) < 5_000:
        raise InvalidInput(
            f"{len(known)} trips between known zones are too few for a market; 5000 are the least.",
            next_step="Choose a longer span.",
        )
    counts = known.groupby("pu_zone").size().reindex(place.index, fill_value=0).to_numpy(np.float64)
    km = np.column_stack([place["lat"] * 111.2, place["lon"] * 84.3])
    district, centre = _group(km, counts, seed)
    number = pd.Series(district, index=place.index)
    start, end = number[known["pu_zone"]].to_numpy(), number[known["do_zone"]].to_numpy()
    rate = _rhythm(known["pickup_at"], start) * requests_a_day
    destination = np.bincount(start * DISTRICTS + end, minlength=DISTRICTS**2).reshape(DISTRICTS, -1) + 0.5
    destination = destination / destination.sum(axis=1, keepdims=True)
    minutes = _minutes(centre, km, district, counts)
    trip_min = (destination * minutes).sum(axis=1)
    fares = (destination * (_BASE_FARE_USD + _FARE_USD_PER_MIN * minutes)).sum(axis=1)
    work_min = _smooth(rate @ trip_min, 24)  # minutes of driving that a tick's requests ask for
    return City(rate, destination, minutes, fares, trip_min, work_min / TICK_MIN / busy_share)


def _core(trips: pd.DataFrame, place: pd.DataFrame, share: float) -> pd.DataFrame:
    """The zones around the busiest place that hold this share of all pickups, and at least LEAST_ZONES of them."""
    counts = trips.groupby("pu_zone").size().reindex(place.index, fill_value=0).to_numpy(np.float64)
    km = np.column_stack([place["lat"] * 111.2, place["lon"] * 84.3])
    busiest = km[np.argmax([counts[((km - point) ** 2).sum(axis=1) < 9.0].sum() for point in km])]
    order = np.argsort(((km - busiest) ** 2).sum(axis=1), kind="stable")
    held = np.cumsum(counts[order]) / counts.sum()
    return place.iloc[np.sort(order[: max(int(np.searchsorted(held, share)) + 1, LEAST_ZONES)])]


def _group(km: np.ndarray, weight: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's algorithm, weighted: each zone's district (zones,) and the districts' centres (districts, 2)."""
    rng = np.random.default_rng(seed)
    share = (weight + 1) / (weight + 1).sum()
    centre = km[[rng.choice(len(km), p=share)]]
    while len(centre) < DISTRICTS:  # k-means++: far from the centres there are
        far = share * np.min(((km[:, None] - centre) ** 2).sum(axis=2), axis=1)
        centre = np.vstack([centre, km[rng.choice(len(km), p=far / far.sum())]])
    for _ in range(50):
        district = np.argmin(((km[:, None] - centre) ** 2).sum(axis=2), axis=1)
        total = np.bincount(district, share, DISTRICTS)
        moved = np.column_stack([np.bincount(district, share * km[:, i], DISTRICTS) for i in range(2)])
        centre = np.where(total[:, None] > 0, moved / np.maximum(total, 1e-12)[:, None], centre)
    return district, centre


def _rhythm(pickup_at: pd.Series, district: np.ndarray) -> np.ndarray:
    """Share of a working day's requests in each tick and district, smoothed over an hour: (ticks, districts)."""
    at_us = pickup_at.dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64)
    local = local_us(at_us, CITY_TIMEZONE)
    working = (local // DAY_US + 3) % 7 < 5
    tick = local[working] % DAY_US // (TICK_MIN * 60_000_000)
    counts = np.bincount(tick * DISTRICTS + district[working], minlength=TICKS * DISTRICTS)
    smooth = np.column_stack([_smooth(column, 12) for column in counts.reshape(TICKS, DISTRICTS).T.astype(np.float64)])
    smooth = smooth + smooth.mean() * 0.05
    return smooth / smooth.sum()


def _minutes(centre: np.ndarray, km: np.ndarray, district: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Driving times between districts, and within one: a third of its width more than nothing."""
    apart = np.sqrt(((centre[:, None] - centre) ** 2).sum(axis=2))
    square = np.bincount(district, (weight + 1) * ((km - centre[district]) ** 2).sum(axis=1), DISTRICTS)
    radius = np.sqrt(square / np.bincount(district, weight + 1, DISTRICTS))
    own = 4.0 + 60 * radius / _SPEED_KMH
    minutes = 4.0 + 1.3 * apart * 60 / _SPEED_KMH
    return np.where(np.eye(len(centre), dtype=bool), own, np.maximum(minutes, own[:, None]))


def _smooth(column: np.ndarray, ticks: int) -> np.ndarray:
    """A running mean around the clock, (ticks,)."""
    window = np.arange(ticks) - ticks // 2
    return np.mean([np.roll(column, shift) for shift in window], axis=0)
