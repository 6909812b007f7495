"""A router that learns: how long a trip takes along the zone graph, from nothing but the trips of the training span.

A trip's minutes are those of leaving its first zone, of every edge on its fastest route, and of arriving in its last
zone. All of them are learned at once as the robust and bounded least squares of the trips' minutes, drawn towards a
uniform pace; then the fastest routes are other ones, and the minutes are learned again. One factor for each hour of the
week tells quiet from busy. A model then learns what the router does not know, as in Uber's DeepETA (Hu et al., 2022).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse
from scipy.optimize import minimize

from bottega.features.tables import Table, Tables
from bottega.training.router import HOPS, KM, LOG_HOUR, MINUTES, Router
from bottega.training.zone_graph import Routes, ZoneGraph

HOURS = 168
_FASTEST_MIN_PER_KM = 0.6  # 100 km/h
_SHORTEST_MIN = 1.0
_ITERATIONS = 40  # more change the error by less than a second


@dataclass(frozen=True)
class Trips:
    """Trips to learn from, (rows,) each: their zones, their hour of the week, their minutes."""

    first: np.ndarray
    second: np.ndarray
    hour: np.ndarray
    minutes: np.ndarray


@dataclass(frozen=True)
class _Pairs:
    """Pairs of zones that were driven, (pairs,) each: the median of their minutes, and how many trips they had."""

    first: np.ndarray
    second: np.ndarray
    minutes: np.ndarray
    trips: np.ndarray


def fit_router(trips: Trips, graph: ZoneGraph, settings: Router) -> Tables:
    """The router's two tables, by their names."""
    pairs = _summarise(trips, graph.size)
    pace, ends = _uniform(pairs, graph.apart_km)
    edge_min = pace * graph.length_km
    uniform = np.concatenate([edge_min, np.full(2 * graph.size, ends / 2)])
    leave = arrive = uniform[len(edge_min) :][: graph.size]
    for _ in range(settings.rounds):
        routes = graph.routes(edge_min)
        learned = _learn(pairs, routes, uniform, settings)
        edge_min, leave, arrive = np.split(learned, [len(edge_min), len(edge_min) + graph.size])
    minutes, km, hops = _measure(graph.routes(edge_min), leave, arrive, pace, ends)
    everything = np.divmod(np.arange(graph.size**2), graph.size)
    columns = {MINUTES: minutes.ravel(), KM: km.ravel(), HOPS: hops.ravel()}
    table = Table.from_keys(everything, columns, sizes=(graph.size, graph.size))
    return {settings.table: table, settings.hours: _hours(trips, minutes, settings)}


def _summarise(trips: Trips, size: int) -> _Pairs:
    key = trips.first.astype(np.int64) * size + trips.second
    found = pd.Series(trips.minutes).groupby(key).agg(["median", "size"])
    first, second = np.divmod(found.index.to_numpy(), size)
    return _Pairs(first, second, found["median"].to_numpy(), found["size"].to_numpy(np.float64))


def _uniform(pairs: _Pairs, apart_km: np.ndarray) -> tuple[float, float]:
    """Minutes a kilometre as the crow flies, and minutes at both ends together, by weighted least squares."""
    apart = apart_km[pairs.first, pairs.second]
    known = ~np.isnan(apart)
    if np.unique(apart[known]).size < 2:
        return 60 / 20, 1.0
    pace, ends = np.polyfit(apart[known], pairs.minutes[known], 1, w=np.sqrt(pairs.trips[known]))
    return max(float(pace), _FASTEST_MIN_PER_KM), max(float(ends), 0.1)


def _learn(pairs: _Pairs, routes: Routes, uniform: np.ndarray, settings: Router) -> np.ndarray:
    """Minutes of each edge, of leaving and of arriving in each zone: (edges + 2 zones,), robust and bounded."""
    graph = routes.graph
    routed = np.isfinite(routes.travel_min[pairs.first, pairs.second])
    first, second = pairs.first[routed], pairs.second[routed]
    minutes, weight = pairs.minutes[routed], pairs.trips[routed]
    rows, ones = np.arange(len(first)), np.ones(len(first))
    leave, arrive = (scipy.sparse.csr_matrix((ones, (rows, z)), (len(rows), graph.size)) for z in (first, second))
    parts = scipy.sparse.hstack([routes.edges(first, second), leave, arrive]).tocsr()  # (pairs, edges + 2 zones)
    turned = parts.T.tocsr()
    stiff = np.concatenate([settings.stiffness_km / graph.length_km, np.full(2 * graph.size, settings.stiffness)])
    stiff /= settings.robust_min
    least = np.concatenate([_FASTEST_MIN_PER_KM * graph.length_km, np.zeros(2 * graph.size)])

    def loss(found: np.ndarray) -> tuple[float, np.ndarray]:
        """The pseudo-Huber loss and its gradient."""
        error, off = parts @ found - minutes, found - uniform
        root = np.sqrt(1 + (error / settings.robust_min) ** 2)
        total = settings.robust_min * (weight @ (root - 1)) + 0.5 * (stiff @ off**2)
        return total, turned @ (weight * error / (settings.robust_min * root)) + stiff * off

    start = np.maximum(uniform, least)
    bounds = np.column_stack([least, np.full(len(least), np.inf)])
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS}).x


def _measure(
    routes: Routes, leave: np.ndarray, arrive: np.ndarray, pace: float, ends: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minutes, kilometres and edges of every pair's route, (size, size) each; by the great circle where there is none.

    NaN where a zone has no place.
    """
    graph = routes.graph
    start, end = np.divmod(np.arange(graph.size**2), graph.size)
    edges = routes.edges(start, end)
    apart, reached = graph.apart_km, np.isfinite(routes.travel_min)
    km, hops = ((edges @ each).reshape(apart.shape) for each in (graph.length_km, np.ones(len(graph.length_km))))
    minutes = np.where(reached, routes.travel_min + leave[:, None] + arrive, pace * apart + ends)
    minutes = np.maximum(minutes, _SHORTEST_MIN)
    km, hops = np.where(reached, km, apart), np.where(reached, hops, 1.0)
    return tuple(np.where(np.isnan(apart), np.nan, found) for found in (minutes, km, hops))  # type: ignore[return-value]


def _hours(trips: Trips, minutes: np.ndarray, settings: Router) -> Table:
    """The median log of driven over routed minutes in each hour of the week, drawn towards 0."""
    left = np.log(trips.minutes / minutes[trips.first, trips.second])
    known = ~np.isnan(left)
    found = pd.Series(left[known]).groupby(trips.hour[known].astype(np.int64)).agg(["median", "size"])
    found = found.reindex(np.arange(HOURS), fill_value=0.0)
    factor = found["median"] * found["size"] / (found["size"] + settings.hour_smoothing)
    return Table.from_keys([np.arange(HOURS)], {LOG_HOUR: factor.to_numpy()}, sizes=[HOURS])
