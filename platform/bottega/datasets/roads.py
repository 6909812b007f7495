"""Roads of the invented city: routes over neighbouring zones and bridges, and how slow traffic makes them.

Traffic has four patterns (the core's long busy day, the morning's and the evening's rush, the bridges). Each stretch of
road follows each pattern to its own degree, so a route's minutes at any moment are
`free + sum over patterns of slow[pattern] * level[pattern, moment]`: one dot product a trip.
"""

import functools
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import shortest_path

from bottega.datasets.city import City, build_city

PATTERNS = ("core", "morning", "evening", "bridge")
_DETOUR = 1.28
"""Road kilometres for one straight kilometre between neighbouring centroids."""
_TERMINAL_MIN = 1.6
"""Minutes at kerbs and the last corner, whatever the distance."""


@dataclass(frozen=True)
class Roads:
    """For each pair (pickup, dropoff) of zones the usual route; row and column i is zone i + 1."""

    distance_km: np.ndarray  # (zones, zones) float64, along the route; within a zone: a typical trip inside it
    free_min: np.ndarray  # (zones, zones) float64: minutes without traffic
    slow_min: np.ndarray  # (zones, zones, 4) float64: minutes that one unit of each pattern adds
    exposure: np.ndarray  # (zones, 4) float64: how strongly a zone's own roads follow each pattern
    bridges_crossed: np.ndarray  # (zones, zones) int16


@functools.lru_cache(maxsize=4)
def build_roads(seed: int) -> Roads:
    """Routes for the city of this seed."""
    city = build_city(seed)
    rng = np.random.default_rng([seed, 3])
    exposure, pace = _zone_traffic(city, rng)
    first, second = (city.adjacency - 1).T
    is_bridge = _is_bridge(city)
    straight = np.hypot(*(city.points_km[first] - city.points_km[second]).T)
    length = straight * _DETOUR * rng.lognormal(0, 0.08, len(straight))
    edge_free = length * (pace[first] + pace[second]) / 2 * np.where(is_bridge, 1.15, 1.0)
    edge_exposure = (exposure[first] + exposure[second]) / 2
    edge_exposure[:, PATTERNS.index("bridge")] = np.where(is_bridge, rng.uniform(0.8, 1.6, len(length)), 0.0)
    distance, free, slow, crossed = _routes(
        len(city.zones), first, second, length, edge_free, edge_free[:, None] * edge_exposure, is_bridge
    )
    inside_km = 0.75 * np.sqrt(city.zones.area_km2.to_numpy()) * _DETOUR
    inside_min = inside_km * pace
    np.fill_diagonal(distance, inside_km)
    np.fill_diagonal(free, inside_min)
    for k in range(len(PATTERNS)):
        np.fill_diagonal(slow[:, :, k], inside_min * exposure[:, k])
    habit = rng.lognormal(0, 0.06, distance.shape)  # signals, one-way streets: what only experience of a pair tells
    return Roads(distance, _TERMINAL_MIN + free * habit, slow * habit[:, :, None], exposure, crossed)


def _zone_traffic(city: City, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(zones, 4) exposure to the patterns, and (zones,) pace in minutes a kilometre without traffic."""
    from_middle = np.hypot(*city.points_km.T)
    core = np.exp(-((from_middle / 5.5) ** 2))
    exposure = np.column_stack(
        [
            0.25 + 0.75 * core,
            0.45 + 0.55 * np.exp(-(((from_middle - 6) / 5) ** 2)),
            0.45 + 0.55 * np.exp(-(((from_middle - 3) / 5) ** 2)),
            np.zeros(len(core)),
        ]
    ) * rng.lognormal(0, 0.25, (len(core), len(PATTERNS)))
    speed_kmh = (41.0 - 13.0 * core) * rng.lognormal(0, 0.10, len(core))
    speed_kmh[city.airport - 1] = 45.0
    return exposure, 60.0 / speed_kmh


def _is_bridge(city: City) -> np.ndarray:
    crossing = {(bridge.zone_a, bridge.zone_b) for bridge in city.bridges}
    return np.array([(int(a), int(b)) in crossing for a, b in city.adjacency])


def _routes(
    zones: int,
    first: np.ndarray,
    second: np.ndarray,
    length: np.ndarray,
    edge_free: np.ndarray,
    edge_slow: np.ndarray,
    is_bridge: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sums over the edges of each pair's fastest route in ordinary traffic (Dijkstra), by walking predecessors."""
    usual = edge_free + 0.4 * edge_slow.sum(axis=1)
    graph = scipy.sparse.coo_matrix((usual, (first, second)), (zones, zones)).tocsr()
    _, previous = shortest_path(graph, directed=False, return_predecessors=True)
    edge_of = np.full((zones, zones), -1)
    edge_of[first, second] = edge_of[second, first] = np.arange(len(length))
    per_edge = np.column_stack([length, edge_free, edge_slow, is_bridge])
    totals = np.zeros((zones, zones, per_edge.shape[1]))
    source = np.repeat(np.arange(zones), zones)
    at = np.tile(np.arange(zones), zones)
    walking = source != at
    while walking.any():
        before = previous[source[walking], at[walking]]
        rows = np.flatnonzero(walking)
        totals.reshape(zones * zones, -1)[rows] += per_edge[edge_of[before, at[walking]]]
        at[rows] = before
        walking = source != at
    slow = totals[:, :, 2 : 2 + len(PATTERNS)].copy()
    return totals[:, :, 0].copy(), totals[:, :, 1].copy(), slow, totals[:, :, -1].astype(np.int16)
