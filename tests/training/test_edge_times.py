import numpy as np
import pandas as pd
import pytest

from bottega.training.edge_times import Trips, fit_router
from bottega.training.router import HOPS, KM, LOG_HOUR, MINUTES, Router
from bottega.training.zone_graph import join_zones

SIDE = 5
SIZE = SIDE * SIDE + 1  # the last one has no place
ROUTER = Router("routes", "route_hours", keys=("a", "b"), hour="hour_of_week", hour_smoothing=1.0)


def grid_city():
    zone = np.arange(SIZE)
    lat, lon = 40.7 + 0.01 * (zone // SIDE), -74.0 + 0.01 * (zone % SIDE)
    lat[-1] = lon[-1] = np.nan
    east, north = zone[:-1][zone[:-1] % SIDE < SIDE - 1], zone[: SIDE * (SIDE - 1)]
    pairs = np.concatenate([np.column_stack([east, east + 1]), np.column_stack([north, north + SIDE])])
    return join_zones(lat, lon, pd.DataFrame(pairs, columns=["zone_a", "zone_b"]))


def drive(graph, rows, seed, noise=0.05):
    """Trips through streets, avenues to the north, and a motorway in the bottom row; busy from hour 30 to 60."""
    rng = np.random.default_rng(seed)
    pace = np.where(graph.second - graph.first == SIDE, 1.2, np.where(graph.second < SIDE, 0.7, 2.5))
    first, second = rng.integers(0, SIZE - 1, rows), rng.integers(0, SIZE - 1, rows)
    hour = rng.integers(0, 168, rows).astype(float)
    minutes = graph.routes(pace * graph.length_km).travel_min[first, second] + 3.0 + (second == 7)
    busy = np.where((hour >= 30) & (hour < 60), 1.4, 1.0)
    return Trips(first, second, hour, minutes * busy * rng.lognormal(0, noise, rows))


@pytest.fixture(scope="module")
def graph():
    return grid_city()


@pytest.fixture(scope="module")
def tables(graph):
    return fit_router(drive(graph, 8000, seed=1), graph, ROUTER)


def test_it_learns_where_the_motorway_is(graph, tables):
    trips = drive(graph, 3000, seed=2)
    found = tables["routes"].read([trips.first, trips.second], [MINUTES])[0]
    hour = tables["route_hours"].read([trips.hour], [LOG_HOUR])[0]
    error = np.abs(found * np.exp(hour) - trips.minutes).mean()
    as_the_crow_flies = np.polyfit(graph.apart_km[trips.first, trips.second], trips.minutes, 1)
    crow = np.abs(np.polyval(as_the_crow_flies, graph.apart_km[trips.first, trips.second]) - trips.minutes).mean()
    assert error < 0.06 * trips.minutes.mean()  # the noise alone is 4 %
    assert error < 0.4 * crow
    hops = tables["routes"].read([np.array([SIDE]), np.array([2 * SIDE - 1])], [HOPS, KM])
    assert hops[0] == SIDE + 1  # one down, four along the motorway, one up
    assert hops[1] > graph.apart_km[SIDE, 2 * SIDE - 1]


def test_hours_are_factors(tables):
    hours = tables["route_hours"].columns[LOG_HOUR]
    busy = np.exp(hours[30:60]).mean() / np.exp(np.r_[hours[:30], hours[60:]]).mean()
    assert busy == pytest.approx(1.4, abs=0.05)


def test_a_zone_without_a_place_has_no_route_and_every_other_pair_has_one(graph, tables):
    minutes = tables["routes"].columns[MINUTES].reshape(SIZE, SIZE)
    assert np.isnan(minutes[-1]).all()
    assert np.isnan(minutes[:, -1]).all()
    assert (minutes[:-1, :-1] >= 1).all()


def test_one_wild_trip_hardly_moves_a_route(graph):
    trips = drive(graph, 8000, seed=1)
    pair = (trips.first == 0) & (trips.second == 24)
    wild = trips.minutes.copy()
    wild[np.flatnonzero(pair)[0]] = 180.0
    calm, moved = (
        fit_router(Trips(trips.first, trips.second, trips.hour, m), graph, ROUTER)["routes"].columns[MINUTES][24]
        for m in (trips.minutes, wild)
    )
    assert moved == pytest.approx(calm, rel=0.02)


def test_where_no_neighbours_are_known_a_route_follows_the_great_circle():
    lat, lon = np.array([40.7, 40.7, 40.7, 40.7]), np.array([-74.0, -73.99, -73.98, -73.97])
    graph = join_zones(lat, lon, pd.DataFrame({"zone_a": [], "zone_b": []}))
    first, second = np.divmod(np.arange(16), 4)
    apart = graph.apart_km[first, second]
    trips = Trips(first, second, np.zeros(16), 4 + 3 * apart)
    found = fit_router(trips, graph, ROUTER)["routes"].columns[MINUTES]
    np.testing.assert_allclose(found, trips.minutes, rtol=0.1)


def test_few_trips_still_make_a_router(graph):
    one = Trips(np.array([3]), np.array([3]), np.array([5.0]), np.array([4.0]))
    tables = fit_router(one, graph, ROUTER)
    assert np.isfinite(tables["routes"].columns[MINUTES].reshape(SIZE, SIZE)[:-1, :-1]).all()
