"""A Kafka cluster for the tests: librdkafka's own mock, which speaks Kafka over TCP.

It knows neither CreateTopics nor DeleteRecords. With BOTTEGA_KAFKA=host:port the contract is tried on real brokers too.
"""

import ctypes
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bottega.eventlog import EventLog, open_log


class MockCluster:
    """One broker, by librdkafka's functions rd_kafka_mock_*."""

    def __init__(self) -> None:
        self._library = _librdkafka()
        problem = ctypes.create_string_buffer(512)
        self._handle = self._library.rd_kafka_new(0, self._configuration(), problem, len(problem))
        assert self._handle, problem.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        self.servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def _configuration(self) -> int:
        configuration = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"0", None, 0)
        return configuration

    def topic(self, name: str, partitions: int = 1) -> None:
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0

    def down(self) -> None:
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, 1) == 0

    def up(self) -> None:
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, 1) == 0

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


def _librdkafka() -> ctypes.CDLL:
    package = pytest.importorskip("confluent_kafka")
    found = sorted((Path(package.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*"))
    if not found:
        pytest.skip("this build of confluent-kafka does not carry librdkafka as a file of its own")
    library = ctypes.CDLL(str(found[0]))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[MockCluster]:
    """One for all tests that leave its broker up."""
    cluster = MockCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    cluster = MockCluster()
    yield cluster
    cluster.close()


@dataclass
class Place:
    """Where the logs of one test are: opened any number of times, with topics that no other test has."""

    kind: str
    address: str | Path
    make: Callable[[str], None]
    opened: list[EventLog] = field(default_factory=list)

    def open(self) -> EventLog:
        self.opened.append(open_log(self.address))
        return self.opened[-1]

    def topic(self) -> str:
        name = f"topic-{os.getpid()}.{next(_numbers)}_x"
        self.make(name)
        return name


_numbers = itertools.count()


REAL = os.environ.get("BOTTEGA_KAFKA")


@pytest.fixture(params=["embedded", "mock Kafka", *(["Kafka"] if REAL else [])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "embedded":
        place = Place("embedded", tmp_path / "events.db", lambda _: None)
    elif request.param == "mock Kafka":
        cluster = request.getfixturevalue("shared_cluster")
        place = Place("mock Kafka", f"kafka://{cluster.servers}", cluster.topic)
    else:
        place = Place("Kafka", f"kafka://{REAL}", lambda _: None)
    yield place
    for log in place.opened:
        log.close()
