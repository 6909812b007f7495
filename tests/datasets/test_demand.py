"""Demand tables: good rows counted, bad rows refused by reason, the simulator's trips where there are no files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.demand import count_trips, load_borough_demand, load_demand
from bottega.datasets.demand_sources import NEIGHBOURS, dense, read_demand_sources
from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.settings import Settings, load_settings
from bottega.workspace import Workspace

FIRST = datetime(2023, 1, 9, 5, tzinfo=UTC)  # midnight in New York


def rows(hours: int = 3, zones: int = 4, start: str = "2023-01-09 00:00") -> pd.DataFrame:
    """A good table in the files' own terms: wall-clock hours."""
    hour = np.repeat(pd.date_range(start, periods=hours, freq="h"), zones)
    zone = np.tile(np.arange(1, zones + 1), hours)
    return pd.DataFrame({"hour": hour, "zone": zone, "pickups": zone + 1, "dropoffs": zone})


def write(table: pd.DataFrame, folder: Path, name: str = "zone_hour.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".csv"):
        table.to_csv(folder / name, index=False)
    else:
        table.to_parquet(folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["zone_hour.parquet", "zone_hour.csv", "any_other_name.parquet"])
def test_hours_are_the_citys_and_become_utc(tmp_path: Path, name: str) -> None:
    write(rows(), tmp_path / "tlc_green_demand", name)
    found = load_demand(tmp_path)
    assert found.rejected == {}
    assert found.table["hour"].iloc[0] == pd.Timestamp(FIRST)
    assert found.table["pickups"].sum() == rows()["pickups"].sum()
    assert list(found.table.columns) == ["hour", "zone", "pickups", "dropoffs"]


def test_bad_rows_are_refused_by_reason(tmp_path: Path) -> None:
    table = rows().astype({"zone": "float64", "pickups": "float64"})
    table.loc[0, "pickups"] = -1
    table.loc[1, "dropoffs"] = -3
    table.loc[2, "hour"] += pd.Timedelta("20min")
    table.loc[3, "zone"] = 266
    table.loc[4, "pickups"] = np.nan
    table.loc[5, "pickups"] = 2.5
    table.loc[6, "hour"] = pd.NaT
    table = pd.concat([table, table.iloc[[8]]])
    found = load_demand(write(table, tmp_path))
    assert found.rejected == {
        "wrong_type": 1,
        "null_hour": 1,
        "null_pickups": 1,
        "off_the_hour": 1,
        "unknown_zone": 1,
        "negative_count": 2,
        "duplicate": 1,
    }
    assert len(found.table) == len(rows()) - 7


def test_text_in_a_csv_is_no_count(tmp_path: Path) -> None:
    table = rows().astype({"pickups": object})
    table.loc[0, "pickups"] = "many"
    found = load_demand(write(table, tmp_path, "zone_hour.csv"))
    assert found.rejected == {"wrong_type": 1}


def test_a_zone_and_hour_in_two_files_counts_once(tmp_path: Path) -> None:
    write(rows(), tmp_path, "2023-01.parquet")
    write(rows(hours=4), tmp_path, "again.parquet")
    found = load_demand(tmp_path)
    assert (len(found.table), found.rejected) == (16, {"duplicate": 12})


def test_only_the_span_is_read_and_judged(tmp_path: Path) -> None:
    table = rows(hours=6)
    table.loc[0, "pickups"] = -1
    file = write(table, tmp_path)
    found = load_demand(file, FIRST + timedelta(hours=2), FIRST + timedelta(hours=4))
    assert (len(found.table), found.rejected) == (8, {})
    with pytest.raises(InvalidInput, match="no good row"):
        load_demand(file, FIRST + timedelta(days=9))


def test_what_is_no_demand_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="lacks the column pickups"):
        load_demand(write(rows().drop(columns="pickups"), tmp_path / "a"))
    with pytest.raises(InvalidData, match=r"column 'pickups'"):
        load_demand(write(rows().assign(pickups="x"), tmp_path / "b"))
    (tmp_path / "c").mkdir()
    with pytest.raises(InvalidData, match="holds no demand table"):
        load_demand(tmp_path / "c")
    with pytest.raises(NotFound, match="does not exist"):
        load_demand(tmp_path / "d")
    (tmp_path / "e.parquet").write_text("no parquet")
    with pytest.raises(InvalidData, match="cannot be read"):
        load_demand(tmp_path / "e.parquet")


def test_trips_are_counted_where_and_when_they_begin_and_end() -> None:
    at = pd.to_datetime(["2023-01-09T05:10Z", "2023-01-09T05:59Z", "2023-01-09T06:00Z"])
    ended = at + pd.Timedelta("20min")
    trips = pd.DataFrame({"pickup_at": at, "dropoff_at": ended, "pu_zone": [1, 1, 2], "do_zone": [2, 1, 1]})
    found = count_trips(trips, FIRST, FIRST + timedelta(hours=1))
    assert found.to_dict("list") == {
        "hour": [pd.Timestamp(FIRST)] * 2,
        "zone": [1, 2],
        "pickups": [2, 0],
        "dropoffs": [0, 1],
    }


def test_dense_fills_zeros_in_known_hours_only() -> None:
    zones = pd.DataFrame({"zone": [1, 2, 3], "lat": [40.7, 40.71, np.nan], "lon": [-74.0, -74.0, np.nan]})
    hour = pd.to_datetime(["2023-01-09T05:00Z", "2023-01-09T08:00Z", "2023-01-09T08:00Z"]).as_unit("us")
    table = pd.DataFrame({"hour": hour, "zone": [1, 2, 9], "pickups": [4, 5, 7], "dropoffs": [1, 2, 3]})
    found = dense(table, zones)
    assert found["hour"].nunique() == 2  # nobody knows the two hours between
    assert found["pickups"].tolist() == [4, 0, 0, 0, 5, 0]
    assert found["near_pickups"].tolist() == [0, 4, 0, 5, 0, 0]
    assert found["city_pickups"].tolist() == [4, 4, 4, 12, 12, 12]


def test_neighbours_are_the_nearest_zones() -> None:
    rng = np.random.default_rng(3)
    zones = pd.DataFrame(
        {"zone": np.arange(1, 31), "lat": rng.uniform(40.6, 40.8, 30), "lon": rng.uniform(-74, -73, 30)}
    )
    table = pd.DataFrame({"hour": pd.Timestamp(FIRST).as_unit("us"), "zone": zones["zone"], "dropoffs": 0})
    table["pickups"] = rng.integers(0, 9, 30)
    found = dense(table, zones).set_index("zone")["near_pickups"]
    for one in zones.itertuples():
        apart = np.hypot((zones["lat"] - one.lat) * 111.2, (zones["lon"] - one.lon) * 84.3)
        nearest = np.argsort(apart.to_numpy())[1 : NEIGHBOURS + 1]
        assert found[one.zone] == table["pickups"].to_numpy()[nearest].sum()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Settings]:
    monkeypatch.delenv("BOTTEGA_DATA", raising=False)
    settings = load_settings({"workspace": tmp_path / "workspace"})
    return Workspace.open(settings.workspace, settings.online), settings


def test_without_files_the_simulators_trips_are_counted(place: tuple[Workspace, Settings]) -> None:
    first = datetime(2024, 1, 9, 5, tzinfo=UTC)
    span = (first, first + timedelta(days=1))
    found = read_demand_sources(*place, *span, history=timedelta(hours=24))
    assert (found.data_source, found.span) == ("simulator:city_simulator", span)
    demand = found.sources["demand"]
    assert demand["hour"].min() == pd.Timestamp(first - timedelta(hours=25))
    assert (
        demand.groupby("hour")["pickups"].sum().equals(demand.groupby("hour")["city_pickups"].first().rename("pickups"))
    )
    assert 1_500 < demand.loc[demand["hour"] >= first, "pickups"].sum() < 4_000
    again = read_demand_sources(*place, *span)
    assert again.fingerprint == found.fingerprint


def test_a_folders_past_comes_from_the_dataset(place: tuple[Workspace, Settings], tmp_path: Path) -> None:
    workspace, settings = place
    write(rows(hours=24), workspace.data / "tlc_green_demand")
    write(rows(hours=3, start="2023-01-10 00:00"), tmp_path / "given" / "tlc_green_demand")
    zones = pd.DataFrame({"zone": np.arange(1, 5, dtype=np.int32), "lat": 40.7, "lon": -74.0})
    found = read_demand_sources(
        workspace, settings, None, None, data=tmp_path / "given", history=timedelta(hours=9), known={"zones": zones}
    )
    assert found.span == (FIRST + timedelta(days=1), FIRST + timedelta(hours=27))
    assert found.rows == 12
    assert found.sources["demand"]["hour"].nunique() == 3 + 10
    assert found.data_source == str(tmp_path / "given")


def test_real_tables(real_data: Path) -> None:
    found = load_demand(real_data, datetime(2023, 1, 1, 5, tzinfo=UTC), datetime(2023, 2, 1, 5, tzinfo=UTC))
    assert found.table["pickups"].sum() == 68_207
    boroughs = load_borough_demand(
        real_data, datetime(2015, 1, 26, 5, tzinfo=UTC), datetime(2015, 1, 28, 5, tzinfo=UTC)
    )
    assert boroughs.table["borough"].nunique() == 7
    night = boroughs.table["hour"].between("2015-01-27T05:00Z", "2015-01-27T11:00Z")  # the roads were closed
    assert boroughs.table.loc[night, "pickups"].sum() < 500
