"""Life in the invented city, day by day: requests, drivers, and trips on roads with traffic.

Each day is drawn from (seed, day) alone, in separate streams for requests, routes, traffic and so on. So a day is the
same whatever span is asked for, and an incident changes only what it touches: a fare bug leaves everything but fares as
it was, and a trip that takes place with and without a lockdown differs only in what speed does to it.
"""

import functools
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from bottega.datasets.city import CITY_SEED, build_city
from bottega.datasets.incidents import (
    CITY_TIMEZONE,
    Simulation,
    demand_factor,
    local_midnight,
    speed_factor,
)
from bottega.datasets.rhythm import build_rhythm, draw_destinations
from bottega.datasets.roads import PATTERNS, build_roads
from bottega.errors import InvalidInput
from bottega.times import DAY_US, HOUR_US, local_us, to_epoch_us

FIRST_DAY = date(2024, 1, 1)
LAST_DAY = date(2024, 12, 31)
SIMULATOR_START = local_midnight(FIRST_DAY)
"""The first moment (UTC) of which the simulator has data."""
SIMULATOR_END = local_midnight(LAST_DAY + timedelta(days=1))
"""The first moment (UTC) after them."""

SLOT_US = HOUR_US // 4
_STREAMS = {
    name: number
    for number, name in enumerate(
        ("requests", "drivers", "completion", "routes", "traffic", "lockdown", "meters", "fare_bug")
    )
}
_USUAL_COMPLETION = 0.94
_NOISE_SIGMA = 0.235  # of a trip's log minutes: what nobody can know before it
_KM_PER_MILE = 1.609344


@dataclass(frozen=True)
class Day:
    """One local day: what happened in each quarter hour and zone, and its completed trips as they truly were."""

    slot_us: np.ndarray  # (slots,) int64: starts of the quarter hours, epoch microseconds; 92, 96 or 100 a day
    requests: np.ndarray  # (slots, zones) int32
    completed: np.ndarray  # (slots, zones) int32
    drivers_online: np.ndarray  # (slots, zones) int32
    slowdown: np.ndarray  # (slots, zones) float64: minutes on a zone's roads, over those without traffic
    pickup_us: np.ndarray  # (trips,) int64, sorted; whole seconds
    dropoff_us: np.ndarray  # (trips,) int64
    pickup: np.ndarray  # (trips,) zone row, from 0
    dropoff: np.ndarray  # (trips,) zone row, from 0
    distance_mi: np.ndarray  # (trips,) float64


def stream(simulation: Simulation, day: date, name: str) -> np.random.Generator:
    """The random numbers of one concern on one day."""
    return np.random.default_rng([simulation.seed, day.toordinal(), _STREAMS[name]])


def simulate_day(simulation: Simulation, day: date) -> Day:
    """Live through one local day. Raises InvalidInput for a day outside the simulator's year."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidInput(
            f"The simulator has no data for {day}: it has data from {FIRST_DAY} to {LAST_DAY}.",
            next_step="Choose a day in between.",
        )
    slot_us = np.arange(to_epoch_us(local_midnight(day)), to_epoch_us(local_midnight(day + timedelta(days=1))), SLOT_US)
    quarter = local_us(slot_us, CITY_TIMEZONE) % DAY_US // SLOT_US
    weekend = int(day.weekday() >= 5)
    rhythm, roads = build_rhythm(CITY_SEED), build_roads(CITY_SEED)
    zones = rhythm.requests.shape[2]

    # Requests of an ordinary day, and which of them an incident leaves.
    rng = stream(simulation, day, "requests")
    volume = (
        simulation.trips_per_day / _USUAL_COMPLETION * rhythm.weekday_factor[day.weekday()] * rng.lognormal(0, 0.04)
    )
    expected = rhythm.requests[weekend, quarter] * volume  # (slots, zones)
    ordinary = rng.poisson(expected)
    slot, pickup = (np.repeat(index, ordinary.ravel()) for index in np.divmod(np.arange(ordinary.size), zones))
    pickup_us = slot_us[slot] + rng.integers(0, SLOT_US // 1_000_000, len(slot)) * 1_000_000
    wanted = stream(simulation, day, "lockdown").uniform(size=len(slot)) < demand_factor(
        simulation.incidents, pickup_us
    )

    # Drivers, and which requests find one.
    drivers_online = _drivers(simulation, day, slot_us, expected)
    found = (
        stream(simulation, day, "completion").uniform(size=len(slot)) < _chance_of_driver(drivers_online)[slot, pickup]
    )

    # Routes through traffic.
    level = _traffic(simulation, day, rhythm.traffic[weekend][:, quarter])  # (patterns, slots)
    rng = stream(simulation, day, "routes")
    hour = (local_us(pickup_us, CITY_TIMEZONE) % DAY_US // HOUR_US).astype(np.int64)
    dropoff = draw_destinations(rhythm, pickup, hour, rng.uniform(size=len(slot)))
    detour = rng.lognormal(0, 0.09, len(slot))
    luck = rng.lognormal(0, _NOISE_SIGMA, len(slot)) * np.where(
        rng.uniform(size=len(slot)) < 0.03, rng.uniform(1.2, 2.6, len(slot)), 1.0
    )
    minutes = roads.free_min[pickup, dropoff] + (roads.slow_min[pickup, dropoff] * level.T[slot]).sum(axis=1)
    minutes *= np.sqrt(detour) * luck / speed_factor(simulation.incidents, pickup_us)
    dropoff_us = pickup_us + np.maximum(np.round(minutes * 60), 1).astype(np.int64) * 1_000_000
    distance_mi = np.round(roads.distance_km[pickup, dropoff] / _KM_PER_MILE * detour, 2)

    done = np.flatnonzero(wanted & found)
    done = done[np.argsort(pickup_us[done], kind="stable")]

    def per_cell(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(slot[chosen] * zones + pickup[chosen], minlength=ordinary.size).reshape(ordinary.shape)

    return Day(
        slot_us=slot_us,
        requests=per_cell(np.flatnonzero(wanted)).astype(np.int32),
        completed=per_cell(done).astype(np.int32),
        drivers_online=drivers_online,
        slowdown=(1 + (roads.exposure @ level).T) / speed_factor(simulation.incidents, slot_us)[:, None],
        pickup_us=pickup_us[done],
        dropoff_us=dropoff_us[done],
        pickup=pickup[done],
        dropoff=dropoff[done],
        distance_mi=distance_mi[done],
    )


def simulate_demand(simulation: Simulation, since: datetime, until: datetime) -> pd.DataFrame:
    """By quarter hour in [since, until) and zone: slot_at (UTC), zone, requests, completed, drivers_online."""
    tables = []
    for day in local_days(since, until):
        life = simulate_day(simulation, day)
        kept = (life.slot_us >= to_epoch_us(since)) & (life.slot_us < to_epoch_us(until))
        zones = life.requests.shape[1]
        tables.append(
            pd.DataFrame(
                {
                    "slot_at": pd.DatetimeIndex(
                        np.repeat(life.slot_us[kept], zones).astype("datetime64[us]"), tz="UTC"
                    ),
                    "zone": np.tile(np.arange(1, zones + 1, dtype=np.int32), int(kept.sum())),
                    "requests": life.requests[kept].ravel(),
                    "completed": life.completed[kept].ravel(),
                    "drivers_online": life.drivers_online[kept].ravel(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def local_days(since: datetime, until: datetime) -> list[date]:
    """The city's days that [since, until) touches, within the simulator's year; raises InvalidInput for none."""
    since, until = max(since, SIMULATOR_START), min(until, SIMULATOR_END)
    if since >= until:
        raise InvalidInput(
            f"The simulator has data from {FIRST_DAY} to {LAST_DAY}.", next_step="Choose a span inside these days."
        )
    zone = ZoneInfo(CITY_TIMEZONE)
    first = since.astimezone(zone).date()
    last = (until - timedelta(microseconds=1)).astimezone(zone).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _drivers(simulation: Simulation, day: date, slot_us: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Drivers online, (slots, zones) int32: they follow the usual demand; a lockdown sends fewer of them home."""
    rng = stream(simulation, day, "drivers")
    usual = np.convolve(np.pad(expected.sum(axis=1), 2, mode="edge"), np.full(5, 0.2), mode="valid")
    total = (8 + 1.9 * usual) * rng.lognormal(0, 0.05) * demand_factor(simulation.incidents, slot_us) ** 0.7
    nearby = _neighbourhood()
    where = expected @ (np.eye(len(nearby)) + nearby / nearby.sum(axis=1, keepdims=True))
    return rng.multinomial(rng.poisson(total), where / where.sum(axis=1, keepdims=True)).astype(np.int32)


def _chance_of_driver(drivers_online: np.ndarray) -> np.ndarray:
    """Chance that a request is served, (slots, zones): drivers in the zone and its neighbours count."""
    near = drivers_online + drivers_online @ _neighbourhood()
    return 0.80 + 0.19 * (1 - np.exp(-near / 1.5))


@functools.cache
def _neighbourhood() -> np.ndarray:
    """(zones, zones) float64: 1 for neighbours."""
    city = build_city(CITY_SEED)
    matrix = np.zeros((len(city.zones), len(city.zones)))
    first, second = (city.adjacency - 1).T
    matrix[first, second] = matrix[second, first] = 1
    return matrix


def _traffic(simulation: Simulation, day: date, usual: np.ndarray) -> np.ndarray:
    """Level of each traffic pattern, (patterns, slots): the usual one, a good or bad day, and slow swings within it."""
    rng = stream(simulation, day, "traffic")
    of_day = rng.lognormal(0, 0.06) * rng.lognormal(0, 0.12, (len(PATTERNS), 1))
    swing = np.zeros(usual.shape)
    steps = rng.normal(0, 0.10 * np.sqrt(1 - 0.9**2), usual.shape)
    swing[:, 0] = rng.normal(0, 0.10, len(PATTERNS))
    for slot in range(1, usual.shape[1]):
        swing[:, slot] = 0.9 * swing[:, slot - 1] + steps[:, slot]
    return usual * of_day * np.exp(swing)
