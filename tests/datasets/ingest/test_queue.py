"""A queue: the reader's offset moves only past rows that are written, and nothing is there twice."""

import json

import pandas as pd
import pytest

from bottega.datasets.ingest.queue import QueueSource
from bottega.datasets.ingest.run import ingest
from bottega.errors import InvalidData, NotFound
from bottega.eventlog import open_log
from bottega.eventlog.records import encode_rows


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "log.db") as log:
        yield log


@pytest.fixture
def source(tmp_path):
    return QueueSource(str(tmp_path / "log.db"), "weather", "loader", rows_at_once=2)


def test_rows_come_once_in_the_log_order_and_the_broken_ones_are_kept(log, source, weather):
    log.append("weather", [json.dumps(row).encode() for row in weather.good])
    log.append("weather", [b"{", b'{"station":"x","at":0}', b"\xff", b"[1]"])
    found = weather.ingest(source)
    assert (found.rows_read, found.rows) == (7, 3)
    assert found.refused == {"no_object": 3, "wrong_type_station": 1}
    assert weather.stations == [1, 2, 3]
    assert log.committed("loader", "weather") == 7
    assert weather.ingest(source).segments == ()
    assert weather.quarantine()["record"].tolist() == ["{", '{"station":"x","at":0}', "\\xff", "[1]"]
    log.append("weather", [json.dumps(weather.good[0] | {"station": 4}).encode()])
    assert weather.ingest(source).rows == 1
    assert weather.stations == [1, 2, 3, 4]


def test_events_of_the_platform_are_read_exactly(log, source, weather):
    frame = pd.DataFrame(weather.good)
    frame["at"] = pd.to_datetime(frame["at"], format="ISO8601", utc=True).dt.as_unit("us")
    log.append("weather", encode_rows(frame))
    assert weather.ingest(source).rows == 3
    written = weather.store.read("weather")
    pd.testing.assert_frame_equal(written, frame, check_dtype=False)


@pytest.mark.parametrize("rows_at_once", [1, 2, 5])
def test_a_run_that_dies_before_the_commit_replaces_what_it_wrote(log, source, weather, rows_at_once):
    log.append("weather", [json.dumps(weather.good[0] | {"station": i + 1}).encode() for i in range(5)])
    spec = weather.spec(source)
    written = []

    def write_and_die(table, frame, segment):
        weather.store.write(table, frame, segment)
        written.append(segment)
        if len(written) == 2:
            raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        ingest(spec, write_and_die, weather.workspace, weather.now)
    assert log.committed("loader", "weather") == 2
    assert weather.stations == [1, 2, 3, 4]
    other = QueueSource(source.log, source.topic, source.reader, rows_at_once)
    found = weather.ingest(other)
    assert (found.rows_read, found.refused) == (3, {})
    assert weather.stations == [1, 2, 3, 4, 5]
    assert log.committed("loader", "weather") == 5


def test_each_reader_has_an_offset_of_its_own(log, source, weather):
    log.append("weather", [json.dumps(row).encode() for row in weather.good])
    assert weather.ingest(source).rows == 3
    assert weather.ingest(QueueSource(source.log, "weather", "second"), table="again").rows == 3


def test_logs_topics_and_offsets_that_are_not_there(log, source, weather, tmp_path):
    with pytest.raises(NotFound, match=r"There is no event log .*none\.db"):
        weather.ingest(QueueSource(str(tmp_path / "none.db"), "weather", "loader"))
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(NotFound, match=r"has no topic 'weather'\. It has: rain"):
        log.append("rain", [b"{}"])
        weather.ingest(source)
    log.append("weather", [b"{}"] * 9)
    log.commit("loader", "weather", 3)
    log.trim("weather", 5)
    with pytest.raises(NotFound, match="has no record 3 any more: records exist from 5 on"):
        weather.ingest(source)


def test_a_topic_that_was_made_anew_is_not_passed_over(log, source, weather, tmp_path):
    log.append("weather", [json.dumps(row).encode() for row in weather.good])
    weather.ingest(source)
    with open_log(tmp_path / "other.db") as other:
        other.append("weather", [b"{}"] * 9)
        other.commit("loader", "weather", 9)
    # A log whose topic is shorter than what the reader has passed: as after a restore from an older copy.
    import sqlite3

    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("UPDATE topics SET end_offset = 5")
    database.close()
    with pytest.raises(InvalidData, match="goes on at 9, but topic 'weather' ends at 5"):
        weather.ingest(QueueSource(str(tmp_path / "other.db"), "weather", "loader"))
