"""The updater: keeps the online store in step with event logs, exactly once.

A batch's tiles and the log's position are written in one transaction of the store, so after a crash the updater goes on
where the store is, and no event is lost or counted twice. What it refuses it counts; what it cannot read it also keeps,
in quarantine. It looks at no clock: a clock that jumps changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bottega.errors import InvalidData
from bottega.eventlog import Batch, EventLog
from bottega.features.binding import bind_events
from bottega.features.conditions import parse_where
from bottega.features.online import Ingested, OnlineStore
from bottega.features.source import Source
from bottega.features.view import FeatureView
from bottega.files import write_atomic
from bottega.progress import Progress, silent
from bottega.times import DAY_US

if TYPE_CHECKING:
    import pandas as pd

BATCH = 20_000
KEPT_US = 2 * DAY_US
"""How far behind the newest arrival a read may lie and still be exact, unless told otherwise."""
_WAIT_S = 0.5


class Quarantined(msgspec.Struct, frozen=True):
    """A record that could not be read: where it lies in the log, why, and the record itself."""

    topic: str
    offset: int
    reason: str
    record: str


class Updated(msgspec.Struct, frozen=True):
    """What the updater did for one source of a view: records read, events counted, refusals by reason, and the lag."""

    view: str
    source: str
    topic: str
    read: int
    counted: int
    refused: dict[str, int]
    quarantined: int
    lag: int


@dataclass(eq=False)
class _Feed:
    """One source of a view, its topic, and what was done so far."""

    view: FeatureView
    source: Source
    topic: str
    read: int = 0
    counted: int = 0
    quarantined: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    trimmed_day: int = -1


class Updater:
    """Feeds the views' sources from a log's topics into the online store, which it tells of the views at once.

    One process may serve all views. `topics` names a source's topic where it is not the source's own name. Unreadable
    records go below `quarantine` as JSON lines, or are only counted where that is None. Once a day of event time the
    store forgets what no read needs that lies at most `kept_us` behind the newest arrival; None keeps all.
    """

    def __init__(
        self,
        views: Sequence[FeatureView],
        log: EventLog,
        store: OnlineStore,
        quarantine: Path | None = None,
        topics: Mapping[str, str] | None = None,
        batch: int = BATCH,
        kept_us: int | None = KEPT_US,
    ) -> None:
        named = topics or {}
        self._log, self._store, self._quarantine, self._batch = log, store, quarantine, batch
        self._kept_us = kept_us
        self._feeds = [_Feed(view, one, named.get(one.name, one.name)) for view in views for one in view.sources]
        self._columns: dict[str, dict[str, type]] = {}
        for view in views:
            store.declare(view.definition)
        for feed in self._feeds:
            self._columns.setdefault(feed.topic, {}).update(stream_columns(feed.view, feed.source))

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are read."""
        return tuple(self._columns)

    def run(
        self,
        until: Mapping[str, int] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        progress: Progress = silent,
    ) -> tuple[Updated, ...]:
        """Ingest until each topic's offset in `until` is reached, or `stopped` says so; without `until`, follow.

        Returns what this updater did since it was made.
        """
        while not stopped():
            read = self.step(until)
            if until is not None:
                end = sum(until.get(feed.topic, 0) for feed in self._feeds)
                progress("update", end - self._missing(until), end)
                if not self._missing(until):
                    break
            elif not read:
                topic = self.topics[0]
                self._log.read(topic, self._log.end(topic), 1, wait_s=_WAIT_S)
        return self.report()

    def step(self, until: Mapping[str, int] | None = None) -> int:
        """Ingest one batch of every source that has one; returns how many records that were."""
        batches: dict[tuple[str, int, int], tuple[Batch, pd.DataFrame, list[Quarantined]]] = {}
        read = 0
        for feed in self._feeds:
            at = max(self._store.offset(feed.view.name, feed.source.name), self._log.begin(feed.topic))
            limit = self._batch if until is None else min(self._batch, until.get(feed.topic, 0) - at)
            if limit <= 0:
                continue
            key = (feed.topic, at, limit)
            if key not in batches:
                batches[key] = self._read(*key)
            batch, rows, broken = batches[key]
            if batch:
                self._ingest(feed, batch, rows, broken)
                read += len(batch)
        return read

    def report(self) -> tuple[Updated, ...]:
        """What was done for each source so far."""
        return tuple(
            Updated(
                feed.view.name,
                feed.source.name,
                feed.topic,
                feed.read,
                feed.counted,
                feed.refused,
                feed.quarantined,
                self._log.end(feed.topic) - self._store.offset(feed.view.name, feed.source.name),
            )
            for feed in self._feeds
        )

    def _missing(self, until: Mapping[str, int]) -> int:
        return sum(
            max(0, until.get(feed.topic, 0) - self._store.offset(feed.view.name, feed.source.name))
            for feed in self._feeds
        )

    def _read(self, topic: str, at: int, limit: int) -> "tuple[Batch, pd.DataFrame, list[Quarantined]]":
        from bottega.eventlog.records import decode_rows

        batch = self._log.read(topic, at, limit)
        decoded = decode_rows(batch.records, self._columns[topic])
        broken = [_broken(batch, refused.position, refused.reason) for refused in decoded.refused]
        return batch, decoded.rows, broken

    def _ingest(self, feed: _Feed, batch: Batch, rows: "pd.DataFrame", broken: list[Quarantined]) -> None:
        wrong: dict[int, str] = {}
        try:
            done = self._add(feed, batch, rows, len(broken))
        except InvalidData:
            wrong = unbindable(feed.view, feed.source.name, rows)
            good = rows.drop(index=list(wrong))
            broken = [*broken, *(_broken(batch, position, reason) for position, reason in wrong.items())]
            self._keep(feed, batch, broken)
            done = self._add(feed, batch, good, len(broken))
        else:
            self._keep(feed, batch, broken)
        feed.read += len(batch)
        feed.counted += done.counted
        feed.quarantined += len(broken)
        feed.refused = {
            reason: feed.refused.get(reason, 0) + done.refused.get(reason, 0)
            for reason in {*feed.refused, *done.refused}
        }
        self._trim(feed)

    def _add(self, feed: _Feed, batch: Batch, rows: "pd.DataFrame", unreadable: int) -> Ingested:
        return self._store.ingest(
            feed.view, rows, feed.source.name, offset=batch.first, end=batch.next, unreadable=unreadable
        )

    def _keep(self, feed: _Feed, batch: Batch, broken: list[Quarantined]) -> None:
        """Write unreadable records where a repeated batch writes them again."""
        if broken and self._quarantine is not None:
            lines = b"".join(msgspec.json.encode(one) + b"\n" for one in sorted(broken, key=lambda one: one.offset))
            name = f"{feed.view.name}.{feed.topic}.{batch.first:012d}.jsonl"
            write_atomic(self._quarantine / "events" / name, lines)

    def _trim(self, feed: _Feed) -> None:
        newest = self._store.progress_us(feed.view.name)
        if self._kept_us is None or newest is None or newest // DAY_US == feed.trimmed_day:
            return
        if feed.trimmed_day >= 0:
            self._store.trim(feed.view.name, newest - self._kept_us)
        feed.trimmed_day = newest // DAY_US


def stream_columns(view: FeatureView, source: Source) -> dict[str, type]:
    """The columns that a view reads from records of a source, with their types."""
    columns: dict[str, type] = dict.fromkeys(source.keys, str if view.entity.dtype == "string" else int)
    for part in (part for feature in view.features for part in parse_where(feature.where)):
        kind = type(part.constants[0])
        columns[source.column(part.column)] = float if kind is int else kind
    columns |= {source.column(feature.column): float for feature in view.features if feature.column}
    if source.event_id:
        columns[source.event_id] = str if source.id_dtype == "string" else int
    for moment in (source.event_time, source.available_at):
        if moment:
            columns[moment] = datetime
    return columns


def unbindable(view: FeatureView, source: str, rows: "pd.DataFrame") -> dict[int, str]:
    """The rows that cannot be bound, by their index, each with the reason: found by halving."""
    try:
        bind_events(view, rows, source)
    except InvalidData as error:
        if len(rows) == 1:
            return {int(rows.index[0]): error.what}
        middle = len(rows) // 2
        return {**unbindable(view, source, rows[:middle]), **unbindable(view, source, rows[middle:])}
    return {}


def _broken(batch: Batch, position: int, reason: str) -> Quarantined:
    return Quarantined(
        batch.topic, batch.offsets[position], reason, batch.records[position].decode("utf-8", errors="replace")
    )
