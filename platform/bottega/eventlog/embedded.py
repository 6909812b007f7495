"""The embedded log: one SQLite file, for the processes of one machine.

An append is one transaction, on disk when it returns: after a crash all of its records are there or none. Readers,
also in other processes, neither wait for a writer nor make one wait; writers wait for each other. A topic is a table
whose key is the offset. A trim gives its space back to later appends, not to the disk.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from bottega.errors import InvalidData
from bottega.eventlog.database import Database
from bottega.eventlog.log import Batch, check_commit, check_name, check_records, check_whole, trimmed

_POLL_S = 0.01
_TRIM_ROWS = 50_000  # in one transaction: other writers wait for about 0.1 s


class _Topic(NamedTuple):
    table: str
    begin: int
    end: int


class EmbeddedLog:
    """An EventLog in the SQLite file at `path`; it is made where there is none."""

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self._path = path
        self._writing = Database(path, timeout_s)
        self._reading = Database(path, timeout_s)

    def append(self, topic: str, records: Sequence[bytes]) -> int:
        """Append all of `records` or none of them, and return the topic's end."""
        check_name("Topic", topic)
        check_records(topic, records)
        if not records:
            return self.end(topic)
        with self._writing.writing("nothing was appended") as connection:
            found = _find(connection, topic) or _make(connection, topic)
            end = found.end + len(records)
            rows = zip(range(found.end, end), records, strict=True)
            connection.executemany(f"INSERT INTO {found.table} VALUES (?, ?)", rows)
            connection.execute("UPDATE topics SET end_offset = ? WHERE name = ?", (end, topic))
        return end

    def read(self, topic: str, offset: int, limit: int, wait_s: float = 0.0) -> Batch:
        """At most `limit` records from `offset` on; with `wait_s` it looks for new ones every 10 ms."""
        check_name("Topic", topic)
        offset = check_whole("The offset", offset, 0)
        limit = check_whole("The limit", limit, 1)
        until = time.monotonic() + wait_s
        while True:
            records = self._read(topic, offset, limit)
            left_s = until - time.monotonic()
            if records or left_s <= 0:
                return Batch(topic, offset, records, offset + len(records))
            time.sleep(min(_POLL_S, left_s))

    def _read(self, topic: str, offset: int, limit: int) -> list[bytes]:
        with self._reading.reading() as connection:
            found = _find(connection, topic)
            if found is None or offset >= found.end:
                return []
            if offset < found.begin:
                raise trimmed(topic, offset, found.begin)
            until = min(offset + limit, found.end)
            query = f"SELECT record FROM {found.table} WHERE position >= ? AND position < ? ORDER BY position"
            records = [record for (record,) in connection.execute(query, (offset, until))]
        if len(records) != until - offset:
            raise InvalidData(
                f"The event log {self._path} is damaged: of the records {offset} to {until - 1} of topic {topic!r} "
                f"it holds {len(records)}.",
                next_step="Restore it from a copy, or move it away and append again from the source.",
            )
        return records

    def begin(self, topic: str) -> int:
        """The offset of the first record that still exists."""
        found = self._topic(topic)
        return found.begin if found else 0

    def end(self, topic: str) -> int:
        """The offset that the next record gets."""
        found = self._topic(topic)
        return found.end if found else 0

    def commit(self, reader: str, topic: str, offset: int) -> None:
        """Remember durably that `reader` goes on at `offset`."""
        check_name("Reader", reader)
        offset = check_whole("The offset", offset, 0)
        check_commit(reader, topic, offset, self.end(topic))
        with self._writing.writing("nothing was committed") as connection:
            connection.execute("INSERT OR REPLACE INTO readers VALUES (?, ?, ?)", (reader, topic, offset))

    def committed(self, reader: str, topic: str) -> int:
        """What `reader` committed, or the topic's begin where it never did."""
        check_name("Reader", reader)
        begin = self.begin(topic)
        query = "SELECT committed_offset FROM readers WHERE reader = ? AND topic = ?"
        with self._reading.reading() as connection:
            row = connection.execute(query, (reader, topic)).fetchone()
        return row[0] if row else begin

    def topics(self) -> tuple[str, ...]:
        """Names of the topics, sorted."""
        with self._reading.reading() as connection:
            return tuple(name for (name,) in connection.execute("SELECT name FROM topics ORDER BY name"))

    def trim(self, topic: str, before: int) -> None:
        """Remove the records below `before`, in steps: a trim that is cut short has removed the oldest ones."""
        before = min(check_whole("The offset", before, 0), self.end(topic))
        while (begin := self.begin(topic)) < before:
            step = min(begin + _TRIM_ROWS, before)
            with self._writing.writing("the records are still there") as connection:
                found = _find(connection, topic)
                if found is not None and found.begin < step:
                    connection.execute(f"DELETE FROM {found.table} WHERE position < ?", (step,))
                    connection.execute("UPDATE topics SET begin_offset = ? WHERE name = ?", (step, topic))

    def close(self) -> None:
        """Close the file."""
        self._reading.close()
        self._writing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _topic(self, topic: str) -> _Topic | None:
        check_name("Topic", topic)
        with self._reading.reading() as connection:
            return _find(connection, topic)


def _find(connection: sqlite3.Connection, topic: str) -> _Topic | None:
    query = "SELECT id, begin_offset, end_offset FROM topics WHERE name = ?"
    row = connection.execute(query, (topic,)).fetchone()
    return _Topic(f"records_{row[0]}", row[1], row[2]) if row else None


def _make(connection: sqlite3.Connection, topic: str) -> _Topic:
    made = connection.execute("INSERT INTO topics (name, begin_offset, end_offset) VALUES (?, 0, 0)", (topic,))
    table = f"records_{made.lastrowid}"
    connection.execute(f"CREATE TABLE {table} (position INTEGER PRIMARY KEY, record BLOB NOT NULL)")
    return _Topic(table, 0, 0)
