"""What an event log is: the protocol that every implementation keeps, and the rules for what it is given."""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from bottega.errors import InvalidInput, NotFound

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,249}")  # Kafka's own rule


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one topic, in their order.

    `first` is the offset of the first record, `next` where to read on. Offsets are contiguous, except on Kafka, where
    a topic may have gaps (compaction, transactions): then `gapped` holds the offset of each record. A batch without
    records is false, so that `while batch := log.read(topic, offset, 1000): offset = batch.next` reads to the end.

    >>> Batch("trips", 7, [b"a", b"b"], 9).offsets
    range(7, 9)
    """

    topic: str
    first: int
    records: list[bytes]
    next: int
    gapped: tuple[int, ...] = ()

    @property
    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return self.gapped or range(self.first, self.first + len(self.records))

    def __len__(self) -> int:
        return len(self.records)


class EventLog(Protocol):
    """Topics of records. Offsets are whole numbers from 0, in one total order per topic.

    Threads may share a log; a process that forks gets connections of its own. All methods raise InvalidInput for
    arguments against the rules, Unavailable where the other side does not answer in time, and StorageError where the
    disk refuses.
    """

    def append(self, topic: str, records: Sequence[bytes]) -> int:
        """Append `records` durably and return the topic's end; the first append makes the topic."""
        ...

    def read(self, topic: str, offset: int, limit: int, wait_s: float = 0.0) -> Batch:
        """At least one and at most `limit` records from `offset` on; none at the end and beyond it.

        At the end it waits up to `wait_s` for records. NotFound where `offset` is trimmed away.
        """
        ...

    def begin(self, topic: str) -> int:
        """The offset of the first record that still exists (the end, where there is none)."""
        ...

    def end(self, topic: str) -> int:
        """The offset that the next record gets; 0 for a topic that nobody has appended to."""
        ...

    def commit(self, reader: str, topic: str, offset: int) -> None:
        """Remember durably that `reader` goes on at `offset`, which may lie before what it committed earlier."""
        ...

    def committed(self, reader: str, topic: str) -> int:
        """Where `reader` goes on: what it committed, or the topic's begin where it never did."""
        ...

    def topics(self) -> tuple[str, ...]:
        """Names of the topics, sorted."""
        ...

    def trim(self, topic: str, before: int) -> None:
        """Remove the records below `before`, read or not. Offsets of the others stay."""
        ...

    def close(self) -> None:
        """Give back files and connections; a closed log is not used again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def check_name(what: str, name: str) -> None:
    """Refuse a topic's or a reader's name that not every log can hold."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(
            f"{what} {name!r} is not a valid name.",
            next_step="Use 1 to 249 letters, digits, '_', '-' and '.', and not only dots.",
        )


def check_records(topic: str, records: Sequence[bytes]) -> None:
    """Refuse records that are not bytes, by the position of the first one."""
    if isinstance(records, (bytes, str)):
        raise InvalidInput(
            f"The records for topic {topic!r} are one {type(records).__name__}.", next_step="Give a list."
        )
    if set(map(type, records)) - {bytes}:
        position = next(i for i, record in enumerate(records) if type(record) is not bytes)
        kind = type(records[position]).__name__
        raise InvalidInput(
            f"Record {position} of {len(records)} for topic {topic!r} is {kind}, not bytes.",
            next_step="Encode it first, for example with bottega.eventlog.records.encode_rows.",
        )


def check_whole(what: str, value: int, least: int) -> int:
    """`value` as an int of at least `least`: a numpy integer is one, a float is not."""
    try:
        whole = operator.index(value)
    except TypeError:
        raise InvalidInput(f"{what} {value!r} is not a whole number.", next_step=f"Give one from {least} on.") from None
    if isinstance(value, bool) or whole < least:
        raise InvalidInput(f"{what} is {value!r}.", next_step=f"Give a whole number from {least} on.")
    return whole


def trimmed(topic: str, offset: int, begin: int) -> NotFound:
    """The error of a read before a topic's begin."""
    return NotFound(
        f"Topic {topic!r} has no record {offset} any more: records exist from {begin} on.",
        next_step="What was missed is gone: rebuild from the source, or go on at the begin.",
    )


def check_commit(reader: str, topic: str, offset: int, end: int) -> None:
    """Refuse to commit what nobody can have read."""
    if offset > end:
        raise InvalidInput(
            f"Reader {reader!r} commits offset {offset} of topic {topic!r}, which ends at {end}.",
            next_step="Commit the `next` of a batch that was read.",
        )
