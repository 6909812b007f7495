"""What every event log does, whichever it is."""

import os
import threading
import time

import numpy as np
import pytest

from bottega.errors import Conflict, InvalidInput, NotFound


def numbered(first: int, count: int) -> list[bytes]:
    return [b"record %d" % number for number in range(first, first + count)]


def read_all(log, topic, offset=0, limit=1000):
    records = []
    while batch := log.read(topic, offset, limit):
        assert len(batch) <= limit
        assert batch.first == offset
        assert list(batch.offsets) == list(range(offset, batch.next))
        records += batch.records
        offset = batch.next
    return records


def test_what_was_appended_is_what_is_read(place):
    topic = place.topic()
    log = place.open()
    records = [b"", b"\x00\xff", "grüße".encode(), *numbered(0, 2000), b"x" * 900_000]
    assert log.append(topic, records[:1]) == 1
    assert log.append(topic, records[1:]) == len(records)
    assert (log.begin(topic), log.end(topic)) == (0, len(records))
    assert read_all(log, topic) == records
    assert read_all(place.open(), topic, limit=77) == records


def test_a_batch_starts_where_it_is_asked_to_and_holds_at_most_the_limit(place):
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 100))
    for offset, limit in ((0, 1), (99, 1), (50, 7), (98, 2), (3, 3)):
        batch = log.read(topic, offset, limit)
        assert (batch.topic, batch.first, batch.next) == (topic, offset, offset + limit)
        assert batch.records == numbered(offset, limit)


def test_at_the_end_and_beyond_it_a_batch_is_empty(place):
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 3))
    for offset in (3, 4, 10**12):
        batch = log.read(topic, offset, 10)
        assert (batch.records, batch.first, batch.next, list(batch.offsets)) == ([], offset, offset, [])
    log.append(topic, numbered(3, 1))
    assert log.read(topic, 3, 10).records == [b"record 3"]


def test_a_topic_that_nobody_appended_to_is_empty(place):
    log = place.open()
    assert (log.begin("nothing-here"), log.end("nothing-here")) == (0, 0)
    assert log.read("nothing-here", 0, 10).records == []
    log.commit("reader", "nothing-here", 0)
    assert log.committed("reader", "nothing-here") == 0
    assert "nothing-here" not in log.topics()


def test_an_append_of_nothing_changes_nothing(place):
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 2))
    assert log.append(topic, []) == 2
    assert log.end(topic) == 2


def test_topics_do_not_touch_each_other(place):
    one, two = place.topic(), place.topic()
    log = place.open()
    log.append(one, numbered(0, 5))
    log.append(two, numbered(100, 3))
    log.append(one, numbered(5, 5))
    assert read_all(log, one) == numbered(0, 10)
    assert read_all(log, two) == numbered(100, 3)
    assert {one, two} <= set(log.topics())
    assert list(log.topics()) == sorted(log.topics())


def test_a_reader_goes_on_where_it_committed(place):
    topic, other = place.topic(), place.topic()
    reader = f"reader-of-{topic}"
    log = place.open()
    log.append(topic, numbered(0, 10))
    assert log.committed(reader, topic) == 0
    log.commit(reader, topic, 7)
    assert place.open().committed(reader, topic) == 7
    assert log.committed("another-" + reader, topic) == 0
    assert log.committed(reader, other) == 0
    log.commit(reader, topic, 2)
    log.commit(reader, topic, np.int64(10))
    assert log.committed(reader, topic) == 10
    log.commit(reader, topic, 2)
    assert log.committed(reader, topic) == 2


def test_nobody_commits_what_nobody_can_have_read(place):
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 10))
    with pytest.raises(InvalidInput, match=r"commits offset 11 of topic .* ends at 10"):
        log.commit("reader", topic, 11)


def test_a_read_waits_for_the_next_record(place):
    topic = place.topic()
    log, writer = place.open(), place.open()
    writer.append(topic, numbered(0, 1))
    found = []
    waiting = threading.Thread(target=lambda: found.append(log.read(topic, 1, 10, wait_s=60)))
    waiting.start()
    time.sleep(0.1)
    writer.append(topic, numbered(1, 1))
    waiting.join()
    assert found[0].records == [b"record 1"]


def test_a_wait_ends(place):
    topic = place.topic()
    log = place.open()
    started = time.monotonic()
    assert log.read(topic, 0, 10, wait_s=0.2).records == []
    assert time.monotonic() - started >= 0.2


def test_two_writers_and_a_reader_at_once(place):
    topic = place.topic()
    logs = [place.open(), place.open()]

    def write(writer: int) -> None:
        for batch in range(20):
            logs[writer].append(topic, [b"%d %d" % (writer, batch * 10 + i) for i in range(10)])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in (0, 1)]
    for thread in threads:
        thread.start()
    seen, reader = [], place.open()
    while len(seen) < 400:
        batch = reader.read(topic, len(seen), 33, wait_s=60)
        assert batch.records, "a record is missing"
        seen += batch.records
    for thread in threads:
        thread.join()
    assert read_all(reader, topic) == seen
    for writer in (b"0", b"1"):
        mine = [record for record in seen if record.startswith(writer)]
        assert mine == [b"%s %d" % (writer, i) for i in range(200)]


def test_threads_share_a_log(place):
    topics = [place.topic() for _ in range(4)]
    log = place.open()
    found = {}

    def work(topic: str) -> None:
        for batch in range(10):
            log.append(topic, [topic.encode() + b"%d" % i for i in range(batch * 10, batch * 10 + 10)])
        found[topic] = read_all(log, topic, limit=7)

    threads = [threading.Thread(target=work, args=(topic,)) for topic in topics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {topic: [topic.encode() + b"%d" % i for i in range(100)] for topic in topics}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # forking beside threads is what is tried here
def test_a_forked_process_has_connections_of_its_own(place):
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 10))
    assert len(log.read(topic, 0, 5)) == 5
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ended = log.append(topic, numbered(10, 10))
            status = 0 if (ended, read_all(log, topic)) == (20, numbered(0, 20)) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert log.append(topic, numbered(20, 5)) == 25
    assert read_all(log, topic, 5) == numbered(5, 20)


def test_a_trim_removes_the_oldest_records(place):
    if place.kind == "mock Kafka":
        pytest.skip("librdkafka's mock cluster does not know DeleteRecords")
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 10))
    log.trim(topic, 4)
    assert (log.begin(topic), log.end(topic)) == (4, 10)
    assert read_all(place.open(), topic, 4) == numbered(4, 6)
    assert log.committed("a-new-reader", topic) == 4
    with pytest.raises(NotFound, match=r"no record 3 any more: records exist from 4 on"):
        log.read(topic, 3, 10)
    log.trim(topic, 2)
    assert log.begin(topic) == 4
    log.trim(topic, 1000)
    assert (log.begin(topic), log.end(topic)) == (10, 10)
    assert log.read(topic, 10, 5).records == []
    assert log.append(topic, numbered(10, 1)) == 11
    assert read_all(log, topic, 10) == numbered(10, 1)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "..", ".", "x" * 250, "a\n", None, 7, "'; DROP TABLE topics"])
def test_odd_names_are_refused(place, name):
    log = place.open()
    for call in (
        lambda: log.append(name, [b"x"]),
        lambda: log.read(name, 0, 1),
        lambda: log.end(name),
        lambda: log.trim(name, 1),
        lambda: log.commit("reader", name, 0),
        lambda: log.commit(name, "topic", 0),
        lambda: log.committed(name, "topic"),
    ):
        with pytest.raises(InvalidInput, match="is not a valid name"):
            call()


def test_what_is_not_bytes_is_refused_as_a_whole(place):
    topic = place.topic()
    log = place.open()
    for records, message in (
        ([b"a", "b"], "Record 1 of 2 .* is str, not bytes"),
        ([b"a", None, b"c"], "Record 1 of 3 .* is NoneType"),
        ([bytearray(b"a")], "Record 0 of 1 .* is bytearray"),
        (b"abc", "are one bytes"),
        ("abc", "are one str"),
    ):
        with pytest.raises(InvalidInput, match=message):
            log.append(topic, records)
    assert log.end(topic) == 0


def test_offsets_and_limits_are_whole_numbers(place):
    topic = place.topic()
    log = place.open()
    log.append(topic, numbered(0, 3))
    assert log.read(topic, np.int64(1), np.int32(1)).records == [b"record 1"]
    for offset, limit in ((-1, 1), (0, 0), (0, -5), (0.0, 1), (0, "1"), (None, 1), (True, 1)):
        with pytest.raises(InvalidInput, match=r"The (offset|limit)"):
            log.read(topic, offset, limit)
    for offset in (-1, 1.5, "1"):
        with pytest.raises(InvalidInput, match="The offset"):
            log.commit("reader", topic, offset)
        with pytest.raises(InvalidInput, match="The offset"):
            log.trim(topic, offset)


def test_a_closed_log_says_so(place):
    topic = place.topic()
    with place.open() as log:
        log.append(topic, numbered(0, 1))
    log.close()
    with pytest.raises(Conflict, match="is closed"):
        log.append(topic, [b"x"])
    with pytest.raises(Conflict, match="is closed"):
        log.read(topic, 0, 1)
