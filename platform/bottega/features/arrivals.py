"""When a topic's records became known: a topic holds its records in the order of their arrival.

Unreadable records, and those without a time, have no arrival; a search passes over them.
"""

from datetime import datetime

import numpy as np

from bottega.eventlog import Batch, EventLog
from bottega.features.source import Source

_AT_ONCE = 1000


def first_known_at(source: Source, topic: str, log: EventLog, moment_us: int) -> int:
    """The offset of a topic's first record that became known at a moment or later; its end where there is none."""
    low, high = log.begin(topic), log.end(topic)
    while low < high:
        middle = (low + high) // 2
        found = next_arrival(source, topic, log, middle, high)
        if found is None or found[1] >= moment_us:
            high = middle
        else:
            low = found[0] + 1
    return low


def next_arrival(source: Source, topic: str, log: EventLog, offset: int, end: int) -> tuple[int, int] | None:
    """Offset and arrival (epoch_us) of the first record in [offset, end) that has one; None where none has."""
    size = 1
    while offset < end:
        batch = log.read(topic, offset, min(size, end - offset))
        known = np.flatnonzero((moments := arrivals_us(source, batch)) >= 0)
        if len(known) and batch.offsets[known[0]] < end:
            return batch.offsets[known[0]], int(moments[known[0]])
        offset, size = max(batch.next, offset + 1), _AT_ONCE
    return None


def last_arrival_us(source: Source, topic: str, log: EventLog) -> int | None:
    """When a topic's last record that has an arrival became known, epoch_us; None where none has."""
    begin, end = log.begin(topic), log.end(topic)
    while begin < end:
        start = max(begin, end - _AT_ONCE)
        moments = np.empty(0, np.int64)
        offset = start
        while offset < end and (batch := log.read(topic, offset, end - offset)):
            moments, offset = np.concatenate([moments, arrivals_us(source, batch)]), batch.next
        if len(known := moments[moments >= 0]):
            return int(known[-1])
        end = start
    return None


def arrivals_us(source: Source, batch: Batch) -> np.ndarray:
    """When each record became known: (n,) int64 epoch_us, -1 where nobody can tell."""
    from bottega.eventlog.records import decode_rows

    column = source.available_at or source.event_time
    rows = decode_rows(batch.records, {column: datetime}).rows
    found = np.full(len(batch), -1, np.int64)
    moments = rows[column].dropna()
    found[moments.index] = moments.to_numpy("datetime64[us]").view(np.int64) + source.delay_us
    return found
