"""The online store: tiles by entity in LMDB; windows are computed when read, on the request's clock.

Values therefore slide although no event comes. The store holds each view's definition, so a reader needs neither the
code that declared it nor pandas.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import numpy as np

from bottega.errors import Conflict, NotFound
from bottega.features import records
from bottega.features.definition import Definition
from bottega.features.environment import Environment, environment
from bottega.features.lookup import window_totals
from bottega.features.records import Entry
from bottega.features.tiles import Tiles, tiles_of

if TYPE_CHECKING:
    import pandas as pd

    from bottega.features.view import FeatureView


class Values(dict[str, np.ndarray]):
    """Features by name, (batch,) float64 each; all null where the store has no such view yet."""

    def __init__(self, view: str, batch: int, found: dict[str, np.ndarray] | None = None) -> None:
        super().__init__(found or {})
        self._view, self._batch, self._stored = view, batch, found is not None

    def __missing__(self, feature: str) -> np.ndarray:
        if self._stored:
            raise NotFound(
                f"The online store holds view {self._view!r} without {feature!r}. It has: {', '.join(self)}.",
                next_step="Materialise the view again with its present declaration.",
            )
        return np.full(self._batch, np.nan)


class OnlineStore:
    """Features by view and entity key at a moment, for many reading processes beside one that writes.

    A store that does not exist is created by the first write; until then every value is null.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._environment: Environment | None = None
        self._entries: dict[str, tuple[bytes, Entry]] = {}

    def read(self, view_name: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Values:
        """A view's features for keys (batch,) each at `at_us` (batch,) int64 epoch_us.

        An entity without events has count and sum 0 and no other value; a null key counts as such an entity.
        """
        at_us = np.asarray(at_us, np.int64)
        opened = self._reader()
        if opened is None:
            return Values(view_name, len(at_us))
        with opened.reading() as transaction:
            entry = self._entry(transaction, view_name)
            if entry is None:
                return Values(view_name, len(at_us))
            totals = window_totals(transaction, entry, keys, at_us)
        found = entry.layout.values(totals)  # (features, batch)
        features = entry.definition.features
        return Values(view_name, len(at_us), {feature.name: found[i] for i, feature in enumerate(features)})

    def definitions(self) -> tuple[Definition, ...]:
        """The definitions of all views in the store."""
        opened = self._reader()
        if opened is None:
            return ()
        with opened.reading() as transaction:
            return tuple(entry.definition for entry in records.entries(transaction))

    def offset(self, view_name: str) -> int:
        """The position in the view's event log from which on nothing was ingested yet."""
        opened = self._reader()
        if opened is None:
            return 0
        with opened.reading() as transaction:
            return records.offset(transaction, view_name)

    def ingest(self, view: "FeatureView", events: "pd.DataFrame", source: str = "", offset: int | None = None) -> int:
        """Add events to a view's tiles in one transaction; returns how many rows were new.

        `offset` is the position of the first row in the view's event log. Rows before the store's own offset were
        ingested already and are skipped, so that a replay changes nothing; a gap raises Conflict. Without `offset` the
        rows are taken to follow what is there. Rows with a null key or time count as ingested and add nothing.
        """
        from bottega.features.binding import bind_events

        bound, definition = bind_events(view, events, source), view.definition

        def change(transaction: lmdb.Transaction) -> int:
            stored = records.offset(transaction, view.name)
            first = stored if offset is None else offset
            if first > stored:
                raise Conflict(
                    f"View {view.name!r} has rows up to position {stored}, the batch begins at {first}.",
                    next_step=f"Ingest the rows from {stored} on first.",
                )
            new = max(0, first + len(events) - stored)
            entry = records.declare(transaction, definition)
            fresh = bound.take(bound.position >= len(events) - new)
            records.write_tiles(transaction, entry, tiles_of(fresh, definition.inputs, definition.states))
            transaction.put(records.offset_key(view.name), str(stored + new).encode())
            return new

        return self._writer().write(change)

    def replace(self, definition: Definition, tiles: Tiles, first_tile: int, end_tile: int) -> None:
        """Put `tiles` in place of all the view has in tiles first_tile to end_tile (exclusive), in one transaction."""

        def change(transaction: lmdb.Transaction) -> None:
            entry = records.declare(transaction, definition)
            records.clear_tiles(transaction, entry, first_tile, end_tile)
            records.write_tiles(transaction, entry, tiles)

        self._writer().write(change)

    def drop(self, view_name: str) -> None:
        """Remove a view with its tiles and offset."""

        def change(transaction: lmdb.Transaction) -> None:
            entry = self._entry(transaction, view_name)
            if entry is not None:
                for key, _ in list(records.scan(transaction, entry.prefix)):
                    transaction.delete(key)
                transaction.delete(records.entry_key(view_name))
                transaction.delete(records.offset_key(view_name))

        self._writer().write(change)

    def _writer(self) -> Environment:
        if self._environment is None:
            self._environment = environment(self._path)
        return self._environment

    def _reader(self) -> Environment | None:
        if self._environment is None and (self._path / "data.mdb").exists():
            self._environment = environment(self._path)
        return self._environment

    def _entry(self, transaction: lmdb.Transaction, view_name: str) -> Entry | None:
        stored = transaction.get(records.entry_key(view_name))
        if stored is None:
            return None
        known = self._entries.get(view_name)
        if known is None or stored != known[0]:
            content = bytes(stored)
            known = self._entries[view_name] = (content, Entry.decode(content))
        return known[1]
