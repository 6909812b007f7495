"""Buckets: the events of a view that requests may see, divided by entity so that each bucket fits memory."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bottega.features.batches import Batches
from bottega.features.binding import Events, bind_events
from bottega.features.definition import layout_of
from bottega.features.events import count_refused, from_table, join_events, to_table, without_copies
from bottega.features.requests import Requests
from bottega.features.source import Source
from bottega.features.spill import open_spill
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent

BYTES_AN_EVENT = 300
"""What an event takes, all in all, while the windows of its bucket are computed."""
Tables = Mapping[str, Any]
"""Source names to a data frame, or to Parquet files: a path, a folder, a list."""


class Buckets:
    """The events of a view that requests may see; entity % count says in which bucket.

    A single bucket stays in memory. `refused` counts what the rules left out of the rows that were read; copies are
    counted among the events of asked entities.
    """

    def __init__(self, view: FeatureView, sources: Tables, requests: Requests, memory_bytes: int) -> None:
        self._view, self._requests = view, requests
        self._batches = open_batches(view, sources)
        rows = sum(batches.rows for batches in self._batches.values())
        self.count = max(1, -(-rows * BYTES_AN_EVENT // memory_bytes))
        self.refused: dict[str, int] = {}

    def read(self, progress: Progress = silent) -> Iterator[tuple[Events, Requests]]:
        """Each bucket's events, their only key the entity's number, and its requests."""
        if self.count == 1:
            bound = {name: join_events(list(self._bound(name, progress))) for name in self._batches}
            yield self._counted(bound), self._requests
            return
        definition = self._view.definition
        with open_spill(self.count) as spill:
            for name in self._batches:
                for events in self._bound(name, progress):
                    spill.add(name, to_table(events, definition), events.keys[0] % self.count)
            for number in range(self.count):
                progress(f"windows of {self._view.name}", number, self.count)
                bound = {name: from_table(spill.read(name, number)) for name in self._batches}
                yield self._counted(bound), self._requests.take(self._requests.entity % self.count == number)

    def _bound(self, name: str, progress: Progress) -> Iterator[Events]:
        """A source's events that requests may see, batch by batch."""
        source, batches = self._view.find_source(name), self._batches[name]
        done = 0
        for frame in batches.read(needed_columns(self._view, source)):
            if self.count > 1:
                progress(f"events of {name} for {self._view.name}", done, batches.rows)
            done += len(frame)
            bound = bind_events(self._view, frame, name)
            count_refused(self.refused, bound.refused)
            entity = self._requests.entities.find(bound.keys, len(bound))
            seen = entity >= 0
            if not source.event_id:
                seen &= self._in_reach(bound.tile)
            numbered = dataclasses.replace(bound, keys=(entity,))
            yield numbered if seen.all() else numbered.take(np.flatnonzero(seen))

    def _counted(self, parts: Mapping[str, Events]) -> Events:
        """The events that count, of all sources, in tiles that some window covers."""
        events = without_copies(list(parts.values()), self.refused)
        seen = self._in_reach(events.tile)
        return events if seen.all() else events.take(np.flatnonzero(seen))

    def _in_reach(self, tile: np.ndarray) -> np.ndarray:
        since, until = self._requests.seen_tiles(layout_of(self._view.definition).longest)
        return (tile >= since) & (tile < until)


def open_batches(view: FeatureView, sources: Tables) -> dict[str, Batches]:
    """The tables of a view's sources, by name."""
    return {
        name: Batches(f"The source {name!r} of FeatureView {view.name!r}", sources[name]) for name in view.source_names
    }


def needed_columns(view: FeatureView, source: Source) -> tuple[str, ...]:
    """The columns of a source's table that a view reads."""
    rest = [source.event_time, source.available_at, source.event_id, *(source.column(name) for name in view.columns)]
    return tuple(dict.fromkeys(name for name in (*source.keys, *rest) if name))
