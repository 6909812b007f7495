"""The updater: keeps the online store in step with event logs, exactly once.

A batch's tiles and the log's position are written in one transaction of the store, so after a crash the updater goes on
where the store is, and no event is lost or counted twice. What it refuses it counts; what it cannot read it also keeps,
in quarantine. No clock decides anything: one that jumps changes nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidInput
from bottega.eventlog import Batch, EventLog
from bottega.features.binding import Events, bind_events
from bottega.features.conditions import parse_where
from bottega.features.definition import layout_of
from bottega.features.online import Ingested, OnlineStore
from bottega.features.records import text_key
from bottega.features.source import Source
from bottega.features.view import FeatureView
from bottega.files import write_atomic
from bottega.progress import Progress, silent
from bottega.times import DAY_US

if TYPE_CHECKING:
    import pandas as pd

BATCH = 20_000
KEPT_US = 2 * DAY_US
"""How far behind the stream a read may lie and still be exact, unless told otherwise."""
_WAIT_S = 0.5


class Quarantined(msgspec.Struct, frozen=True):
    """A record that could not be read: where it lies in the log, why, and the record itself."""

    topic: str
    offset: int
    reason: str
    record: str


class Updated(msgspec.Struct, frozen=True):
    """What the updater did for one source of a view: records read, events counted, refusals by reason.

    `lag` is how many records of the topic are left, `per_second` how many it read in a second of work.
    """

    view: str
    source: str
    topic: str
    read: int
    counted: int
    refused: dict[str, int]
    quarantined: int
    lag: int
    per_second: float


@dataclass(eq=False)
class _Feed:
    """One source of a view, its topic and columns, and what was done so far.

    `known_us` is about when the last batch's records became known: their median, so that one wrong clock moves nothing.
    """

    view: FeatureView
    source: Source
    topic: str
    columns: dict[str, type]
    read: int = 0
    counted: int = 0
    quarantined: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    work_s: float = 0.0
    known_us: int | None = None


class Updater:
    """Feeds the views' sources from a log's topics into the online store, which it tells of the views at once.

    One process may serve all views. `topics` names a source's topic where it is not the source's own name. Unreadable
    records go below `quarantine` as JSON lines, or are only counted where that is None. As event time passes, the store
    forgets what no read needs that lies at most `kept_us` behind the stream; None keeps all.
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
        self._feeds = [
            _Feed(view, one, named.get(one.name, one.name), stream_columns(view, one))
            for view in views
            for one in view.sources
        ]
        self._columns = {topic: _shared([f.columns for f in self._feeds if f.topic == topic]) for topic in self.topics}
        self._trimmed: dict[str, int] = {}
        for view in views:
            store.declare(view.definition)
        for feed in self._feeds:
            at, end = self._position(feed), log.end(feed.topic)
            if at > end:
                raise Conflict(
                    f"The online store has read topic {feed.topic!r} up to record {at}, but the log ends at {end}.",
                    next_step="Name the log that the store was fed from, or drop its views ('bottega features drop').",
                )

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are read."""
        return tuple(dict.fromkeys(feed.topic for feed in self._feeds))

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
            ends = {topic: self._log.end(topic) for topic in self.topics} if until is None else until
            total, left = sum(ends.get(feed.topic, 0) for feed in self._feeds), self._left(ends)
            progress("update", total - left, total)
            if until is not None and not left:
                break
            if until is None and not read:
                self._log.read(self.topics[0], ends[self.topics[0]], 1, wait_s=_WAIT_S)
        return self.report()

    def step(self, until: Mapping[str, int] | None = None) -> int:
        """Ingest one batch of every source that has one; returns how many records that were."""
        batches: dict[tuple[str, int, int], tuple[Batch, pd.DataFrame | None]] = {}
        read = 0
        for feed in self._feeds:
            began_s = time.perf_counter()
            stored = self._stored(feed)
            at = self._log.begin(feed.topic) if stored is None else stored
            limit = self._batch if until is None else min(self._batch, until.get(feed.topic, 0) - at)
            if limit <= 0:
                continue
            key = (feed.topic, at, limit)
            if key not in batches:
                batches[key] = self._read(*key)
            batch, rows = batches[key]
            if batch.next == at:
                continue
            try:
                self._ingest(feed, stored or 0, batch, rows)
            except Conflict:
                if self._stored(feed) == stored:
                    raise
                continue  # somebody else moved the store on meanwhile: the next step begins there
            read += len(batch)
            feed.work_s += time.perf_counter() - began_s
        return read

    def report(self) -> tuple[Updated, ...]:
        """What was done for each source so far."""
        return tuple(
            Updated(
                view=feed.view.name,
                source=feed.source.name,
                topic=feed.topic,
                read=feed.read,
                counted=feed.counted,
                refused=dict(feed.refused),
                quarantined=feed.quarantined,
                lag=self._log.end(feed.topic) - self._position(feed),
                per_second=feed.read / feed.work_s if feed.work_s else 0.0,
            )
            for feed in self._feeds
        )

    def _stored(self, feed: _Feed) -> int | None:
        """Up to where the store has read a source's topic; None where it has not begun."""
        return self._store.stream(feed.view.name).offsets.get(feed.source.name)

    def _position(self, feed: _Feed) -> int:
        stored = self._stored(feed)
        return self._log.begin(feed.topic) if stored is None else stored

    def _left(self, ends: Mapping[str, int]) -> int:
        return sum(max(0, ends.get(feed.topic, 0) - self._position(feed)) for feed in self._feeds)

    def _read(self, topic: str, at: int, limit: int) -> "tuple[Batch, pd.DataFrame | None]":
        """A batch, decoded once for all views; not decoded where that would mix up what each of them refuses."""
        from bottega.eventlog.records import decode_rows

        batch = self._log.read(topic, at, limit)
        columns = self._columns[topic]
        decoded = None if columns is None else decode_rows(batch.records, columns)
        return batch, None if decoded is None or decoded.refused else decoded.rows

    def _ingest(self, feed: _Feed, first: int, batch: Batch, rows: "pd.DataFrame | None") -> None:
        broken: dict[int, str] = {}
        if rows is None:
            rows, broken = _decode(feed, batch)
        try:
            done = self._add(feed, first, batch, rows, broken)
        except InvalidInput:
            wrong = unbindable(feed.view, feed.source.name, rows)
            if not wrong:
                raise
            broken, rows = {**broken, **wrong}, rows.drop(index=list(wrong))
            done = self._add(feed, first, batch, rows, broken)
        feed.read += len(batch)
        feed.counted += done.counted
        feed.quarantined += len(broken)
        feed.refused.update(done.refused)
        self._trim(feed, rows)

    def _add(self, feed: _Feed, first: int, batch: Batch, rows: "pd.DataFrame", broken: dict[int, str]) -> Ingested:
        """Quarantine, then ingest: after a crash in between, the batch comes again and fills the same file."""
        if broken and self._quarantine is not None:
            kept = [_quarantined(batch, position, broken[position]) for position in sorted(broken)]
            name = f"{feed.view.name}.{feed.topic}.{batch.first:012d}.jsonl"
            write_atomic(self._quarantine / "events" / name, b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
        return self._store.ingest(
            feed.view, rows, feed.source.name, offset=first, end=batch.next, unreadable=len(broken)
        )

    def _trim(self, feed: _Feed, rows: "pd.DataFrame") -> None:
        """Once in a while; a source that lies behind holds back those that are ahead."""
        if self._kept_us is None or (known_us := _median_us(feed.source, rows)) is None:
            return
        feed.known_us, name, period_us = known_us, feed.view.name, _trim_period_us(feed.view)
        done = self._trimmed.get(name, -1)
        if known_us // period_us <= done:
            return
        moments = [known_us]
        for other in self._feeds:
            if other.view is feed.view and self._position(other) < self._log.end(other.topic):
                moments.append(0 if other.known_us is None else other.known_us)
        if min(moments) // period_us > done and min(moments) > self._kept_us:
            self._store.trim(name, min(moments) - self._kept_us)
            self._trimmed[name] = min(moments) // period_us


def _trim_period_us(view: FeatureView) -> int:
    """Half the longest window, at least a day: a trim reads every record, so the fewer the better."""
    layout = layout_of(view.definition)
    return max(DAY_US, layout.longest * layout.tile_us // 2)


def stream_columns(view: FeatureView, source: Source) -> dict[str, type]:
    """The columns that a view reads from records of a source, with their types."""
    columns: dict[str, type] = {}
    for part in (part for feature in view.features for part in parse_where(feature.where)):
        kind = type(part.constants[0])
        columns[source.column(part.column)] = float if kind is int else kind
    columns |= {source.column(feature.column): float for feature in view.features if feature.column}
    columns |= dict.fromkeys(source.keys, str if view.entity.dtype == "string" else int)
    if source.event_id:
        columns[source.event_id] = str if source.id_dtype == "string" else int
    for moment in (source.event_time, source.available_at):
        if moment:
            columns[moment] = datetime
    return columns


def unbindable(view: FeatureView, source: str, rows: "pd.DataFrame") -> dict[int, str]:
    """The rows that no store can take, by their index, each with the reason: found by halving."""
    try:
        _check_keys(view, bind_events(view, rows, source))
    except InvalidInput as error:
        if len(rows) == 1:
            return {int(rows.index[0]): error.what}
        middle = len(rows) // 2
        return {**unbindable(view, source, rows[:middle]), **unbindable(view, source, rows[middle:])}
    return {}


def _check_keys(view: FeatureView, events: Events) -> None:
    """Refuse text keys that the store's records cannot have."""
    if view.entity.dtype == "string":
        for keys in zip(*(key.tolist() for key in events.keys), strict=True):
            text_key(view.name, keys)


def _shared(wanted: Sequence[dict[str, type]]) -> dict[str, type] | None:
    """The columns of several views as one set; None where two views read a column as different types."""
    shared = {name: kind for columns in wanted for name, kind in columns.items()}
    agreed = all(shared[name] is kind for columns in wanted for name, kind in columns.items())
    return shared if agreed else None


def _decode(feed: _Feed, batch: Batch) -> "tuple[pd.DataFrame, dict[int, str]]":
    """A batch as one view reads it: the rows, and why the others are unreadable, by their position."""
    from bottega.eventlog.records import decode_rows

    decoded = decode_rows(batch.records, feed.columns)
    return decoded.rows, {one.position: one.reason for one in decoded.refused}


def _median_us(source: Source, rows: "pd.DataFrame") -> int | None:
    """The median of the rows' arrivals, epoch_us; None where they have none."""
    moments = rows[source.available_at or source.event_time].dropna().to_numpy("datetime64[us]").view(np.int64)
    return int(np.median(moments)) + source.delay_us if len(moments) else None


def _quarantined(batch: Batch, position: int, reason: str) -> Quarantined:
    return Quarantined(
        batch.topic, batch.offsets[position], reason, batch.records[position].decode("utf-8", errors="replace")
    )
