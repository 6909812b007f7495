"""The online store: tiles by entity; windows are computed when read, on the request's clock.

Values therefore slide although no event comes. Late events stand apart with their arrival, so a read at any moment,
also a past one, tells what was known then. The store holds each view's definition, so a reader needs neither the code
that declared it nor pandas.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bottega.errors import Conflict, NotFound
from bottega.features import records
from bottega.features.definition import Definition
from bottega.features.lookup import look_up
from bottega.features.records import Entry, Stream
from bottega.features.storage import Reading, Storage, Writing, open_storage

if TYPE_CHECKING:
    import pandas as pd

    from bottega.features.binding import Events
    from bottega.features.tiles import Tiles
    from bottega.features.view import FeatureView


class Values(Mapping[str, np.ndarray]):
    """Features by name, (batch,) float64 each."""

    __slots__ = ("_matrix", "_names", "_view")

    def __init__(self, view: str, names: Mapping[str, int], matrix: np.ndarray) -> None:
        self._view, self._names, self._matrix = view, names, matrix

    @property
    def age_s(self) -> np.ndarray:
        """How many seconds ago the newest tile closed that has a known event: (batch,) float64.

        NaN without any in the longest window.
        """
        found: np.ndarray = self._matrix[-1]
        return found

    def __getitem__(self, feature: str) -> np.ndarray:
        try:
            found: np.ndarray = self._matrix[self._names[feature]]
        except KeyError:
            raise NotFound(
                f"The online store holds view {self._view!r} without {feature!r}. It has: {', '.join(self._names)}.",
                next_step="Materialise the view again with its present declaration.",
            ) from None
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Nothing(Values):
    """The values of a view that the store has not got yet: all null, whatever the feature."""

    def __getitem__(self, feature: str) -> np.ndarray:
        return self.age_s.copy()


class Ingested(msgspec.Struct, frozen=True):
    """What one ingestion did: rows that were new, events that count, and those refused by reason."""

    rows: int
    counted: int
    refused: dict[str, int]


class OnlineStore:
    """Features by view and entity key at a moment, for many reading processes beside one that writes.

    `address` is a folder (LMDB) or `redis://host:port/number`. A store that does not exist is created by the first
    write; until then every value is null.
    """

    def __init__(self, address: Path | str) -> None:
        self._storage: Storage = open_storage(address)
        self._entries: dict[str, tuple[int | None, bytes, Entry]] = {}

    def read(self, view_name: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Values:
        """A view's features for keys (batch,) each at `at_us` (batch,) int64 epoch_us.

        An entity without events has counts and sums 0 and no other value; a null key counts as such an entity.
        """
        at_us = np.asarray(at_us, np.int64)

        def look(transaction: Reading) -> Values:
            known = self._known(transaction, view_name)
            if known is None:
                return _nothing(view_name, len(at_us))
            return Values(view_name, known.names, look_up(transaction, known, keys, at_us))

        return self._storage.read(look) if self._storage.exists() else _nothing(view_name, len(at_us))

    def definitions(self) -> tuple[Definition, ...]:
        """The definitions of all views in the store."""
        if not self._storage.exists():
            return ()
        return self._storage.read(lambda transaction: tuple(e.definition for e in records.entries(transaction)))

    def offset(self, view_name: str, source: str = "") -> int:
        """The position in the log of a view's source from which on nothing was ingested yet."""
        offsets = self.stream(view_name).offsets
        return offsets.get(source, 0) if source else max(offsets.values(), default=0)

    def refused(self, view_name: str) -> dict[str, int]:
        """How many events of a view were refused so far, by reason."""
        return dict(self.stream(view_name).refused)

    def progress_us(self, view_name: str) -> int | None:
        """The newest arrival that a view has seen, epoch_us; None before the first event."""
        return self.stream(view_name).newest_us

    def ingest(
        self,
        view: "FeatureView",
        events: "pd.DataFrame",
        source: str = "",
        offset: int | None = None,
        end: int | None = None,
        unreadable: int = 0,
    ) -> Ingested:
        """Add a source's events to a view's tiles in one transaction, and note the log's position with them.

        `offset` is the position of the first row in the source's log. Rows before the store's own offset were ingested
        already and are skipped, so that a replay changes nothing; a gap raises Conflict. Without `offset` the rows are
        taken to follow what is there. `end` is the position after the last row, where rows are missing in between:
        such a batch is taken as a whole or, where the store is past its end, not at all. `unreadable` counts the rows
        that are missing because nobody could read them; they join the refused ones.

        Refused rows (see `bottega.features.binding`) count as ingested and add nothing.
        """
        from bottega.features.binding import UNREADABLE, bind_events

        name = view.find_source(source).name
        bound = bind_events(view, events, name)

        def change(transaction: Writing) -> Ingested:
            stream = records.read_stream(transaction, view.name)
            stored = stream.offsets.get(name, 0)
            first = stored if offset is None else offset
            after = first + len(events) if end is None else end
            skipped = min(stored - first, len(events))
            if skipped < 0 or (end is not None and stored - first > 0 and stored < end):
                raise Conflict(
                    f"View {view.name!r} has {name!r} up to position {stored}, the batch is {first} to {after}.",
                    next_step=f"Ingest from position {stored} on.",
                )
            if stored >= after and (skipped or end is not None):
                return Ingested(0, 0, {})
            entry = records.declare(transaction, view.definition)
            fresh = bound
            if skipped:
                fresh = bind_events(view, events.iloc[skipped:], name)
            if unreadable:
                fresh = replace(fresh, refused={**fresh.refused, UNREADABLE: unreadable})
            return _add(transaction, entry, view, name, fresh, len(events) - skipped, stream, after)

        return self._storage.write(change)

    def declare(self, definition: Definition) -> None:
        """Note a view before its first event, so that its counts are 0 and not null."""
        self._storage.write(lambda transaction: records.declare(transaction, definition))

    def replace(
        self,
        definition: Definition,
        tiles: "Iterable[Tiles]",
        first_tile: int,
        end_tile: int,
        stream: Stream | None = None,
        ids: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        """Put `tiles` in place of all the view has in tiles first_tile to end_tile (exclusive), in one transaction.

        `stream` sets the view's offsets, refusals and newest arrival with them; `ids` are the events' identities
        (bottega.features.copies) by the number of their source, so that copies of them are still refused.
        """

        def change(transaction: Writing) -> None:
            entry = records.declare(transaction, definition)
            records.clear_tiles(transaction, entry, first_tile, end_tile)
            for some in tiles:
                records.write_tiles(transaction, entry, some)
            for source, identity in (ids or {}).items():
                records.write_ids(transaction, entry, source, identity)
            if stream is not None:
                records.write_stream(transaction, definition.view, stream)

        self._storage.write(change)

    def trim(self, view_name: str, before_us: int) -> None:
        """Forget what no read at or after `before_us` needs: old tiles, ids of events, arrivals of late ones."""

        def change(transaction: Writing) -> None:
            known = self._known(transaction, view_name)
            if known is not None:
                records.trim_tiles(transaction, known, before_us)

        self._storage.write(change)

    def drop(self, view_name: str) -> None:
        """Remove a view with its tiles, ids and offsets."""

        def change(transaction: Writing) -> None:
            known = self._known(transaction, view_name)
            if known is None:
                return
            for prefix in (known.prefix, known.ids_prefix):
                for key, _ in list(transaction.scan(prefix)):
                    transaction.delete(key)
            transaction.delete(records.entry_key(view_name))
            transaction.delete(records.stream_key(view_name))

        self._storage.write(change)

    def stream(self, view_name: str) -> Stream:
        """How far a view's streams have come."""
        if not self._storage.exists():
            return Stream()
        return self._storage.read(lambda transaction: records.read_stream(transaction, view_name))

    def _known(self, transaction: Reading, view_name: str) -> Entry | None:
        """The view's stored definition, decoded once for as long as it stays the same."""
        version = transaction.version
        known = self._entries.get(view_name)
        if known is not None and known[0] == version is not None:
            return known[2]
        stored = transaction.get(records.entry_key(view_name))
        if stored is None:
            return None
        content = bytes(stored)
        entry = known[2] if known is not None and known[1] == content else Entry.decode(content)
        self._entries[view_name] = (version, content, entry)
        return entry


def _nothing(view: str, batch: int) -> Values:
    return Nothing(view, {}, np.full((1, batch), np.nan))


def _add(
    transaction: Writing,
    entry: Entry,
    view: "FeatureView",
    source: str,
    events: "Events",
    rows: int,
    stream: Stream,
    after: int,
) -> Ingested:
    """Add bound events, without copies of what is there, and note how far the stream has come."""
    from bottega.features.binding import DUPLICATE
    from bottega.features.tiles import tiles_of

    refused = dict(events.refused)
    if events.id and len(events):
        kept = _note_ids(transaction, entry, view.source_names.index(source), events)
        if not kept.all():
            refused[DUPLICATE] = int((~kept).sum())
            events = events.take(kept)
    records.write_tiles(transaction, entry, tiles_of(events, entry.definition))
    total = {reason: stream.refused.get(reason, 0) + refused.get(reason, 0) for reason in {*stream.refused, *refused}}
    newest = int(events.available_us.max()) if len(events) else None
    known = [moment for moment in (stream.newest_us, newest) if moment is not None]
    now = Stream({**stream.offsets, source: after}, max(known, default=None), total)
    records.write_stream(transaction, view.name, now)
    return Ingested(rows, len(events), refused)


def _note_ids(transaction: Writing, entry: Entry, source: int, events: "Events") -> np.ndarray:
    """Which events are no copies of others, here or there before: (n,) bool. Their ids are kept."""
    from bottega.features.copies import first_of, identities

    order = np.argsort(events.available_us, kind="stable")
    fresh = identities(events)[order]
    old = records.read_ids(transaction, entry, source, np.unique(events.tile), fresh.shape[1])
    both = np.concatenate([old, fresh])
    first = first_of(both)
    records.write_ids(transaction, entry, source, both[first])
    kept = np.empty(len(events), bool)
    kept[order] = first[len(old) :]
    return kept
