"""Zones in the publisher's spelling, in the trimmed one, and of the invented city."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

from bottega.datasets.origin import Origin
from bottega.datasets.zones import load_adjacency, load_bridges, load_zone_shapes, load_zones
from bottega.errors import InvalidData, NotFound

SIMULATOR = Origin("simulator", None, "taxi_zones")
COLUMNS = ["zone", "borough", "zone_name", "lat", "lon", "area_km2"]


def write_squares(folder: Path, official: bool) -> None:
    """Zones 3, 7 and 9: one kilometre squares; 3 and 7 touch, 9 lies 5 km away and comes in two parts."""
    north, east = 1 / 111.195, 1 / (111.195 * np.cos(np.radians(40.7)))
    features = []
    for zone, x in ((3, 0.0), (7, 1.0), (9, 7.0), (9, 8.0)):
        shape = shapely.box(-74.0 + x * east, 40.7, -74.0 + (x + 1) * east, 40.7 + north)
        said = (
            {"LocationID": str(zone), "zone": f"Z{zone}", "borough": "Queens"}
            if official
            else {"zone": zone, "zone_name": f"Z{zone}", "borough": "Queens"}
        )
        features.append({"type": "Feature", "properties": said, "geometry": shapely.geometry.mapping(shape)})
    (folder / "zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.mark.parametrize("official", [True, False])
def test_zones_from_shapes_alone(tmp_path: Path, official: bool) -> None:
    write_squares(tmp_path, official)
    zones = load_zones(tmp_path)
    assert list(zones.columns) == COLUMNS and zones.zone.tolist() == list(range(1, 266))
    known = zones.set_index("zone").loc[[3, 7, 9]]
    np.testing.assert_allclose(known.area_km2, [1, 1, 2], rtol=1e-3)
    np.testing.assert_allclose(known.lat, 40.7 + 0.5 / 111.195, atol=1e-4)
    assert known.zone_name.tolist() == ["Z3", "Z7", "Z9"]
    unknown = zones[~zones.zone.isin([3, 7, 9])]
    assert unknown.lat.isna().all() and (unknown.borough == "Unknown").all()
    assert load_adjacency(tmp_path).tolist() == [[3, 7]]
    shapes = load_zone_shapes(tmp_path)
    assert [feature["properties"]["zone"] for feature in shapes["features"]] == [3, 7, 9]


def test_a_table_of_zones_and_of_neighbours_is_used_where_there_is_one(tmp_path: Path) -> None:
    table = pd.DataFrame([[2, "Queens", "Two", 40.7, -73.9, 1.5], [1, "", "", np.nan, np.nan, np.nan]], columns=COLUMNS)
    table.to_parquet(tmp_path / "zones.parquet")
    pd.DataFrame({"zone_a": [2, 1], "zone_b": [1, 2]}).to_parquet(tmp_path / "adjacent.parquet")
    zones = load_zones(tmp_path)
    assert zones.iloc[1].tolist() == [2, "Queens", "Two", 40.7, -73.9, 1.5]
    assert zones.iloc[0, 1:3].tolist() == ["Unknown", "Unknown"]
    assert load_adjacency(tmp_path).tolist() == [[1, 2]]


@pytest.mark.parametrize("content", ["", "{}", '{"features": []}', '{"features": [{"properties": {}}]}', "[1]"])
def test_a_file_that_is_no_geojson_of_zones(tmp_path: Path, content: str) -> None:
    (tmp_path / "zones.geojson").write_text(content)
    with pytest.raises(InvalidData, match=r"zones\.geojson .*Fetch the zones again"):
        load_zone_shapes(tmp_path)


def test_tables_that_are_no_zones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no GeoJSON of zones"):
        load_zones(tmp_path)
    (tmp_path / "zones.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InvalidData, match="no sound Parquet file"):
        load_zones(tmp_path)
    pd.DataFrame({"zone": [1]}).to_parquet(tmp_path / "zones.parquet")
    with pytest.raises(InvalidData, match="lacks the column borough, zone_name, lat, lon, area_km2"):
        load_zones(tmp_path)


def test_the_invented_city_answers_in_the_same_shapes() -> None:
    zones, shapes, pairs = load_zones(SIMULATOR), load_zone_shapes(SIMULATOR), load_adjacency(SIMULATOR)
    assert list(zones.columns) == COLUMNS
    assert [feature["properties"]["zone"] for feature in shapes["features"]] == zones.zone.tolist()
    assert json.loads(json.dumps(shapes)) == json.loads(json.dumps(shapes, allow_nan=False))
    assert all(shapely.geometry.shape(feature["geometry"]).is_valid for feature in shapes["features"])
    assert pairs.dtype == np.int32 and (pairs[:, 0] < pairs[:, 1]).all()
    names = [feature["properties"]["name"] for feature in load_bridges()["features"]]
    assert len(names) == len(set(names)) >= 10


def test_real_zones_from_their_table_and_from_their_shapes_agree(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "taxi_zones"
    (tmp_path / "zones.geojson").write_bytes((folder / "zones.geojson").read_bytes())
    table, measured = load_zones(folder), load_zones(tmp_path)
    assert table[table.lat.isna()].zone.tolist() == [57, 104, 105, 264, 265]
    assert (table.lat.isna() == measured.lat.isna()).all()
    assert (table[["lat", "lon"]] - measured[["lat", "lon"]]).abs().max().max() < 5e-4
    ours, theirs = ({tuple(pair) for pair in load_adjacency(f).tolist()} for f in (tmp_path, folder))
    assert len(ours & theirs) / len(ours | theirs) > 0.99
