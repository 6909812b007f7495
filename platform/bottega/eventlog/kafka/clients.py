"""The connections of one process to a Kafka cluster."""

import os
import threading

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from bottega.eventlog.kafka.follower import Follower

RECORD_BYTES = 1_000_000
"""The largest record: a broker with default settings takes no larger one."""


class Clients:
    """One producer, one consumer for questions, one for each topic that is read."""

    def __init__(self, servers: str, timeout_s: float) -> None:
        self.process = os.getpid()
        self.appending = threading.Lock()
        self.known: set[str] = set()
        self._timeout_s = timeout_s
        # Errors are raised where they are met: librdkafka's own log would only repeat them.
        self._common: dict[str, str | int | float | bool] = {
            "bootstrap.servers": servers,
            "log_level": 0,
            "reconnect.backoff.max.ms": 1000,
        }
        self._making = threading.Lock()
        self._followers: dict[str, Follower] = {}
        self.admin = AdminClient(self._common)
        self.asker = self._consumer()
        self.producer = self._producer()

    def follower(self, topic: str) -> Follower:
        """What reads `topic`."""
        with self._making:
            if topic not in self._followers:
                self._followers[topic] = Follower(self._consumer(), topic, self._timeout_s)
            return self._followers[topic]

    def renew_producer(self) -> None:
        """Drop what still waits to be sent."""
        self.producer.purge()
        self.producer = self._producer()

    def close(self) -> None:
        """Close all of them."""
        self.producer.close()
        for consumer in (self.asker, *(follower.consumer for follower in self._followers.values())):
            consumer.close()

    def _producer(self) -> Producer:
        return Producer(
            self._common
            | {
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": int(self._timeout_s * 1000),
                "message.max.bytes": RECORD_BYTES + 1000,
            }
        )

    def _consumer(self) -> Consumer:
        return Consumer(
            self._common
            | {
                "group.id": "bottega",  # never joined: offsets are committed for the reader's group, from outside
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,  # a read from another offset waits for the answer to the fetch before
            }
        )
