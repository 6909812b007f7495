"""Zones: numbers, names, centroids, shapes and neighbours, of New York's taxi zones or of the invented city."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry.base import BaseGeometry

from bottega.datasets.city import build_city
from bottega.datasets.origin import Origin
from bottega.errors import InvalidData, NotFound

ZONES = 265
"""New York's zone numbers are 1 to this: 264 means unknown, 265 outside the city."""
_NEAR_KM = 0.0305  # 100 feet
_KM_PER_DEGREE = 111.195
_OWN_NAMES = ("zone", "borough", "zone_name", "lat", "lon", "area_km2")


def load_zones(origin: Origin | Path) -> pd.DataFrame:
    """Zones by number: zone int32, borough, zone_name, lat, lon (degrees), area_km2; null where a zone has no shape.

    Raises InvalidData for a file that holds no zones, NotFound for a folder without zone files.
    """
    if isinstance(origin, Origin) and origin.kind == "simulator":
        return build_city().zones.copy()
    folder = _folder(origin)
    table = folder / "zones.parquet"
    found = _read_table(table) if table.is_file() else _measure(_read_shapes(folder))
    found = found.drop_duplicates("zone").set_index("zone").reindex(np.arange(1, ZONES + 1))
    found["borough"] = found.borough.replace("", None).fillna("Unknown").astype(str)
    found["zone_name"] = found.zone_name.replace("", None).fillna("Unknown").astype(str)
    for name in ("lat", "lon", "area_km2"):
        found[name] = found[name].astype(np.float64)
    found = found.rename_axis("zone").reset_index()
    found["zone"] = found.zone.astype(np.int32)
    return found[list(_OWN_NAMES)]


def load_zone_shapes(origin: Origin | Path) -> dict[str, Any]:
    """A GeoJSON FeatureCollection; each feature has the properties zone (a number), zone_name and borough."""
    if isinstance(origin, Origin) and origin.kind == "simulator":
        city = build_city()
        shapes = dict(zip(city.zones.zone.tolist(), city.shapes, strict=True))
        names = city.zones.set_index("zone")[["zone_name", "borough"]].to_dict("index")
    else:
        found = _read_shapes(_folder(origin))
        shapes = {zone: shape for zone, (shape, _, _) in found.items()}
        names = {zone: {"zone_name": name, "borough": borough} for zone, (_, name, borough) in found.items()}
    return {"type": "FeatureCollection", "features": [_feature(z, s, names[z]) for z, s in sorted(shapes.items())]}


def load_bridges() -> dict[str, Any]:
    """The invented city's bridges as a GeoJSON FeatureCollection of lines, each with its name and two zones."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"name": bridge.name, "zone_a": bridge.zone_a, "zone_b": bridge.zone_b},
                "geometry": shapely.geometry.mapping(bridge.line),
            }
            for bridge in build_city().bridges
        ],
    }


def load_adjacency(origin: Origin | Path) -> np.ndarray:
    """Pairs of neighbouring zones, (pairs, 2) int32, smaller number first, sorted.

    New York's are those closer than 100 feet; the invented city's have a common border or a bridge.
    """
    if isinstance(origin, Origin) and origin.kind == "simulator":
        return build_city().adjacency.copy()
    folder = _folder(origin)
    file = folder / "adjacent.parquet"
    if file.is_file():
        table = _read_parquet(file, ["zone_a", "zone_b"])
        pairs = np.sort(table[["zone_a", "zone_b"]].to_numpy(np.int32), axis=1)
    else:
        found = _read_shapes(folder)
        zones = np.array(list(found))
        plane = [shapely.transform(shape, _to_km) for shape, _, _ in found.values()]
        near = shapely.STRtree(plane).query(plane, predicate="dwithin", distance=_NEAR_KM).T
        pairs = zones[near[near[:, 0] != near[:, 1]]].astype(np.int32)
        pairs = np.sort(pairs, axis=1)
    return np.unique(pairs, axis=0)


def _folder(origin: Origin | Path) -> Path:
    path = origin.path if isinstance(origin, Origin) else origin
    if path is None or not path.is_dir():
        raise NotFound(f"{path} is no folder with zones.", next_step="Fetch them with 'bottega data get taxi_zones'.")
    return path


def _read_table(file: Path) -> pd.DataFrame:
    found = _read_parquet(file, list(_OWN_NAMES))
    if not pd.api.types.is_integer_dtype(found.zone.dtype):
        raise InvalidData(f"{file}: the column 'zone' is {found.zone.dtype}; it must hold whole numbers.")
    outside = found.zone[(found.zone < 1) | (found.zone > ZONES)]
    if len(outside):
        raise InvalidData(f"{file} has the zone {outside.iloc[0]}.", next_step=f"Zones are 1 to {ZONES}.")
    return found


def _read_parquet(file: Path, columns: list[str]) -> pd.DataFrame:
    try:
        schema = pq.read_schema(file)
        missing = [name for name in columns if name not in schema.names]
        if missing:
            raise InvalidData(f"{file} lacks the column {', '.join(missing)}.", next_step="Fetch the zones again.")
        return pq.read_table(file, columns=columns).to_pandas()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InvalidData(f"{file} is no sound Parquet file: {reason}.", next_step="Fetch the zones again.") from None


def _read_shapes(folder: Path) -> dict[int, tuple[BaseGeometry, str, str]]:
    """Zone number to shape (degrees), name and borough, from the folder's GeoJSON in either spelling of the names."""
    files = sorted(folder.glob("*.geojson"))
    if not files:
        raise NotFound(f"{folder} holds no GeoJSON of zones.", next_step="Fetch it with 'bottega data get taxi_zones'.")
    file = files[0]
    found: dict[int, tuple[BaseGeometry, str, str]] = {}
    try:
        features = msgspec.json.decode(file.read_bytes())["features"]
        for feature in features:
            said: Mapping[str, Any] = {key.lower(): value for key, value in feature["properties"].items()}
            zone = int(said["locationid"] if "locationid" in said else said["zone"])
            name = str(said["zone_name"] if "zone_name" in said else said["zone"])
            shape = shapely.geometry.shape(feature["geometry"])
            if zone in found:
                shape = shapely.union(shapely.make_valid(found[zone][0]), shapely.make_valid(shape))
            found[zone] = (shape, name, str(said["borough"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidData(f"{file} is no GeoJSON of zones: {what}.", next_step="Fetch the zones again.") from None
    if not found:
        raise InvalidData(f"{file} has no zones.", next_step="Fetch the zones again.")
    return found


def _measure(found: Mapping[int, tuple[BaseGeometry, str, str]]) -> pd.DataFrame:
    """The zones' table from their shapes: centroid and area in a plane that fits the city."""
    rows = []
    for zone, (shape, name, borough) in found.items():
        plane = shapely.transform(shape, _to_km)
        lon, lat = _to_degrees(np.array([[plane.centroid.x, plane.centroid.y]]))[0]
        rows.append((zone, borough, name, round(float(lat), 6), round(float(lon), 6), round(plane.area, 4)))
    return pd.DataFrame(rows, columns=list(_OWN_NAMES))


def _to_km(degrees: np.ndarray) -> np.ndarray:
    """(n, 2) lon, lat to km in a plane through the city; at most 0.3 % off within it."""
    scale = np.cos(np.radians(40.7)) * _KM_PER_DEGREE
    return np.column_stack([(degrees[:, 0] + 74.0) * scale, (degrees[:, 1] - 40.7) * _KM_PER_DEGREE])


def _to_degrees(points_km: np.ndarray) -> np.ndarray:
    scale = np.cos(np.radians(40.7)) * _KM_PER_DEGREE
    return np.column_stack([points_km[:, 0] / scale - 74.0, points_km[:, 1] / _KM_PER_DEGREE + 40.7])


def _feature(zone: int, shape: BaseGeometry, names: Mapping[Any, Any]) -> dict[str, Any]:
    rounded = shapely.transform(shape, lambda degrees: np.round(degrees, 6))
    return {
        "type": "Feature",
        "properties": {"zone": int(zone), "zone_name": names["zone_name"], "borough": names["borough"]},
        "geometry": shapely.geometry.mapping(rounded),
    }
