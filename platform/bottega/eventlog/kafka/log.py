"""The event log on a Kafka cluster: a topic is a Kafka topic with one partition, a reader a consumer group.

What Kafka does differently from the embedded log: an append that fails may have appended some of its records (the error
says how many were acknowledged); appends of several processes can interleave; offsets may have gaps. Nobody subscribes:
topics are read by assignment and offsets are committed from outside, so no consumer group ever rebalances.
"""

import os
import time
from collections.abc import Sequence
from typing import Self

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

from bottega.errors import Conflict, TooLarge, Unavailable
from bottega.eventlog.kafka.answers import answers, checked, reason_of
from bottega.eventlog.kafka.clients import RECORD_BYTES, Clients
from bottega.eventlog.kafka.sending import Sent, send
from bottega.eventlog.log import Batch, check_commit, check_name, check_records, check_whole, trimmed

_POLL_S = 0.02

_inherited: list[Clients] = []
"""Clients that came over a fork: never used, and never closed, since their threads stayed with the parent."""


class KafkaLog:
    """An EventLog on the cluster at `servers` (host:port, more after commas); nothing is asked of it at first."""

    def __init__(self, servers: str, *, timeout_s: float = 10.0) -> None:
        self._servers = servers
        self._timeout_s = timeout_s
        self._opened: Clients | None = Clients(servers, timeout_s)

    def append(self, topic: str, records: Sequence[bytes]) -> int:
        """Append `records`, wait until every replica has them, and return the offset behind the last one."""
        check_name("Topic", topic)
        check_records(topic, records)
        largest = max(map(len, records), default=0)
        if largest > RECORD_BYTES:
            raise TooLarge(
                f"A record of {largest} bytes for topic {topic!r} is too large for Kafka.",
                next_step=f"A record may have {RECORD_BYTES} bytes: split it, or store its content elsewhere.",
            )
        if not records:
            return self.end(topic)
        clients = self._mine()
        with clients.appending:
            self._ensure(clients, topic)
            sent = Sent()
            try:
                send(clients.producer, topic, records, sent, self._timeout_s)
            except KafkaException as error:
                sent.error = error.args[0]
            if sent.count < len(records):
                clients.renew_producer()  # what still waits in the old one must not arrive after the error
                raise Unavailable(
                    f"Kafka at {self._servers} acknowledged {sent.count} of {len(records)} records for topic {topic!r} "
                    f"({reason_of(sent.error)}).",
                    next_step="Start the broker or check the address, then append again; some may then be there twice.",
                )
        return sent.end

    def read(self, topic: str, offset: int, limit: int, wait_s: float = 0.0) -> Batch:
        """At least one and at most `limit` records from `offset` on; fewer than `limit` where a gap is among them."""
        check_name("Topic", topic)
        offset = check_whole("The offset", offset, 0)
        limit = check_whole("The limit", limit, 1)
        until = time.monotonic() + wait_s
        while True:
            begin, end = self._bounds(topic)
            if offset < begin:
                raise trimmed(topic, offset, begin)
            if offset < end:
                follower = self._mine().follower(topic)
                with follower.lock, answers(self._servers, f"reading topic {topic!r}"):
                    return follower.read(offset, limit, end)
            left_s = until - time.monotonic()
            if left_s <= 0:
                return Batch(topic, offset, [], offset)
            time.sleep(min(_POLL_S, left_s))

    def begin(self, topic: str) -> int:
        """The offset of the first record that still exists."""
        return self._bounds(topic)[0]

    def end(self, topic: str) -> int:
        """The offset that the next record gets."""
        return self._bounds(topic)[1]

    def commit(self, reader: str, topic: str, offset: int) -> None:
        """Remember in the cluster that `reader` goes on at `offset`."""
        check_name("Reader", reader)
        offset = check_whole("The offset", offset, 0)
        check_commit(reader, topic, offset, self.end(topic))
        if topic not in self._mine().known:
            return  # 0 of a topic that does not exist: where a reader starts anyway
        group = ConsumerGroupTopicPartitions(reader, [TopicPartition(topic, 0, offset)])
        with answers(self._servers, f"committing for reader {reader!r}"):
            found = self._mine().admin.alter_consumer_group_offsets([group], request_timeout=self._timeout_s)
            checked(found[reader].result(self._timeout_s).topic_partitions[0])

    def committed(self, reader: str, topic: str) -> int:
        """What `reader` committed, or the topic's begin where it never did."""
        check_name("Reader", reader)
        begin = self.begin(topic)
        if topic not in self._mine().known:
            return begin
        group = ConsumerGroupTopicPartitions(reader, [TopicPartition(topic, 0)])
        with answers(self._servers, f"asking for the offset of reader {reader!r}"):
            found = self._mine().admin.list_consumer_group_offsets([group], request_timeout=self._timeout_s)
            answer = checked(found[reader].result(self._timeout_s).topic_partitions[0])
        return answer.offset if answer.offset >= 0 else begin

    def topics(self) -> tuple[str, ...]:
        """Names of the cluster's topics, sorted, without Kafka's own."""
        with answers(self._servers, "asking for its topics"):
            found = self._mine().asker.list_topics(timeout=self._timeout_s).topics
        return tuple(sorted(name for name in found if not name.startswith("__")))

    def trim(self, topic: str, before: int) -> None:
        """Remove the records below `before`."""
        begin, end = self._bounds(topic)
        before = min(check_whole("The offset", before, 0), end)
        if before <= begin:
            return
        with answers(self._servers, f"trimming topic {topic!r}"):
            cut = TopicPartition(topic, 0, before)
            for answer in self._mine().admin.delete_records([cut], request_timeout=self._timeout_s).values():
                answer.result(self._timeout_s)

    def close(self) -> None:
        """Close the connections to the cluster."""
        clients, self._opened = self._opened, None
        if clients is not None and clients.process == os.getpid():
            clients.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mine(self) -> Clients:
        clients = self._opened
        if clients is None:
            raise Conflict(f"The event log at kafka://{self._servers} is closed.", next_step="Open it again.")
        if clients.process != os.getpid():
            _inherited.append(clients)
            clients = self._opened = Clients(self._servers, self._timeout_s)
        return clients

    def _bounds(self, topic: str) -> tuple[int, int]:
        """Begin and end; 0 and 0 for a topic that does not exist."""
        check_name("Topic", topic)
        clients = self._mine()
        if topic not in clients.known and not self._exists(clients, topic):
            return 0, 0
        with answers(self._servers, f"asking where topic {topic!r} ends"):
            try:
                return clients.asker.get_watermark_offsets(TopicPartition(topic, 0), timeout=self._timeout_s)
            except KafkaException:
                clients.known.discard(topic)
                if not self._exists(clients, topic):  # removed meanwhile
                    return 0, 0
                raise

    def _exists(self, clients: Clients, topic: str) -> bool:
        """Whether the topic exists; one with several partitions has no total order and is refused."""
        with answers(self._servers, f"asking for topic {topic!r}"):
            found = clients.asker.list_topics(topic, timeout=self._timeout_s).topics[topic]
            if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False
            if found.error is not None:
                raise KafkaException(found.error)
        if len(found.partitions) != 1:
            raise Conflict(
                f"Topic {topic!r} at {self._servers} has {len(found.partitions)} partitions, an event log has one.",
                next_step="Name another topic, or make this one again with one partition.",
            )
        clients.known.add(topic)
        return True

    def _ensure(self, clients: Clients, topic: str) -> None:
        """Make the topic where it is missing, and wait until the brokers know it."""
        if topic in clients.known or self._exists(clients, topic):
            return
        with answers(self._servers, f"making topic {topic!r}"):
            try:
                new = [NewTopic(topic, num_partitions=1)]
                clients.admin.create_topics(new, request_timeout=self._timeout_s)[topic].result(self._timeout_s)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            until = time.monotonic() + self._timeout_s
            while not self._exists(clients, topic):
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(_POLL_S)
