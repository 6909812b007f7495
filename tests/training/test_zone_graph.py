import numpy as np
import pandas as pd
import pytest

from bottega.training.zone_graph import join_zones

NOWHERE = np.nan


def graph_of(points, pairs):
    lat, lon = (np.array(axis, float) for axis in zip(*points, strict=True))
    return join_zones(lat, lon, pd.DataFrame(pairs, columns=["zone_a", "zone_b"]))


def brute_force(size, first, second, minutes):
    """Floyd and Warshall."""
    best = np.full((size, size), np.inf)
    np.fill_diagonal(best, 0)
    best[first, second] = best[second, first] = minutes
    for through in range(size):
        best = np.minimum(best, best[:, through, None] + best[None, through])
    return best


def test_routes_are_the_shortest_and_their_edges_add_up():
    rng = np.random.default_rng(0)
    points = rng.uniform([40.7, -74.0], [40.8, -73.9], (30, 2))
    pairs = [(a, b) for a in range(30) for b in range(a + 1, 30) if rng.random() < 0.12]
    graph = graph_of(points, pairs)
    minutes = rng.uniform(1, 9, len(graph.first))
    routes = graph.routes(minutes)
    np.testing.assert_allclose(routes.travel_min, brute_force(30, graph.first, graph.second, minutes))
    start, end = np.divmod(np.arange(900), 30)
    np.testing.assert_allclose(routes.edges(start, end) @ minutes, routes.travel_min.ravel())


def test_islands_are_joined_by_crossings_to_the_nearest_two_zones_and_no_further():
    west, east = [(40.70, -74.00), (40.71, -74.00)], [(40.70, -73.95), (40.71, -73.95), (40.75, -73.95)]
    graph = graph_of([*west, *east], [(0, 1), (2, 3), (3, 4)])
    assert np.isfinite(graph.routes(graph.length_km).travel_min).all()
    edges = set(zip(graph.first.tolist(), graph.second.tolist(), strict=True))
    assert {(0, 2), (1, 3)} <= edges
    assert all((a, b) in {(0, 1), (2, 3), (3, 4)} or (a < 2 <= b) for a, b in edges)


def test_a_zone_without_a_place_has_no_edge_and_neighbours_out_of_range_are_nobodys():
    graph = graph_of([(40.70, -74.0), (40.71, -74.0), (NOWHERE, NOWHERE)], [(0, 1), (1, 2), (1, 9), (0, 0)])
    assert graph.first.tolist() == [0]
    assert graph.second.tolist() == [1]
    routes = graph.routes(np.array([2.0]))
    assert routes.travel_min[0].tolist() == [0.0, 2.0, np.inf]
    assert routes.edges(np.array([0, 0]), np.array([1, 2])).toarray().tolist() == [[1.0], [0.0]]


def test_one_degree_of_latitude_is_111_km():
    graph = graph_of([(40.0, -74.0), (41.0, -74.0)], [(0, 1)])
    assert graph.length_km[0] == pytest.approx(111.2, abs=0.1)
