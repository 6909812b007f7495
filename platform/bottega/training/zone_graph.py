"""The graph of a city's zones: neighbours joined by edges, and the routes through it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse
from scipy.sparse.csgraph import connected_components, shortest_path

_KM_PER_DEGREE = 111.195
_CROSSINGS = 2
_LEAST_KM = 0.1  # zones with the same centroid are not the same place


@dataclass(frozen=True)
class ZoneGraph:
    """Zones 0 to `size` - 1, and edges between neighbours.

    `apart_km` (size, size) is the straight distance of centroids, NaN where a zone has none; `first` and `second`
    (edges,) are the ends of each edge, which runs both ways, `length_km` (edges,) its length.
    """

    apart_km: np.ndarray
    first: np.ndarray
    second: np.ndarray
    length_km: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers zones may have."""
        return len(self.apart_km)

    def routes(self, minutes: np.ndarray) -> "Routes":
        """The fastest routes where edges take `minutes` (edges,), above 0 (Dijkstra)."""
        graph = scipy.sparse.csr_matrix((minutes, (self.first, self.second)), (self.size, self.size))
        travel, before = shortest_path(graph, directed=False, return_predecessors=True)
        return Routes(self, travel, before)


@dataclass(frozen=True)
class Routes:
    """The fastest route of each pair: `travel_min` (size, size), infinite where there is none.

    `before` (size, size) is the zone that the route from a zone (row) to another (column) passes last.
    """

    graph: ZoneGraph
    travel_min: np.ndarray
    before: np.ndarray

    def edges(self, start: np.ndarray, end: np.ndarray) -> scipy.sparse.csr_matrix:
        """Which edges lie on the routes from `start` to `end` (rows,) each: (rows, edges), 1 where one does."""
        graph = self.graph
        number = np.full((graph.size, graph.size), -1)
        number[graph.first, graph.second] = number[graph.second, graph.first] = np.arange(len(graph.first))
        rows, edges = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        at, walking = end.astype(np.int64), np.flatnonzero((start != end) & np.isfinite(self.travel_min[start, end]))
        while len(walking):
            before = self.before[start[walking], at[walking]]
            rows.append(walking)
            edges.append(number[before, at[walking]])
            at[walking] = before
            walking = walking[before != start[walking]]
        where = np.concatenate(rows), np.concatenate(edges)
        return scipy.sparse.csr_matrix((np.ones(len(where[0])), where), (len(start), len(graph.first)))


def join_zones(lat: np.ndarray, lon: np.ndarray, neighbours: pd.DataFrame) -> ZoneGraph:
    """The graph of zones with centroids (size,), in degrees, from the pairs `zone_a` and `zone_b`.

    Neighbours across water are few: each zone is joined to the nearest two of other islands too, and the trips will
    tell which of these crossings are bridges. A zone without a centroid has no edge.
    """
    north, east = lat * _KM_PER_DEGREE, lon * _KM_PER_DEGREE * np.cos(np.radians(np.nanmean(lat)))
    apart = np.hypot(north[:, None] - north, east[:, None] - east)  # (size, size)
    pairs = np.sort(neighbours[["zone_a", "zone_b"]].to_numpy(np.int64), axis=1)
    inside = (pairs >= 0).all(1) & (pairs < len(lat)).all(1) & (pairs[:, 0] != pairs[:, 1])
    pairs = pairs[inside]
    pairs = pairs[~np.isnan(apart[pairs[:, 0], pairs[:, 1]])]
    pairs = np.unique(np.concatenate([pairs, _crossings(apart, pairs)]), axis=0)
    first, second = pairs.T
    return ZoneGraph(apart, first, second, np.maximum(apart[first, second], _LEAST_KM))


def _crossings(apart_km: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Each zone with the nearest two that no chain of neighbours leads to: (crossings, 2)."""
    size = len(apart_km)
    graph = scipy.sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (size, size))
    island = connected_components(graph, directed=False)[1]
    over = np.where(np.isnan(apart_km) | (island[:, None] == island), np.inf, apart_km)
    nearest = np.argsort(over, axis=1, kind="stable")[:, :_CROSSINGS]  # (size, 2)
    start = np.repeat(np.arange(size), nearest.shape[1])
    found = np.column_stack([start, nearest.ravel()])[np.isfinite(over[start, nearest.ravel()])]
    return np.sort(found, axis=1)
