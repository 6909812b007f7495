"""What comes back from Kafka: errors in our words, and values that are there."""

import contextlib
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from bottega.errors import Unavailable


@contextlib.contextmanager
def answers(servers: str, doing: str) -> Iterator[None]:
    """Turn Kafka's errors, and answers that do not come, into Unavailable."""
    try:
        yield
    except (KafkaException, TimeoutError) as error:
        reason = reason_of(error.args[0] if isinstance(error, KafkaException) else None)
        raise Unavailable(
            f"Kafka at {servers} failed while {doing} ({reason}).",
            next_step="Start the broker or check the address, then try again.",
        ) from error


def reason_of(error: KafkaError | None) -> str:
    """Kafka's words for an error, or for a silence."""
    return "no answer in time" if error is None else error.str()


def checked(partition: TopicPartition) -> TopicPartition:
    """A partition's answer; raises the error that it carries."""
    if partition.error is not None:
        raise KafkaException(partition.error)
    return partition


def offset_of(message: Message) -> int:
    """A message's offset; every message that came from a broker has one."""
    offset = message.offset()
    assert offset is not None
    return offset
