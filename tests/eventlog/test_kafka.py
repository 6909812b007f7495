"""What is Kafka's own: brokers that do not answer, partitions, limits, gaps."""

import socket
import sys
import time

import pytest

from bottega.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable, Unsupported
from bottega.eventlog import Batch, open_log

confluent_kafka = pytest.importorskip("confluent_kafka")


def numbered(first: int, count: int) -> list[bytes]:
    return [b"record %d" % number for number in range(first, first + count)]


def test_a_broker_that_goes_down_and_comes_back(cluster):
    cluster.topic("t")
    with open_log(f"kafka://{cluster.servers}", timeout_s=2) as log:
        log.append("t", numbered(0, 10))
        assert log.read("t", 0, 5).records == numbered(0, 5)
        cluster.down()
        with pytest.raises(
            Unavailable, match=r"acknowledged 0 of 3 records for topic 't'.*Start the broker"
        ) as refused:
            log.append("t", numbered(10, 3))
        assert cluster.servers in str(refused.value)
        for call in (lambda: log.read("t", 5, 5), lambda: log.topics()):
            with pytest.raises(Unavailable, match=rf"Kafka at {cluster.servers} failed while"):
                call()
        cluster.up()
        deadline = time.monotonic() + 30
        while True:  # the client waits a little longer before each new try to connect
            try:
                end = log.append("t", numbered(10, 3))
                break
            except Unavailable:
                assert time.monotonic() < deadline
        assert end >= 13
        records = log.read("t", 0, 100).records
        assert records[:10] == numbered(0, 10)
        assert records[-3:] == numbered(10, 3)


def test_where_nobody_listens(unused_port):
    with open_log(f"kafka://127.0.0.1:{unused_port}", timeout_s=0.5) as log:
        for call in (lambda: log.append("t", [b"x"]), lambda: log.read("t", 0, 1), lambda: log.topics()):
            with pytest.raises(Unavailable, match=rf"Kafka at 127\.0\.0\.1:{unused_port} failed while"):
                call()


@pytest.fixture
def unused_port():
    with socket.socket() as held:  # bound, and not listening: nobody else can take it
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_topic_that_cannot_be_made_is_reported(shared_cluster):
    """The mock cluster does not make topics when asked to."""
    with open_log(f"kafka://{shared_cluster.servers}", timeout_s=0.5) as log:
        with pytest.raises(Unavailable, match="while making topic 'never-made'"):
            log.append("never-made", [b"x"])
        assert "never-made" not in log.topics()


def test_a_topic_with_several_partitions_is_refused(shared_cluster):
    shared_cluster.topic("wide", partitions=4)
    with open_log(f"kafka://{shared_cluster.servers}") as log:
        for call in (lambda: log.append("wide", [b"x"]), lambda: log.read("wide", 0, 1), lambda: log.end("wide")):
            with pytest.raises(Conflict, match=r"Topic 'wide' .* has 4 partitions, an event log has one"):
                call()


def test_a_record_that_no_broker_takes_is_refused_before_any_is_sent(shared_cluster):
    shared_cluster.topic("large")
    with open_log(f"kafka://{shared_cluster.servers}") as log:
        with pytest.raises(TooLarge, match="1000001 bytes"):
            log.append("large", [b"small", b"x" * 1_000_001])
        assert log.end("large") == 0
        assert log.append("large", [b"x" * 1_000_000]) == 1
        assert log.read("large", 0, 1).records == [b"x" * 1_000_000]


def test_an_append_may_be_larger_than_the_client_queue(shared_cluster):
    shared_cluster.topic("long")
    with open_log(f"kafka://{shared_cluster.servers}") as log:
        assert log.append("long", numbered(0, 120_000)) == 120_000
        seen: list[bytes] = []
        while batch := log.read("long", len(seen), 20_000):
            seen += batch.records
    assert seen == numbered(0, 120_000)


def test_records_that_the_broker_has_dropped(shared_cluster):
    """The mock cluster keeps about 5 MB of a topic."""
    shared_cluster.topic("dropped")
    records = [b"%d " % i + b"." * 100_000 for i in range(100)]
    with open_log(f"kafka://{shared_cluster.servers}") as log:
        assert log.append("dropped", records) == 100
        begin = log.begin("dropped")
        assert 0 < begin < 100
        with pytest.raises(NotFound, match=rf"no record 0 any more: records exist from {begin} on"):
            log.read("dropped", 0, 1)
        assert log.committed("a-new-reader", "dropped") == begin
        log.commit("a-slow-reader", "dropped", 0)
        assert log.committed("a-slow-reader", "dropped") == 0
        assert log.read("dropped", begin, 1).records == records[begin : begin + 1]


class Scripted:
    """A consumer whose broker has these messages: the mock cluster makes no gaps."""

    def __init__(self, offsets: list[int], end: int) -> None:
        self._offsets, self._end = offsets, end
        self._messages: list[confluent_kafka.Message] = []

    def assign(self, partitions: list[confluent_kafka.TopicPartition]) -> None:
        start = partitions[0].offset
        made = [message(offset, b"%d" % offset) for offset in self._offsets if offset >= start]
        self._messages = [*made, message(self._end, None)]

    def consume(self, count: int, timeout: float) -> list[confluent_kafka.Message]:
        taken, self._messages = self._messages[:count], self._messages[count:]
        return taken


def message(offset: int, value: bytes | None) -> confluent_kafka.Message:
    ended = confluent_kafka.KafkaError(confluent_kafka.KafkaError._PARTITION_EOF)
    error = ended if value is None else None
    return confluent_kafka.Message(topic="t", partition=0, offset=offset, value=value, error=error)


def test_gaps_in_the_offsets_are_told():
    from bottega.eventlog.kafka.follower import Follower

    follower = Follower(Scripted([0, 1, 2, 7, 8, 20], end=30), "t", 1.0)
    batches = []
    offset = 0
    while offset < 30:
        batches.append(follower.read(offset, 2, 30))
        offset = batches[-1].next
    assert batches == [
        Batch("t", 0, [b"0", b"1"], 2),
        Batch("t", 2, [b"2", b"7"], 8, gapped=(2, 7)),
        Batch("t", 8, [b"8", b"20"], 21, gapped=(8, 20)),
        Batch("t", 30, [], 30),
    ]
    assert [offset for batch in batches for offset in batch.offsets] == [0, 1, 2, 7, 8, 20]
    assert follower.read(4, 1, 30) == Batch("t", 7, [b"7"], 8)


@pytest.mark.parametrize(
    "address", ["kafka://", "kafka://host", "kafka://host:port", "kafka://me:pw@host:1", "kafka:// :1"]
)
def test_addresses_that_are_not_kafka_clusters(address):
    with pytest.raises(InvalidInput, match="Write kafka://host:port"):
        open_log(address)


def test_an_unknown_kind_of_log():
    with pytest.raises(InvalidInput, match="no event log of the kind 'redis'"):
        open_log("redis://localhost:6379")


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("bottega.eventlog.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(Unsupported, match=r"pip install 'bottega\[kafka\]'"):
        open_log("kafka://localhost:9092")
