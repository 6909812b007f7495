"""Files: each row once, again only after a change, in parts, and what is broken is told or kept apart."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bottega.datasets.catalog import Check, Column
from bottega.datasets.ingest.files import FileSource
from bottega.errors import InvalidData, InvalidInput, NotFound


def write_csv(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)


def write_parquet(path, rows):
    frame = pd.DataFrame(rows)
    frame["at"] = pd.to_datetime(frame["at"], format="ISO8601", utc=True)
    frame.to_parquet(path)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_files_are_read_once_and_again_when_they_change(folder, weather):
    write_csv(folder / "a.csv", weather.good[:2])
    write_parquet(folder / "b.parquet", weather.good[2:])
    (folder / "notes.txt").write_text("no table")
    (folder / ".hidden.csv").write_text("no table")
    source = FileSource(str(folder))
    found = weather.ingest(source)
    assert (len(found.segments), found.rows_read, found.rows, found.refused) == (2, 3, 3, {})
    assert weather.ingest(source).segments == ()
    write_csv(folder / "a.csv", [*weather.good[:2], {"station": 0, "at": "2025-12-31T10:00:00Z"}])
    found = weather.ingest(source)
    assert (len(found.segments), found.rows, found.refused) == (1, 2, {"station_out_of_range": 1})
    assert weather.stations == [1, 2, 3]
    table = weather.store.read("weather")
    assert table["at"].iloc[1].isoformat() == "2025-12-31T08:00:00+00:00"
    assert table.dtypes.astype(str).tolist() == ["int64", "datetime64[us, UTC]", "str", "float64"]
    kept = weather.quarantine()
    assert kept[["row", "reason", "station", "kind"]].to_numpy().tolist() == [[2, "station_out_of_range", "0", ""]]
    write_csv(folder / "a.csv", weather.good[:2])
    weather.ingest(source)
    assert not list((weather.workspace.quarantine / "weather").iterdir())


def test_files_with_like_names_do_not_replace_each_other(folder, weather):
    (folder / "sub").mkdir()
    names = ["a-b.csv", "a_b.csv", "a b.CSV", "sub/a_b.csv", "ä_b.csv"]
    for i, name in enumerate(names):
        write_csv(folder / name, [weather.good[0] | {"station": i + 1}])
    assert weather.ingest(FileSource(str(folder / "**" / "*b.[cC]*"))).rows == 5
    assert sorted(weather.stations) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_long_file_comes_in_parts_and_parts_that_are_gone_are_emptied(folder, weather, write):
    rows = [weather.good[0] | {"station": i + 1} for i in range(7)]
    file = folder / ("a.csv" if write is write_csv else "a.parquet")
    source = FileSource(str(file), rows_at_once=3)
    write(file, rows)
    assert len(weather.ingest(source).segments) == 3
    assert weather.stations == [1, 2, 3, 4, 5, 6, 7]
    write(file, rows[3:5])
    os.utime(file, ns=(1, 1))
    assert len(weather.ingest(source).segments) == 1
    assert weather.stations == [4, 5]
    write(file, rows)  # the keys of the parts that were emptied are free again
    assert weather.ingest(source).refused == {}
    assert weather.stations == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_an_interrupted_file_goes_on_with_the_part_that_was_missing(folder, weather, write):
    rows = [weather.good[0] | {"station": i + 1} for i in range(7)]
    file = folder / ("a.csv" if write is write_csv else "a.parquet")
    write(file, rows)
    spec = weather.spec(FileSource(str(file), rows_at_once=2))
    from bottega.datasets.ingest.run import ingest

    written = []

    def write_two(table, frame, segment):
        if len(written) == 2:
            raise OSError("the disk said no")
        written.append(segment)
        weather.store.write(table, frame, segment)

    with pytest.raises(OSError, match="the disk said no"):
        ingest(spec, write_two, weather.workspace, weather.now)
    found = weather.run(spec)
    assert (found.rows_read, len(found.segments)) == (3, 2)
    assert weather.stations == [1, 2, 3, 4, 5, 6, 7]
    assert weather.run(spec).segments == ()


def test_a_csv_row_with_another_number_of_fields_is_kept_apart_and_nothing_is_lost(folder, weather):
    (folder / "a.csv").write_text(
        "station,at,kind,temperature_c\n"
        "1,2025-12-31T10:00:00Z,rain,3\n"
        "2,2025-12-31T10:00:00Z,rain\n"
        "\n"
        '3,2025-12-31T10:00:00Z,"rain",3,4\n'
        "4,2025-12-31T10:00:00Z,dry,1\n"
        "5,2025-12"  # cut off
    )
    found = weather.ingest(FileSource(str(folder)))
    assert (found.rows_read, found.rows, found.refused) == (5, 2, {"wrong_number_of_fields": 3})
    assert weather.stations == [1, 4]
    kept = weather.quarantine()
    assert kept["row"].tolist() == [1, 2, 4]
    assert kept["record"].tolist()[1:] == ['["3","2025-12-31T10:00:00Z","rain","3","4"]', '["5","2025-12"]']


def test_text_stays_text_whatever_it_looks_like(folder, weather):
    (folder / "a.csv").write_bytes(
        '\ufeffzip;note\n00501;NA\n10001;"two\nlines; ""quoted"""\n;null\n'.encode()  # with a byte order mark
    )
    columns = (Column("code", "text", official="zip", nullable=True), Column("note", "text"))
    assert weather.ingest(FileSource(str(folder), ";"), columns=columns, checks=()).rows == 3
    table = weather.store.read("weather")
    assert table["code"].tolist()[:2] == ["00501", "10001"]
    assert table["code"].isna().tolist() == [False, False, True]
    assert table["note"].tolist() == ["NA", 'two\nlines; "quoted"', "null"]


def test_large_whole_numbers_stay_exact_beside_nulls(folder, weather):
    (folder / "a.csv").write_text("id\n9007199254740993\n")
    (folder / "b.csv").write_text("id,x\n,1\n9007199254740995,2\n")
    weather.ingest(FileSource(str(folder)), columns=(Column("id", "integer", nullable=True),), checks=())
    assert weather.store.read("weather")["id"].dropna().tolist() == [9007199254740993, 9007199254740995]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it has no header line"),
        (b"station,station\n1,2\n", "the header line is no list of different names"),
        (b"station,at\n1,2025-12-31T10:00:00Z\n", "has no column 'x'. It has: station, at"),
        (b"x,at\n\xff,2\n", "cannot be read beyond line .: 'utf-8' codec"),
        (b'x,at\n1,"never closed\n', "cannot be read beyond line 2: unexpected end of data"),
    ],
)
def test_a_broken_csv_says_what_is_wrong(folder, weather, content, message):
    (folder / "a.csv").write_bytes(content)
    with pytest.raises(InvalidData, match=message):
        weather.ingest(FileSource(str(folder)), columns=(Column("x", "text"),), checks=())


def test_a_broken_parquet_file_says_what_is_wrong(folder, weather):
    file = folder / "a.parquet"
    write_parquet(file, weather.good)
    whole = file.read_bytes()
    for content, message in [
        (whole[:-100], "is a truncated Parquet file"),
        (b"", "is empty"),
        (b"station,at\n1,2\n", "is named .parquet but holds CSV text"),
        (whole[:4] + b"\0" * (len(whole) - 12) + whole[-8:], "damaged Parquet file"),
    ]:
        file.write_bytes(content)
        with pytest.raises(InvalidData, match=message):
            weather.ingest(FileSource(str(folder)))
    file.write_bytes(whole)
    assert weather.ingest(FileSource(str(folder))).rows == 3


def test_a_parquet_file_of_another_schema_is_named_and_the_files_before_it_are_kept(folder, weather):
    write_parquet(folder / "a.parquet", weather.good)
    bad = pa.table({"station": ["four"], "at": pa.array([0], pa.timestamp("us", "UTC"))})
    pq.write_table(bad, folder / "b.parquet")
    with pytest.raises(InvalidData, match=r"b\.parquet: the column 'station' is string; it is declared integer"):
        weather.ingest(FileSource(str(folder)))
    assert weather.stations == [1, 2, 3]
    pq.write_table(bad.drop(["at"]), folder / "b.parquet")
    with pytest.raises(InvalidData, match=r"b\.parquet"):
        weather.ingest(FileSource(str(folder)))
    pq.write_table(bad.set_column(0, "station", pa.array([4])), folder / "b.parquet")  # nullable columns may be absent
    assert weather.ingest(FileSource(str(folder))).rows == 1
    assert weather.stations == [1, 2, 3, 4]


def test_naive_parquet_times_need_a_zone(folder, weather):
    at = pa.array(np.array(["2025-07-01T12:00"], "datetime64[us]"))
    pq.write_table(pa.table({"station": [1], "at": at}), folder / "a.parquet")
    assert weather.ingest(FileSource(str(folder))).refused == {"no_offset_at": 1}
    assert weather.ingest(FileSource(str(folder)), timezone="America/New_York").rows == 1  # declared anew: read again
    assert weather.store.read("weather")["at"].iloc[0].isoformat() == "2025-07-01T16:00:00+00:00"


def test_files_that_are_not_there_and_files_of_other_kinds(folder, weather):
    for path in ("none.csv", "*.csv", "."):
        with pytest.raises(NotFound, match="There is no file"):
            weather.ingest(FileSource(str(folder / path)))
    (folder / "a.xls").write_text("x")
    with pytest.raises(InvalidInput, match=r"is neither \.csv nor \.parquet"):
        weather.ingest(FileSource(str(folder / "*")))
    with pytest.raises(InvalidInput, match=r"source\.path"):
        weather.ingest(FileSource(str(folder / "x**" / "*.csv")))


def test_duplicates_are_found_across_files(folder, weather):
    write_csv(folder / "a.csv", weather.good)
    write_csv(folder / "b.csv", [*weather.good[1:], weather.good[0] | {"station": 4}])
    found = weather.ingest(FileSource(str(folder)))
    assert (found.rows, found.refused) == (4, {"duplicate": 2})
    assert weather.stations == [1, 2, 3, 4]


def test_rules_that_change_are_applied_to_what_was_read_before(folder, weather):
    write_csv(folder / "a.csv", weather.good)
    source = FileSource(str(folder))
    weather.ingest(source)
    strict = (Check("cold", "range", "temperature_c", minimum=0),)
    assert weather.ingest(source, checks=strict).refused == {"cold": 1}
    assert weather.stations == [1, 2]
