"""When a source's events become known, and a topic's records did: a topic holds them in the order of their arrival.

Unreadable records, and those without a time, have no arrival; a search passes over them.
"""

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from bottega.eventlog import Batch, EventLog
from bottega.features.binding import bind_times
from bottega.features.source import Source
from bottega.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

APPENDED_AT_ONCE = 10_000
NEVER = np.iinfo(np.int64).min
_AT_ONCE = 1000


def known_us(source: Source, table: "pd.DataFrame") -> np.ndarray:
    """When each row of a source's table becomes known: (n,) int64 epoch_us, NEVER where nobody can tell."""
    moments, present = bind_times(f"The source {source.name!r}", table, source.available_at or source.event_time)
    return np.where(present, moments + source.delay_us, NEVER)


def append_arrivals(
    topic: str, rows: "pd.DataFrame", arrival_us: np.ndarray, log: EventLog, progress: Progress = silent
) -> np.ndarray:
    """Append rows to a topic in the order of their arrival (n,), those of one moment together; returns the order."""
    from bottega.eventlog.records import encode_rows

    order = np.argsort(arrival_us, kind="stable")
    rows, moments, begin = rows.iloc[order], arrival_us[order], 0
    while begin < len(rows):
        progress(f"publish {topic}", begin, len(rows))
        end = int(np.searchsorted(moments, moments[min(begin + APPENDED_AT_ONCE, len(rows)) - 1], side="right"))
        log.append(topic, encode_rows(rows.iloc[begin:end]))
        begin = end
    progress(f"publish {topic}", len(rows), len(rows))
    return order


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
