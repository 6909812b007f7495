"""The invented city: valid shapes that cover the land once, neighbours that connect it, bridges over its water."""

import numpy as np
import pytest
import scipy.sparse
import shapely
from scipy.sparse.csgraph import connected_components

from bottega.datasets import coast
from bottega.datasets.city import CITY_SEED, KM_PER_DEGREE, LAT0, LON0, City, build_city
from bottega.datasets.roads import build_roads


@pytest.fixture(params=[CITY_SEED, 3])
def city(request: pytest.FixtureRequest) -> City:
    return build_city(request.param)


def test_shapes_are_valid_and_do_not_overlap(city: City) -> None:
    assert len(city.zones) == len(city.shapes) == 262
    assert all(shape.is_valid and not shape.is_empty for shape in city.shapes)
    total = sum(shape.area for shape in city.shapes)
    assert shapely.union_all(list(city.shapes)).area == pytest.approx(total, rel=1e-9)


def test_the_zones_cover_the_land() -> None:
    city = build_city()
    land = sum(area.area for area in coast.boroughs(CITY_SEED).values())
    assert city.zones.area_km2.sum() == pytest.approx(land, rel=1e-4)


def test_zones_are_named_numbered_and_placed(city: City) -> None:
    zones = city.zones
    assert zones.zone.tolist() == list(range(1, 263))
    assert zones.zone_name.is_unique and zones.zone_name.is_monotonic_increasing
    assert set(zones.borough) == set(coast.BOROUGHS)
    assert zones.zone_name[city.airport - 1] == coast.AIRPORT
    for shape, lat, lon in zip(city.shapes, zones.lat, zones.lon, strict=True):
        assert shape.centroid.distance(shapely.Point(lon, lat)) < 1e-5
    scale = KM_PER_DEGREE * np.cos(np.radians(LAT0))
    np.testing.assert_allclose((zones.lon - LON0) * scale, city.points_km[:, 0], atol=1e-3)


def test_every_zone_can_be_reached_but_not_without_bridges(city: City) -> None:
    first, second = (city.adjacency - 1).T
    bridges = {(bridge.zone_a, bridge.zone_b) for bridge in city.bridges}
    by_land = np.array([tuple(pair) not in bridges for pair in city.adjacency.tolist()])
    assert _parts(len(city.zones), first, second) == 1
    assert _parts(len(city.zones), first[by_land], second[by_land]) == 4  # Eastmark and Southhaven are one land
    assert len(bridges) == len(city.bridges)


def _parts(zones: int, first: np.ndarray, second: np.ndarray) -> int:
    graph = scipy.sparse.coo_matrix((np.ones(len(first)), (first, second)), (zones, zones))
    return int(connected_components(graph, directed=False)[0])


def test_bridges_join_the_shapes_of_their_zones(city: City) -> None:
    for bridge in city.bridges:
        for zone in (bridge.zone_a, bridge.zone_b):
            assert bridge.line.distance(city.shapes[zone - 1]) < 1e-6
        assert city.zones.borough[bridge.zone_a - 1] != city.zones.borough[bridge.zone_b - 1]


def test_the_same_seed_builds_the_same_city() -> None:
    first = build_city()
    build_city.cache_clear()
    second = build_city()
    assert first is not second
    assert [shape.wkb for shape in first.shapes] == [shape.wkb for shape in second.shapes]
    assert first.zones.equals(second.zones)
    assert not build_city(3).zones.equals(first.zones)


def test_routes_are_no_shorter_than_straight_lines_and_cross_bridges_between_boroughs() -> None:
    city, roads = build_city(), build_roads(CITY_SEED)
    straight = np.hypot(*(city.points_km[:, None] - city.points_km[None]).transpose(2, 0, 1))
    between = ~np.eye(len(straight), dtype=bool)
    assert (roads.distance_km[between] > 0.9 * straight[between]).all()
    assert 1.2 < np.median(roads.distance_km[between] / straight[between]) < 1.7
    np.testing.assert_allclose(roads.distance_km, roads.distance_km.T)
    lands = city.zones.borough.replace("Southhaven", "Eastmark").to_numpy()
    apart = lands[:, None] != lands[None]
    assert (roads.bridges_crossed[apart] >= 1).all()
    assert (roads.bridges_crossed[~apart] == 0).mean() > 0.95
    assert (roads.free_min > 0).all() and (roads.slow_min >= 0).all()
