"""Files that are not what they claim end in an error that says which file, column or row, and the next step."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bottega.datasets.catalog import dataset
from bottega.datasets.tripfiles import month_in_name, read_trips, trip_files
from bottega.errors import InvalidData, NotFound

TLC = dataset("tlc_green_trips")


@pytest.mark.parametrize(
    ("name", "month"),
    [
        ("green_tripdata_2023-01.parquet", "2023-01"),
        ("2023-01-17.csv", "2023-01"),
        ("trips_2023-01_to_2023-03.csv", None),
        ("trips.parquet", None),
        ("run_12023-011.csv", None),
        ("2023-13.csv", None),
    ],
)
def test_the_month_in_a_name(name: str, month: str | None) -> None:
    assert month_in_name(Path(name)) == month


def test_a_truncated_parquet(tmp_path: Path, trips: pd.DataFrame) -> None:
    file = tmp_path / "t.parquet"
    trips.to_parquet(file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InvalidData, match=r"t\.parquet is a truncated Parquet file.* Fetch it again"):
        read_trips(file, TLC)


def test_a_parquet_damaged_inside(tmp_path: Path, trips: pd.DataFrame) -> None:
    file = tmp_path / "t.parquet"
    trips.to_parquet(file)
    content = bytearray(file.read_bytes())
    content[4:200] = bytes(196)
    file.write_bytes(content)
    with pytest.raises(InvalidData, match=r"t\.parquet is a damaged Parquet file"):
        read_trips(file, TLC)


def test_a_csv_renamed_parquet(tmp_path: Path, trips: pd.DataFrame) -> None:
    file = tmp_path / "t.parquet"
    trips.to_csv(file, index=False)
    with pytest.raises(InvalidData, match=r"t\.parquet is named \.parquet but holds CSV text\. Rename it to \.csv"):
        read_trips(file, TLC)


def test_a_parquet_renamed_csv(tmp_path: Path, trips: pd.DataFrame) -> None:
    file = tmp_path / "t.csv"
    trips.to_parquet(file)
    with pytest.raises(InvalidData, match=r"t\.csv is named \.csv but holds Parquet"):
        read_trips(file, TLC)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidData, match=rf"{name} is empty"):
        read_trips(tmp_path / name, TLC)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_without_rows(tmp_path: Path, trips: pd.DataFrame, suffix: str) -> None:
    file = tmp_path / f"t.{suffix}"
    trips.head(0).to_parquet(file) if suffix == "parquet" else trips.head(0).to_csv(file, index=False)
    with pytest.raises(InvalidData, match=r"has no rows"):
        read_trips(file, TLC)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_missing_column_is_named_as_the_file_would_name_it(tmp_path: Path, trips: pd.DataFrame, suffix: str) -> None:
    from_publisher = trips.rename(columns={c.name: c.official for c in TLC.columns}).drop(columns="fare_amount")
    file = tmp_path / f"t.{suffix}"
    from_publisher.to_parquet(file) if suffix == "parquet" else from_publisher.to_csv(file, index=False)
    with pytest.raises(InvalidData, match=r"lacks the column fare_amount; it has lpep_pickup_datetime, "):
        read_trips(file, TLC)


def test_a_table_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "zones.parquet"
    pd.DataFrame({"zone": [1], "borough": ["EWR"]}).to_parquet(file)
    with pytest.raises(InvalidData, match=r"zones\.parquet is no trip file.*it has zone, borough"):
        read_trips(file, TLC)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("distance_mi", pa.array(["a", "b"]), "the column 'distance_mi' is string; it must hold numbers"),
        ("pu_zone", pa.array([True, False]), "the column 'pu_zone' is bool; it must hold numbers"),
        ("pickup_at", pa.array(["2023-01-01", "x"]), "the column 'pickup_at' is string; it must hold timestamps"),
        ("dropoff_at", pa.array([1, 2], pa.timestamp("us", "UTC")), "tz=UTC.*; it must hold timestamps of the wall"),
    ],
)
def test_a_parquet_column_of_the_wrong_type(
    tmp_path: Path, trips: pd.DataFrame, column: str, values: pa.Array, said: str
) -> None:
    table = pa.Table.from_pandas(trips.head(2), preserve_index=False)
    table = table.set_column(table.schema.get_field_index(column), column, values)
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InvalidData, match=said):
        read_trips(tmp_path / "t.parquet", TLC)


def test_a_csv_column_without_one_sound_value_names_its_first_row(tmp_path: Path, trips: pd.DataFrame) -> None:
    trips.assign(fare_usd="free").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidData, match=r"the column 'fare_usd' holds 'free' in data row 1; it must hold a number"):
        read_trips(tmp_path / "t.csv", TLC)


def test_a_csv_with_a_short_row_names_the_row(tmp_path: Path, trips: pd.DataFrame) -> None:
    file = tmp_path / "t.csv"
    trips.to_csv(file, index=False)
    file.write_text(file.read_text() + "2023-01-05 10:00:00,2023-01-05\n")
    with pytest.raises(InvalidData, match=r"t\.csv is no sound CSV: Row #6: Expected 8 columns, got 2"):
        read_trips(file, TLC)


def test_a_column_that_comes_twice(tmp_path: Path, trips: pd.DataFrame) -> None:
    trips.assign(Fare_USD=1.0).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidData, match="has the column 'fare_usd' twice"):
        read_trips(tmp_path / "t.parquet", TLC)


def test_paths(tmp_path: Path, trips: pd.DataFrame) -> None:
    with pytest.raises(NotFound, match=r"nowhere does not exist"):
        trip_files(tmp_path / "nowhere")
    with pytest.raises(InvalidData, match=r"holds no trip files"):
        trip_files(tmp_path)
    with pytest.raises(InvalidData, match=r"t\.txt is neither \.parquet nor \.csv"):
        (tmp_path / "t.txt").write_text("x")
        read_trips(tmp_path / "t.txt", TLC)
    folder = tmp_path / "tlc_green_trips"
    folder.mkdir()
    trips.to_csv(folder / "b.CSV", index=False)
    trips.to_parquet(folder / "a.parquet")
    assert trip_files(tmp_path) == trip_files(folder) == (folder / "a.parquet", folder / "b.CSV")


def test_csv_times_as_the_city_exports_them(tmp_path: Path, trips: pd.DataFrame) -> None:
    american = trips.assign(
        pickup_at=trips.pickup_at.dt.strftime("%m/%d/%Y %I:%M:%S %p"),
        dropoff_at=trips.dropoff_at.dt.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    american.to_csv(tmp_path / "t.csv", index=False)
    raw = read_trips(tmp_path / "t.csv", TLC)
    assert (raw.values["pickup_at"] == trips.pickup_at.to_numpy()).all()
    assert (raw.values["dropoff_at"] == trips.dropoff_at.to_numpy()).all()
    assert not raw.wrong_type.any()
