"""Rhythm of the invented city: who wants to go where and when, and how dense traffic is, hour by hour.

Shapes follow what New York publishes about its taxis: trips are fewest at 5 in the morning and most at
6 in the evening, traffic is slowest from 3 to 6 in the afternoon on weekdays and fastest before dawn.
"""

import functools
from dataclasses import dataclass

import numpy as np

from bottega.datasets.city import build_city
from bottega.datasets.roads import build_roads

DAYPARTS = ("night", "morning", "midday", "evening", "late")
_DAYPART_OF_HOUR = np.array([0] * 6 + [1] * 4 + [2] * 5 + [3] * 5 + [4] * 4)
KINDS = ("home", "work", "leisure", "airport")
_WEEKDAY_FACTOR = np.array([0.95, 1.00, 1.02, 1.05, 1.09, 1.00, 0.92])  # Monday first

# Requests that begin in a zone of each kind, by hour, on weekdays and at weekends.
_REQUESTS = {
    "home": (
        [10, 6, 4, 3, 5, 12, 30, 72, 82, 66, 56, 52, 52, 54, 58, 62, 62, 62, 60, 52, 42, 32, 24, 16],
        [18, 14, 11, 8, 6, 7, 12, 20, 32, 44, 54, 58, 60, 60, 60, 60, 60, 60, 60, 54, 44, 36, 30, 24],
    ),
    "work": (
        [8, 4, 3, 2, 3, 8, 16, 30, 42, 46, 48, 54, 60, 62, 70, 82, 92, 100, 96, 70, 50, 38, 28, 16],
        [20, 14, 8, 4, 3, 4, 8, 14, 22, 32, 42, 50, 54, 56, 56, 56, 56, 54, 50, 44, 36, 30, 28, 24],
    ),
    "leisure": (
        [30, 20, 14, 10, 6, 4, 6, 12, 20, 26, 32, 38, 44, 46, 48, 52, 58, 66, 76, 80, 78, 72, 60, 44],
        [78, 70, 56, 40, 20, 8, 6, 10, 18, 28, 40, 50, 56, 58, 58, 60, 64, 70, 78, 84, 84, 84, 84, 82],
    ),
    "airport": (
        [20, 10, 4, 4, 14, 36, 50, 56, 58, 60, 60, 58, 58, 62, 66, 72, 76, 78, 76, 72, 68, 62, 50, 34],
        [22, 10, 4, 4, 14, 34, 44, 48, 52, 56, 58, 58, 58, 62, 66, 70, 74, 76, 76, 74, 70, 62, 50, 34],
    ),
}
# How much each kind of zone draws trips in each part of the day.
_ATTRACTION = {
    "home": [1.3, 0.55, 0.8, 1.1, 1.4],
    "work": [0.2, 1.9, 1.1, 0.6, 0.3],
    "leisure": [0.8, 0.4, 1.0, 1.2, 1.1],
    "airport": [0.8, 1.3, 1.2, 1.0, 0.4],
}
# Level of each traffic pattern by hour, on weekdays and at weekends; 1 adds a stretch's whole exposure to its minutes.
_TRAFFIC = {
    "core": (
        [6, 4, 3, 3, 3, 6, 18, 42, 58, 62, 62, 62, 64, 66, 72, 78, 80, 78, 70, 52, 40, 32, 24, 14],
        [16, 12, 8, 5, 3, 3, 5, 10, 18, 28, 38, 46, 52, 54, 54, 54, 54, 54, 52, 46, 38, 34, 30, 22],
    ),
    "morning": (
        [0, 0, 0, 0, 0, 6, 22, 62, 88, 62, 40, 30, 26, 26, 28, 30, 30, 28, 24, 14, 8, 4, 2, 0],
        [2, 0, 0, 0, 0, 0, 2, 4, 10, 18, 26, 32, 34, 34, 32, 30, 28, 26, 22, 16, 10, 8, 6, 4],
    ),
    "evening": (
        [2, 0, 0, 0, 0, 2, 6, 16, 22, 24, 26, 28, 32, 38, 56, 80, 96, 100, 78, 44, 24, 14, 8, 4],
        [6, 4, 2, 0, 0, 0, 2, 4, 8, 14, 22, 30, 34, 36, 38, 40, 42, 42, 40, 32, 24, 18, 14, 10],
    ),
    "bridge": (
        [4, 2, 0, 0, 4, 14, 60, 130, 150, 100, 60, 50, 50, 56, 80, 120, 150, 160, 120, 60, 36, 24, 16, 8],
        [10, 6, 2, 0, 0, 0, 4, 10, 20, 36, 54, 66, 72, 74, 74, 74, 76, 76, 66, 50, 36, 28, 22, 16],
    ),
}


@dataclass(frozen=True)
class Rhythm:
    """Expected requests and destinations; zone i + 1 is row i."""

    requests: np.ndarray  # (2, 96, zones) float64: weekday or weekend, quarter hour; a weekday sums to about 1
    weekday_factor: np.ndarray  # (7,) float64, Monday first
    destinations: np.ndarray  # (5 * zones * zones,) float64: row r (day part, pickup) holds r + cumulative chances
    traffic: np.ndarray  # (2, 4, 96) float64: level of each pattern


@functools.lru_cache(maxsize=4)
def build_rhythm(seed: int) -> Rhythm:
    """The rhythm of the city of this seed."""
    city, roads = build_city(seed), build_roads(seed)
    rng = np.random.default_rng([seed, 4])
    zones = len(city.zones)
    from_middle = np.hypot(*city.points_km.T)
    core = np.exp(-((from_middle / 4.5) ** 2))
    kinds = np.column_stack([0.4 + 0.6 * (1 - core), 0.1 + 1.6 * core**2, 0.15 + 0.8 * core, np.zeros(zones)])
    kinds *= rng.lognormal(0, 0.6, kinds.shape)
    kinds /= kinds.sum(axis=1, keepdims=True)
    size = rng.lognormal(0, 1.5, zones) * (0.12 + 0.88 * np.exp(-((from_middle / 8.0) ** 2)))
    kinds[city.airport - 1] = [0, 0, 0, 1]
    size[city.airport - 1] = 3.0
    size /= size.sum()
    requests = np.stack([_requests(kinds, size, day) for day in (0, 1)])
    requests /= requests[0].sum()
    attraction = np.column_stack([_ATTRACTION[kind] for kind in KINDS]) @ (kinds * size[:, None]).T  # (5, zones)
    nearness = np.exp(-roads.distance_km / 2.7) * (1 - np.exp(-((roads.distance_km / 0.9) ** 2)))
    liking = rng.lognormal(0, 1.0, (zones, zones))
    chances = (attraction[:, None, :] ** 0.9) * nearness * liking * 0.8**roads.bridges_crossed  # (5, zones, zones)
    cumulative = np.cumsum(chances / chances.sum(axis=2, keepdims=True), axis=2).reshape(-1, zones)
    cumulative[:, -1] = 1.0
    traffic = np.array([[_quarters(_TRAFFIC[p][day]) / 205 for p in _TRAFFIC] for day in (0, 1)])
    return Rhythm(requests, _WEEKDAY_FACTOR, (cumulative + np.arange(len(cumulative))[:, None]).ravel(), traffic)


def draw_destinations(rhythm: Rhythm, pickup: np.ndarray, hour: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Dropoff rows for pickup rows at local hours, each (n,), from uniform numbers in [0, 1)."""
    zones = rhythm.requests.shape[2]
    row = _DAYPART_OF_HOUR[hour] * zones + pickup
    return np.minimum(np.searchsorted(rhythm.destinations, row + uniform, side="right") - row * zones, zones - 1)


def _requests(kinds: np.ndarray, size: np.ndarray, day: int) -> np.ndarray:
    curves = np.stack([_quarters(_REQUESTS[kind][day]) for kind in KINDS])  # (4, 96)
    curves /= np.array([sum(_REQUESTS[kind][0]) for kind in KINDS])[:, None]
    return curves.T @ (kinds * size[:, None]).T  # (96, zones)


def _quarters(hourly: list[int]) -> np.ndarray:
    """A smooth curve through 24 hourly values, at the middle of each quarter hour: (96,)."""
    middle = (np.arange(96) + 0.5) / 4
    return np.interp(middle, np.arange(25) + 0.5, [*hourly, hourly[0]], period=24)
