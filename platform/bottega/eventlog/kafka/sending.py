"""Sending records and counting what the cluster acknowledges."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from bottega.eventlog.kafka.answers import offset_of

_POLL_S = 0.02


class Sent:
    """What the cluster acknowledged of one append."""

    def __init__(self) -> None:
        self.count = 0
        self.end = 0
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.error = error
            return
        self.count += 1
        self.end = max(self.end, offset_of(message) + 1)


def send(producer: Producer, topic: str, records: Sequence[bytes], sent: Sent, timeout_s: float) -> None:
    """Send records, and wait until each is acknowledged or has failed; `sent` then says which.

    The producer's own limit (message.timeout.ms) bounds how long one record can stay without an answer.
    """
    for record in records:
        while True:
            try:
                producer.produce(topic, record, partition=0, on_delivery=sent)
                break
            except BufferError:  # its queue is full
                producer.poll(_POLL_S)
                if sent.error is not None:
                    return
    producer.flush(timeout_s + 1)
