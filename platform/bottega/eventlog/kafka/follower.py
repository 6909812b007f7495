"""Reading one topic from where the last read ended."""

import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bottega.eventlog.kafka.answers import offset_of
from bottega.eventlog.log import Batch

_GAP_WAIT_S = 0.05  # how long a read waits for records that may be a gap
_MOST = 100_000  # records that one read asks librdkafka for


class Follower:
    """Reads one topic, and goes on from where it stopped without asking anew."""

    def __init__(self, consumer: Consumer, topic: str, timeout_s: float) -> None:
        self.consumer = consumer
        self.lock = threading.Lock()
        self._topic = topic
        self._timeout_s = timeout_s
        self._at: int | None = None

    def read(self, offset: int, limit: int, end: int) -> Batch:
        """Records from `offset` on, which lies before the topic's `end`; none where there is but a gap up to it."""
        if offset != self._at:
            self.consumer.assign([TopicPartition(self._topic, 0, offset)])
        self._at = None  # where an error leaves the loop, the next read assigns anew
        first = self._first(end)
        if first.error() is not None:
            self._at = end
            return Batch(self._topic, end, [], end)
        more = min(limit, _MOST, end - offset_of(first)) - 1
        rest = self.consumer.consume(more, _GAP_WAIT_S) if more else []
        messages = [first, *(message for message in rest if message.error() is None)]
        offsets = [offset_of(message) for message in messages]
        self._at = following = offsets[-1] + 1
        gapped = () if following - offsets[0] == len(offsets) else tuple(offsets)
        return Batch(self._topic, offsets[0], [message.value() or b"" for message in messages], following, gapped)

    def _first(self, end: int) -> Message:
        """The next record, or the message that says that there is none up to `end`."""
        until = time.monotonic() + self._timeout_s
        while (left_s := until - time.monotonic()) > 0:
            for message in self.consumer.consume(1, left_s):
                error = message.error()
                if error is None:
                    return message
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if offset_of(message) >= end:
                    return message
        raise TimeoutError
