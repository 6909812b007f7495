"""The invented city's land: a coast, three rivers and a bay, cut into boroughs. In km, east and north of its middle."""

from types import MappingProxyType

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

AIRPORT = "Saltmere Airport"
BOROUGHS = MappingProxyType(
    {
        "Lantern Island": (0.3, 0.5),
        "Westreach": (-10.0, 1.0),
        "Northfell": (8.0, 9.5),
        "Eastmark": (10.0, 0.0),
        "Southhaven": (7.0, -9.0),
    }
)
"""Borough name to a point inside it."""
_RIVERS = (
    # name, half width in km, course
    (
        "River Aster",
        0.55,
        ((-5.0, 22.0), (-3.6, 12.0), (-3.2, 6.0), (-2.6, 0.0), (-2.3, -6.0), (-1.5, -11.5), (0.0, -22.0)),
    ),
    (
        "Little Aster",
        0.35,
        ((-3.7, 10.0), (-0.6, 9.0), (2.6, 6.5), (3.2, 1.5), (2.6, -3.5), (0.6, -8.0), (-1.9, -10.5)),
    ),
    ("River Tarn", 0.25, ((3.0, 4.4), (6.5, 5.0), (11.0, 4.2), (15.0, 6.0), (23.0, 6.5))),
)


def land(seed: int) -> Polygon:
    """The land within the coast, before the rivers: a rounded shape with a bay in the south."""
    rng = np.random.default_rng([seed, 1])
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    radius = np.full_like(angle, 16.5)
    for wave in range(2, 16):
        radius += rng.normal(0, 1.5 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    coast = Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    bay = shapely.affinity.scale(Point(-1.0, -16.5).buffer(1.0, quad_segs=24), 3.6, 5.2)
    return _largest(coast.difference(bay))


def rivers() -> dict[str, Polygon]:
    """Each river's water by name."""
    return {name: LineString(_smooth(course)).buffer(half_width) for name, half_width, course in _RIVERS}


def boroughs(seed: int) -> dict[str, Polygon]:
    """The boroughs' land by name, the airport apart."""
    dry = land(seed).difference(shapely.union_all(list(rivers().values())))
    pieces = [piece for piece in shapely.get_parts(dry) if piece.area > 0.5]
    south = Polygon([(0, -6.0), (5.0, -4.6), (12.0, -4.0), (30, -6.5), (30, -30), (-10, -30), (-10, -6.0)])
    found: dict[str, Polygon] = {}
    for name, (x, y) in BOROUGHS.items():
        piece = min(pieces, key=lambda p: p.distance(Point(x, y)))
        if name == "Eastmark":
            piece = _largest(piece.difference(south))
        if name == "Southhaven":
            piece = _largest(piece.intersection(south))
        found[name] = piece
    runway = shapely.affinity.rotate(box(-2.0, -1.3, 2.0, 1.3), 25)
    for x in np.arange(22, 8, -0.25):  # the airport lies at Eastmark's shore: slide it in from the sea
        site = shapely.affinity.translate(runway, float(x), 0.2)
        if found["Eastmark"].contains(site):
            break
    found[AIRPORT] = site
    found["Eastmark"] = _largest(found["Eastmark"].difference(site))
    return found


def _smooth(course: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Chaikin's corner cutting, three rounds (Chaikin, An algorithm for high-speed curve generation, 1974)."""
    points = np.array(course)
    for _ in range(3):
        first = 0.75 * points[:-1] + 0.25 * points[1:]
        second = 0.25 * points[:-1] + 0.75 * points[1:]
        points = np.vstack([points[:1], np.stack([first, second], 1).reshape(-1, 2), points[-1:]])
    return points


def _largest(shape: Polygon | MultiPolygon) -> Polygon:
    return max(shapely.get_parts(shape), key=lambda part: part.area)
