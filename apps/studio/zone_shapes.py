"""Zones as flat shapes, ready to draw: no map tiles, and so no network."""

from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

DETAIL_DEGREES = 0.0003
"""Corners closer than this (about 30 m) to a straight line are left out."""
BRIDGE_DEGREES = 0.0009
Flat = tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]
"""Geometry of each zone by number, and of the bridges."""


def flat_shapes(shapes: dict[str, Any], bridges: dict[str, Any]) -> Flat:
    """Geometry of each zone by number, and of the bridges as narrow strips.

    Longitudes are shrunk by the cosine of the latitude, so that a plane drawing has the city's proportions. Borders
    that zones share stay shared.
    """
    zones = [int(feature["properties"]["zone"]) for feature in shapes["features"]]
    geometry = [shapely.geometry.shape(feature["geometry"]) for feature in shapes["features"]]
    narrow = float(np.cos(np.radians(shapely.total_bounds(geometry)[[1, 3]].mean())))
    areas = shapely.buffer(shapely.make_valid(np.array(geometry, object)), 0)  # published shapes cross themselves
    plain = shapely.coverage_simplify(_flat(areas, narrow), DETAIL_DEGREES)
    lines = np.array([shapely.geometry.shape(feature["geometry"]) for feature in bridges["features"]], object)
    strips = shapely.buffer(_flat(lines, narrow), BRIDGE_DEGREES, cap_style="flat") if len(lines) else []
    return {zone: _rounded(shape) for zone, shape in zip(zones, plain, strict=True)}, [_rounded(s) for s in strips]


def _flat(shapes: np.ndarray, narrow: float) -> np.ndarray:
    return shapely.transform(shapes, lambda degrees: degrees * (narrow, 1.0))


def _rounded(shape: BaseGeometry) -> dict[str, Any]:
    return shapely.geometry.mapping(shapely.transform(shape, lambda degrees: np.round(degrees, 5)))
