"""Trips as a use case's sources: where zones, neighbours and history come from."""

import shutil

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.trip_sources import read_trip_sources
from bottega.errors import NotFound
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace


def day(text):
    return parse_time(text, CITY_TIMEZONE)


@pytest.fixture
def workspace(tmp_path):
    return Workspace.open(tmp_path / "w")


def write_trips(folder, first, hours=48):
    """A trip every quarter of an hour between zones 1 and 3."""
    folder.mkdir(parents=True)
    pickup = pd.Timestamp(first) + pd.to_timedelta(np.arange(hours * 4) * 15, unit="min")
    pd.DataFrame(
        {
            "pickup_at": pickup.as_unit("us"),
            "dropoff_at": (pickup + pd.Timedelta(minutes=12)).as_unit("us"),
            "pu_zone": np.resize([1, 2, 3], len(pickup)).astype(np.int32),
            "do_zone": np.resize([3, 1], len(pickup)).astype(np.int32),
            "distance_mi": 2.0,
            "fare_usd": 14.0,
            "rate_code": 1,
            "passengers": 1,
        }
    ).to_parquet(folder / f"green_{first[:7]}.parquet", index=False)


def write_zones(folder):
    folder.mkdir(parents=True)
    zone = np.arange(1, 4, dtype=np.int32)
    pd.DataFrame(
        {
            "zone": zone, "borough": "Here", "zone_name": "Z", "lat": 40.7 + 0.01 * zone, "lon": -74.0, "area_km2": 1.0,
        }
    ).to_parquet(folder / "zones.parquet", index=False)  # fmt: skip
    pd.DataFrame({"zone_a": [2, 1], "zone_b": [3, 2]}).to_parquet(folder / "adjacent.parquet", index=False)


def test_the_invented_city_has_zones_that_meet(workspace):
    found = read_trip_sources(workspace, Settings(), day("2024-02-25"), day("2024-02-26")).sources
    numbers = set(found["zones"]["zone"])
    assert set(found) == {"trips", "zones", "neighbours"}
    assert len(found["neighbours"]) > len(numbers)
    assert set(found["neighbours"].to_numpy().ravel()) <= numbers


def test_a_folder_brings_its_own_zones_and_neighbours(workspace, tmp_path):
    write_trips(tmp_path / "data" / "tlc_green_trips", "2023-05-01")
    write_zones(tmp_path / "data" / "taxi_zones")
    found = read_trip_sources(workspace, Settings(), None, None, data=tmp_path / "data")
    assert found.sources["zones"].dropna()["zone"].tolist() == [1, 2, 3]
    assert found.sources["neighbours"].to_numpy().tolist() == [[1, 2], [2, 3]]


def test_without_zones_in_the_folder_those_of_the_dataset_serve(workspace, tmp_path):
    write_trips(tmp_path / "data" / "tlc_green_trips", "2023-05-01")
    write_zones(tmp_path / "base" / "taxi_zones")
    found = read_trip_sources(workspace, Settings(data=tmp_path / "base"), None, None, data=tmp_path / "data")
    assert found.sources["neighbours"].to_numpy().tolist() == [[1, 2], [2, 3]]


def test_without_any_zones_the_known_ones_serve_and_nobody_knows_which_meet(workspace, tmp_path):
    folder = tmp_path / "data" / "tlc_green_trips"
    write_trips(folder, "2023-05-01")
    known = {"zones": pd.DataFrame({"zone": np.array([1, 2, 3], np.int32), "lat": 40.7, "lon": -74.0})}
    for place in (tmp_path / "data", folder, folder / "green_2023-05.parquet"):
        found = read_trip_sources(workspace, Settings(), None, None, data=place, known=known)
        assert found.rows == 192
        assert found.sources["zones"]["borough"].unique().tolist() == ["Unknown"]
        assert found.sources["neighbours"].empty
    with pytest.raises(NotFound, match="bottega data get taxi_zones"):
        read_trip_sources(workspace, Settings(), None, None, data=folder)


def test_history_comes_from_the_folder_itself_or_else_from_the_dataset(workspace, tmp_path):
    write_zones(tmp_path / "base" / "taxi_zones")
    write_trips(tmp_path / "base" / "tlc_green_trips", "2023-04-29")
    write_trips(tmp_path / "data" / "tlc_green_trips", "2023-05-01")
    settings = Settings(data=tmp_path / "base")
    hour = pd.Timedelta(hours=1).to_pytimedelta()
    for since, months in ((day("2023-05-01"), {4, 5}), (day("2023-05-02"), {5})):
        found = read_trip_sources(workspace, settings, since, None, data=tmp_path / "data", history=hour)
        pickups = found.sources["trips"]["pickup_at"]
        assert since - 4 * hour <= pickups.min() < since
        assert set(pickups.dt.tz_convert(CITY_TIMEZONE).dt.month) == months
    shutil.rmtree(tmp_path / "base" / "tlc_green_trips")
    alone = read_trip_sources(workspace, settings, day("2023-05-01"), None, data=tmp_path / "data", history=hour)
    assert alone.sources["trips"]["pickup_at"].min() == day("2023-05-01")
