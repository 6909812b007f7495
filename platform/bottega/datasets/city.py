"""The invented city of Saltmere: some 260 zones with names, shapes and neighbours, bridges and an airport.

Everything is generated from a seed; nothing is drawn from a map. The city lies at coordinates near 40.7, -74 and keeps
New York's time, so that the same code runs on real trips.
"""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely
from shapely.geometry import LineString, MultiPolygon, Polygon

from bottega.datasets import coast
from bottega.datasets.names import bridge_names, zone_names

CITY_NAME = "Saltmere"
CITY_SEED = 1706
LAT0, LON0 = 40.70, -74.00
KM_PER_DEGREE = 111.195
_ZONES = {"Lantern Island": 66, "Westreach": 46, "Northfell": 48, "Eastmark": 52, "Southhaven": 49}
_BRIDGES = {  # pairs of boroughs that water parts, and how many bridges join them
    ("Lantern Island", "Westreach"): 3,
    ("Lantern Island", "Northfell"): 2,
    ("Lantern Island", "Eastmark"): 3,
    ("Lantern Island", "Southhaven"): 2,
    ("Northfell", "Eastmark"): 3,
    ("Westreach", "Northfell"): 2,
}
_TOUCH_KM = 0.1
"""Zones with a common border at least this long are neighbours."""


@dataclass(frozen=True)
class Bridge:
    """A bridge between two zones, over `line` in degrees (lon, lat)."""

    name: str
    zone_a: int
    zone_b: int
    line: LineString


@dataclass(frozen=True)
class City:
    """The city's geometry; row i of everything is zone i + 1."""

    zones: pd.DataFrame
    """zone int32, borough, zone_name, lat, lon (centroid, degrees), area_km2."""
    shapes: tuple[Polygon | MultiPolygon, ...]
    """In degrees (lon, lat)."""
    points_km: np.ndarray  # (zones, 2) float64: centroids, east and north of the city's middle
    adjacency: np.ndarray  # (pairs, 2) int32 zone numbers, smaller first: common border, or a bridge
    bridges: tuple[Bridge, ...]

    @property
    def airport(self) -> int:
        """The airport's zone number."""
        return int(self.zones.zone[self.zones.zone_name == coast.AIRPORT].iloc[0])


@functools.lru_cache(maxsize=4)
def build_city(seed: int = CITY_SEED) -> City:
    """Build the city; the same seed gives the same city."""
    rng = np.random.default_rng([seed, 2])
    found: list[tuple[str, Polygon | MultiPolygon]] = []
    for borough, area in coast.boroughs(seed).items():
        if borough == coast.AIRPORT:
            found.append(("Eastmark", area))
        else:
            found += [(borough, cell) for cell in _cells(area, _ZONES[borough], rng)]
    names = [*zone_names(len(found) - 1, rng), coast.AIRPORT]
    order = np.argsort(names)  # numbered by name, as the taxi zones are: numbers say nothing about places
    plane = [found[i][1] for i in order]
    borough_of = np.array([found[i][0] for i in order])
    points_km = np.array([(shape.centroid.x, shape.centroid.y) for shape in plane])
    bridges = _bridges(plane, borough_of)
    pairs = sorted({*_neighbours(plane), *((a, b) for a, b, _ in bridges)})
    return City(
        zones=pd.DataFrame(
            {
                "zone": np.arange(1, len(plane) + 1, dtype=np.int32),
                "borough": borough_of,
                "zone_name": [names[i] for i in order],
                "lat": np.round(_degrees(points_km)[:, 1], 6),
                "lon": np.round(_degrees(points_km)[:, 0], 6),
                "area_km2": np.round([shape.area for shape in plane], 4),
            }
        ),
        shapes=tuple(shapely.transform(shape, _degrees) for shape in plane),
        points_km=points_km,
        adjacency=np.array(pairs, np.int32) + 1,
        bridges=tuple(
            Bridge(name, a + 1, b + 1, shapely.transform(line, _degrees))
            for name, (a, b, line) in zip(bridge_names(len(bridges)), bridges, strict=True)
        ),
    )


def _degrees(points_km: np.ndarray) -> np.ndarray:
    """Plane km (n, 2) to degrees (lon, lat)."""
    lon = LON0 + points_km[:, 0] / (KM_PER_DEGREE * np.cos(np.radians(LAT0)))
    return np.column_stack([lon, LAT0 + points_km[:, 1] / KM_PER_DEGREE])


def _cells(area: Polygon, count: int, rng: np.random.Generator) -> list[Polygon | MultiPolygon]:
    """Cut `area` into `count` Voronoi cells, smaller towards the city's middle, evened by two of Lloyd's rounds."""
    points = _scatter(area, count, rng)
    for _ in range(2):
        points = np.array([(c.x, c.y) for c in (cell.representative_point() for cell in _voronoi(area, points))])
    cells = _voronoi(area, points)
    whole = [max(shapely.get_parts(cell), key=lambda part: part.area) for cell in cells]
    for i, cell in enumerate(cells):  # a piece that the coast cut off goes to the neighbour with the longest border
        for part in shapely.get_parts(cell):
            if not part.equals(whole[i]):
                borders = [part.intersection(other).length if j != i else 0 for j, other in enumerate(whole)]
                j = int(np.argmax(borders)) if max(borders) > 0 else i
                whole[j] = shapely.union(whole[j], part)
    return whole


def _scatter(area: Polygon, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random points in `area`, denser towards the middle of the city: (count, 2)."""
    west, south, east, north = area.bounds
    points = np.empty((0, 2))
    while len(points) < count:
        tries = np.column_stack([rng.uniform(west, east, 4000), rng.uniform(south, north, 4000)])
        density = 0.12 + 0.88 * np.exp(-np.hypot(tries[:, 0], tries[:, 1]) / 5.0)
        kept = shapely.contains_xy(area, tries[:, 0], tries[:, 1]) & (rng.uniform(size=4000) < density)
        points = np.vstack([points, tries[kept]])
    return points[:count]


def _voronoi(area: Polygon, points: np.ndarray) -> list[Polygon | MultiPolygon]:
    """The part of `area` nearest to each point, in the points' order."""
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points), extend_to=area))
    holder = shapely.STRtree(cells).query(shapely.points(points), predicate="intersects")
    cell_of = dict(zip(*holder.tolist(), strict=True))
    return [cells[cell_of[i]].intersection(area) for i in range(len(points))]


def _neighbours(plane: list[Polygon | MultiPolygon]) -> list[tuple[int, int]]:
    near = shapely.STRtree(plane).query(plane, predicate="dwithin", distance=0.01).T
    pairs = []
    for a, b in near.tolist():
        if a < b and plane[a].buffer(0.01).intersection(plane[b].boundary).length >= _TOUCH_KM:
            pairs.append((a, b))
    return pairs


def _bridges(plane: list[Polygon | MultiPolygon], borough_of: np.ndarray) -> list[tuple[int, int, LineString]]:
    """The shortest crossings between the boroughs, no two from nearby zones."""
    chosen: list[tuple[int, int, LineString]] = []
    for (left, right), count in _BRIDGES.items():
        crossings = []
        for a in np.flatnonzero(borough_of == left):
            for b in np.flatnonzero(borough_of == right):
                if (gap := plane[a].distance(plane[b])) < 2.5:
                    crossings.append((gap + 0.2 * plane[a].centroid.distance(plane[b].centroid), a, b))
        crossings.sort()
        taken: list[tuple[float, float]] = []
        for _, a, b in crossings:
            line = shapely.shortest_line(plane[a], plane[b])
            middle = line.centroid
            if len(taken) < count and all(np.hypot(middle.x - x, middle.y - y) > 2.5 for x, y in taken):
                taken.append((middle.x, middle.y))
                chosen.append((int(min(a, b)), int(max(a, b)), line))
    return chosen
