"""Trips become one canonical table; refused rows are counted by reason and kept."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bottega.datasets.catalog import dataset
from bottega.datasets.trips import Loaded, available_span, load_trips
from bottega.errors import InvalidData, InvalidInput
from bottega.settings import Settings
from bottega.workspace import Workspace

NEW_YORK = ZoneInfo("America/New_York")
OFFICIAL = {column.name: column.official for column in dataset("tlc_green_trips").columns}


def load(file: Path, workspace: Workspace, since: datetime | None = None, until: datetime | None = None) -> Loaded:
    return load_trips(file, workspace, Settings(), since, until)


def test_the_canonical_table(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    trips.iloc[::-1].to_parquet(tmp_path / "green_2023-01.parquet")
    loaded = load(tmp_path / "green_2023-01.parquet", workspace)
    assert {name: str(dtype) for name, dtype in loaded.table.dtypes.items()} == {
        "trip_id": "int64",
        "pickup_at": "datetime64[us, UTC]",
        "dropoff_at": "datetime64[us, UTC]",
        "pu_zone": "int32",
        "do_zone": "int32",
        "distance_mi": "float64",
        "fare_usd": "float64",
        "rate_code": "float64",
        "passengers": "float64",
        "duration_min": "float64",
        "speed_kmh": "float64",
    }
    assert loaded.table.trip_id.tolist() == [202301000000003, 202301000000002, 202301000000001, 202301000000000]
    expected = [moment.replace(tzinfo=NEW_YORK).astimezone(UTC) for moment in trips.pickup_at.dt.to_pydatetime()]
    assert loaded.table.pickup_at.tolist() == expected
    assert loaded.table.duration_min.tolist() == [12.0, 25.5, 7.0, 20.0]
    np.testing.assert_allclose(loaded.table.speed_kmh[0], 2.1 * 1.609344 / 0.2)
    assert np.isnan(loaded.table.rate_code[2])
    assert loaded.rejected == {}
    assert loaded.month_rules == {"green_2023-01.parquet": "2023-01, from the file's name"}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("numbers", ["int32", "int64", "float64", "Int16"])
def test_both_schemas_and_formats_give_equal_tables(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame, unit: str, numbers: str
) -> None:
    times = {name: trips[name].astype(f"datetime64[{unit}]") for name in ("pickup_at", "dropoff_at")}
    zones = {name: trips[name].astype(numbers) for name in ("pu_zone", "do_zone")}
    changed = trips.assign(**times, **zones)
    official = changed.rename(columns=OFFICIAL).assign(VendorID=2, tip_amount=1.0)
    changed.to_parquet(tmp_path / "a_2023-01.parquet")
    official.to_parquet(tmp_path / "b_2023-01.parquet")
    official.rename(columns=str.lower).to_parquet(tmp_path / "c_2023-01.parquet")
    changed.to_csv(tmp_path / "d_2023-01.csv", index=False)
    official.rename(columns=str.upper).to_csv(tmp_path / "e_2023-01.csv", index=False)
    loaded = [load(file, workspace) for file in sorted(tmp_path.glob("*_2023-01.*"))]
    assert len(loaded) == 5
    for other in loaded[1:]:
        pd.testing.assert_frame_equal(loaded[0].table, other.table)
        assert other.fingerprint == loaded[0].fingerprint


def test_each_row_is_refused_for_the_first_rule_it_breaks(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame
) -> None:
    row = trips.iloc[:1]
    at = pd.Timestamp
    bad = [
        ("null_pickup_at", {"pickup_at": pd.NaT, "distance_mi": 0.0}),
        ("null_dropoff_at", {"dropoff_at": pd.NaT}),
        ("null_pu_zone", {"pu_zone": None, "fare_usd": -1.0}),
        ("null_do_zone", {"do_zone": None}),
        ("null_distance_mi", {"distance_mi": None}),
        ("null_fare_usd", {"fare_usd": None}),
        ("wrong_month", {"pickup_at": at("2009-01-01 00:00"), "dropoff_at": at("2009-01-01 00:10")}),
        ("wrong_month", {"pickup_at": at("2023-02-01 00:00"), "dropoff_at": at("2023-02-01 00:10")}),
        ("duration_out_of_range", {"dropoff_at": at("2023-01-03 08:00:59")}),
        ("duration_out_of_range", {"dropoff_at": at("2023-01-03 11:00:01"), "distance_mi": 0.0}),
        ("duration_out_of_range", {"dropoff_at": at("2023-01-03 07:59")}),
        ("distance_out_of_range", {"distance_mi": 0.04}),
        ("distance_out_of_range", {"distance_mi": 100.01}),
        ("distance_out_of_range", {"distance_mi": float("inf")}),
        ("fare_out_of_range", {"fare_usd": 0.0}),
        ("fare_out_of_range", {"fare_usd": -3.0}),
        ("unknown_zone", {"pu_zone": 0}),
        ("unknown_zone", {"do_zone": 266}),
    ]
    good = [
        {"dropoff_at": at("2023-01-03 08:01")},
        {"dropoff_at": at("2023-01-03 11:00")},
        {"distance_mi": 0.05},
        {"distance_mi": 100.0},
        {"fare_usd": 0.01},
        {"pu_zone": 1, "do_zone": 265},
        {"rate_code": None, "passengers": None},
    ]
    changes = [change for _, change in bad] + good
    table = pd.concat([row.assign(**change) for change in changes], ignore_index=True)
    for name in ("pickup_at", "dropoff_at"):
        table[name] = pd.to_datetime(table[name]).astype("datetime64[us]")
    for name in ("pu_zone", "do_zone", "distance_mi", "fare_usd", "rate_code", "passengers"):
        table[name] = pd.to_numeric(table[name]).astype(float)
    file = tmp_path / "green_2023-01.parquet"
    table.to_parquet(file)
    loaded = load(file, workspace)
    assert len(loaded.table) == len(good)
    wanted = pd.Series([reason for reason, _ in bad]).value_counts().to_dict()
    assert loaded.rejected == wanted
    kept = pd.read_parquet(workspace.quarantine / "tlc_green_trips" / "green_2023-01.parquet.parquet")
    assert kept.reason.tolist() == [reason for reason, _ in bad]
    assert kept.row.tolist() == list(range(len(bad)))
    pd.testing.assert_frame_equal(kept[list(table.columns)], table.iloc[: len(bad)], check_dtype=False)


def test_csv_values_that_do_not_parse_are_counted_and_kept_as_they_were(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame
) -> None:
    table = trips.astype(object)
    table.loc[0, "distance_mi"] = "two"
    table.loc[1, "pickup_at"] = "yesterday"
    table.loc[2, "passengers"] = "many"
    table.to_csv(tmp_path / "x_2023-01.csv", index=False)
    loaded = load(tmp_path / "x_2023-01.csv", workspace)
    assert loaded.rejected == {"wrong_type": 3}
    assert len(loaded.table) == 1
    kept = pd.read_parquet(workspace.quarantine / "tlc_green_trips" / "x_2023-01.csv.parquet")
    assert (kept.distance_mi[0], kept.pickup_at[1], kept.passengers[2]) == ("two", "yesterday", "many")


def test_a_clean_reload_clears_the_quarantine(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    file = tmp_path / "green_2023-01.parquet"
    report = workspace.quarantine / "tlc_green_trips" / "green_2023-01.parquet.parquet"
    trips.assign(fare_usd=[1.0, 2.0, 3.0, -4.0]).to_parquet(file)
    load(file, workspace)
    assert report.exists()
    trips.to_parquet(file)
    load(file, workspace)
    assert not report.exists()


def test_daylight_saving_in_spring(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    """On 12 March 2023 New York's clock skips 02:00 to 03:00."""
    times = [("01:50", "03:10"), ("02:30", "03:10"), ("01:50", "02:10"), ("03:00", "03:20")]
    table = _on(trips, "2023-03-12", times)
    table.to_parquet(tmp_path / "green_2023-03.parquet")
    loaded = load(tmp_path / "green_2023-03.parquet", workspace)
    assert loaded.rejected == {"nonexistent_local_time": 2}
    assert loaded.table.duration_min.tolist() == [20.0, 20.0]
    assert loaded.table.pickup_at.dt.strftime("%H:%M").tolist() == ["06:50", "07:00"]


def test_daylight_saving_in_autumn(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    """On 5 November 2023 the clock shows 01:00 to 02:00 twice: the first one counts, at either end of a trip."""
    times = [("00:50", "01:20"), ("01:30", "01:50"), ("01:50", "02:10"), ("02:00", "02:10")]
    table = _on(trips, "2023-11-05", times)
    table.to_parquet(tmp_path / "green_2023-11.parquet")
    loaded = load(tmp_path / "green_2023-11.parquet", workspace)
    assert loaded.table.pickup_at.dt.strftime("%H:%M").tolist() == ["04:50", "05:30", "05:50", "07:00"]
    assert loaded.table.duration_min.tolist() == [30.0, 20.0, 80.0, 10.0]


def _on(trips: pd.DataFrame, day: str, times: list[tuple[str, str]]) -> pd.DataFrame:
    return trips.assign(
        pickup_at=pd.to_datetime([f"{day} {start}" for start, _ in times]).astype("datetime64[us]"),
        dropoff_at=pd.to_datetime([f"{day} {end}" for _, end in times]).astype("datetime64[us]"),
    )


def _rows(trips: pd.DataFrame, days: list[str]) -> pd.DataFrame:
    table = pd.concat([trips.iloc[:1]] * len(days), ignore_index=True)
    table["pickup_at"] = pd.to_datetime(days).astype("datetime64[us]")
    table["dropoff_at"] = table.pickup_at + pd.to_timedelta(np.arange(len(days)) % 50 + 5, unit="m")
    return table


def test_without_a_month_in_the_name_99_percent_decide(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame
) -> None:
    _rows(trips, ["2023-01-05 10:00"] * 198 + ["2023-02-01 10:00", "2009-01-01 10:00"]).to_parquet(
        tmp_path / "a.parquet"
    )
    loaded = load(tmp_path / "a.parquet", workspace)
    assert loaded.rejected == {"wrong_month": 2}
    assert loaded.month_rules == {"a.parquet": "2023-01, the month of 198 of 200 rows"}
    assert loaded.table.trip_id.iloc[-1] == 202301000000197

    _rows(trips, ["2023-01-05 10:00"] * 197 + ["2023-02-01 10:00"] * 3).to_parquet(tmp_path / "b.parquet")
    loaded = load(tmp_path / "b.parquet", workspace)
    assert loaded.rejected == {}
    assert loaded.month_rules == {"b.parquet": "no month check: the rows spread over 2 months"}
    assert loaded.table.trip_id.iloc[-1] == 199


def test_months_are_new_york_months(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    trips.to_parquet(tmp_path / "green_2023-01.parquet")  # one pickup at 23:50 on 31 January, in UTC already February
    loaded = load(tmp_path / "green_2023-01.parquet", workspace)
    assert loaded.table.pickup_at.max() == datetime(2023, 2, 1, 4, 50, tzinfo=UTC)


def test_a_span_reads_only_the_months_it_needs(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    folder = tmp_path / "trips"
    folder.mkdir()
    trips.assign(fare_usd=[12.0, -1.0, 8.0, 0.0]).to_parquet(folder / "green_2023-01.parquet")
    (folder / "green_2023-02.parquet").write_bytes(b"not read")
    since, until = datetime(2023, 1, 3, 13, tzinfo=UTC), datetime(2023, 1, 10, 23, 0, 1, tzinfo=UTC)
    loaded = load(folder, workspace, since, until)
    assert loaded.table.pickup_at.min() == since
    assert len(loaded.table) == 2
    assert loaded.rejected == {"fare_out_of_range": 1}  # the other refused row lies outside the span
    assert loaded.files == (str(folder / "green_2023-01.parquet"),)


@pytest.mark.parametrize("name", ["green_2023-01.parquet", "trips.parquet"])
@pytest.mark.parametrize("year", [2010, 2030])
def test_a_span_outside_the_data_says_what_there_is(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame, name: str, year: int
) -> None:
    trips.to_parquet(tmp_path / name)
    with pytest.raises(InvalidInput, match=r"has data from 2023-01-0[13]T\d\d:\d\dZ to 2023-02-01T04:\d\dZ"):
        load(tmp_path / name, workspace, datetime(year, 1, 1, tzinfo=UTC), datetime(year, 2, 1, tzinfo=UTC))


def test_spans_need_offsets_and_order(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    trips.to_parquet(tmp_path / "green_2023-01.parquet")
    with pytest.raises(InvalidInput, match="has no offset"):
        load(tmp_path, workspace, datetime(2023, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidInput, match="is empty"):
        load(tmp_path, workspace, datetime(2023, 1, 2, tzinfo=UTC), datetime(2023, 1, 2, tzinfo=UTC))


def test_available_span_ignores_wrong_months(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    dirty = trips.copy()
    dirty.loc[0, "pickup_at"] = pd.Timestamp("2009-01-01")
    dirty.to_parquet(tmp_path / "green_2023-01.parquet")
    first, last = available_span(tmp_path, workspace, Settings())
    assert (first, last) == (datetime(2023, 1, 3, 14, 30, tzinfo=UTC), datetime(2023, 2, 1, 4, 50, tzinfo=UTC))


def test_the_same_month_twice_counts_once(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    folder = tmp_path / "trips"
    folder.mkdir()
    trips.to_parquet(folder / "a_2023-01.parquet")
    trips.rename(columns=OFFICIAL).to_csv(folder / "b_2023-01.csv", index=False)
    loaded = load(folder, workspace)
    assert len(loaded.table) == 4
    assert loaded.rejected == {"duplicate": 4}
    again = pd.concat([trips, trips], ignore_index=True)  # within one file, equal rows are the file's own business
    again.to_parquet(tmp_path / "c_2023-01.parquet")
    loaded = load(tmp_path / "c_2023-01.parquet", workspace)
    assert len(loaded.table) == 8 and loaded.table.trip_id.is_unique


def test_parts_of_a_month_have_different_ids(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    folder = tmp_path / "trips"
    folder.mkdir()
    trips.iloc[:2].to_parquet(folder / "2023-01-a.parquet")
    trips.iloc[2:].to_parquet(folder / "2023-01-b.parquet")
    whole = tmp_path / "2023-01.parquet"
    trips.to_parquet(whole)
    pd.testing.assert_frame_equal(load(folder, workspace).table, load(whole, workspace).table)


def test_when_every_row_is_refused_the_error_says_why(
    tmp_path: Path, workspace: Workspace, trips: pd.DataFrame
) -> None:
    trips.to_parquet(tmp_path / "green_2021-06.parquet")
    with pytest.raises(InvalidData, match=r"No row .* passes the checks: wrong_month 4 .*2021-06, from the file"):
        load(tmp_path / "green_2021-06.parquet", workspace)


def test_optional_columns_may_be_null_or_absent(tmp_path: Path, workspace: Workspace, trips: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(trips.drop(columns="passengers"), preserve_index=False)
    index = table.schema.get_field_index("rate_code")
    pq.write_table(table.set_column(index, "rate_code", pa.nulls(4)), tmp_path / "green_2023-01.parquet")
    loaded = load(tmp_path / "green_2023-01.parquet", workspace)
    assert loaded.table.rate_code.isna().all() and loaded.table.passengers.isna().all()


CLEAN_ROWS = {
    "2020-03": 211868,  # two rows fewer than without daylight saving: their times did not exist on 8 March 2020
    "2020-04": 33148,
    "2020-07": 67232,
    "2020-10": 89869,
    "2021-01": 72064,
    "2023-01": 63873,
    "2023-02": 60915,
    "2024-01": 52650,
}


@pytest.mark.parametrize("month", CLEAN_ROWS)
def test_clean_rows_of_real_months(real_data: Path, workspace: Workspace, month: str) -> None:
    file = real_data / "tlc_green_trips" / f"green_{month}.parquet"
    loaded = load(file, workspace)
    assert len(loaded.table) == CLEAN_ROWS[month]
    assert len(loaded.table) + sum(loaded.rejected.values()) == pq.read_metadata(file).num_rows
    assert loaded.table.trip_id.is_unique and loaded.table.pickup_at.is_monotonic_increasing


def test_a_real_month_in_the_publishers_schema(real_data: Path, workspace: Workspace, tmp_path: Path) -> None:
    trimmed = real_data / "tlc_green_trips" / "green_2024-01.parquet"
    official = tmp_path / "green_tripdata_2024-01.parquet"
    pd.read_parquet(trimmed).rename(columns=OFFICIAL).to_parquet(official)
    assert load(official, workspace).fingerprint == load(trimmed, workspace).fingerprint
