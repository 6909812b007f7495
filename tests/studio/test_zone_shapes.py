import os
from pathlib import Path

import numpy as np
import pytest
import shapely

from bottega.datasets.origin import Origin
from bottega.datasets.zones import load_bridges, load_zone_shapes
from studio.zone_shapes import flat_shapes

SIMULATOR = Origin("simulator")


def test_every_zone_keeps_its_place_its_proportions_and_its_neighbours() -> None:
    zones = load_zone_shapes(SIMULATOR)
    flat, _ = flat_shapes(zones, {"features": []})
    before = {f["properties"]["zone"]: shapely.geometry.shape(f["geometry"]) for f in zones["features"]}
    after = {zone: shapely.geometry.shape(shape) for zone, shape in flat.items()}
    assert after.keys() == before.keys()
    narrow = np.cos(np.radians(shapely.total_bounds(list(before.values()))[[1, 3]].mean()))
    for zone, shape in after.items():
        assert shape.is_valid
        assert shape.area == pytest.approx(before[zone].area * narrow, rel=0.05)
        assert shape.centroid.x == pytest.approx(before[zone].centroid.x * narrow, abs=1e-3)
    overlap = sum(shape.area for shape in after.values()) - shapely.union_all(list(after.values())).area
    assert overlap < 1e-3 * sum(shape.area for shape in after.values())


def test_bridges_become_strips_between_their_zones() -> None:
    bridges = load_bridges()
    flat, strips = flat_shapes(load_zone_shapes(SIMULATOR), bridges)
    assert len(strips) == len(bridges["features"]) > 0
    for strip, bridge in zip(strips, bridges["features"], strict=True):
        ends = [shapely.geometry.shape(flat[bridge["properties"][end]]) for end in ("zone_a", "zone_b")]
        assert all(shapely.geometry.shape(strip).distance(end) < 0.01 for end in ends)


@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA names no folder with New York's taxi zones")
def test_new_yorks_zones_are_drawn_too() -> None:
    zones = load_zone_shapes(Path(os.environ["BOTTEGA_DATA"]) / "taxi_zones")
    flat, _ = flat_shapes(zones, {"features": []})
    assert {4, 74, 132, 263} <= flat.keys()
    before = sum(shapely.geometry.shape(feature["geometry"]).area for feature in zones["features"])
    after = sum(shapely.geometry.shape(shape).area for shape in flat.values())
    assert after == pytest.approx(before * np.cos(np.radians(40.7)), rel=0.01)
    assert all(not shapely.geometry.shape(shape).is_empty for shape in flat.values())


def test_a_shape_that_crosses_itself_is_drawn_as_its_area() -> None:
    bow = shapely.Polygon([(0, 40), (1, 41), (1, 40), (0, 41)])
    zones = {"features": [{"properties": {"zone": 5}, "geometry": shapely.geometry.mapping(bow)}]}
    flat, _ = flat_shapes(zones, {"features": []})
    narrow = np.cos(np.radians(40.5))
    assert shapely.geometry.shape(flat[5]).area == pytest.approx(0.5 * narrow, rel=1e-3)
