"""Spill: bound events of asked entities, in buckets of entities small enough for memory."""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bottega.features.batches import Batches
from bottega.features.binding import DUPLICATE, Events, bind_events
from bottega.features.copies import first_arrivals
from bottega.features.definition import layout_of
from bottega.features.requests import Requests
from bottega.features.view import FeatureView
from bottega.files import disk_errors
from bottega.progress import Progress, silent

BYTES_AN_EVENT = 300
"""What an event takes, all in all, while the windows of its bucket are computed."""
Tables = Mapping[str, Any]
"""Source names to a data frame, or to Parquet files: a path, a folder, a list."""


class Spill:
    """The events of a view that requests may see, bucket by bucket: entity % buckets.

    One bucket stays in memory; more go to Arrow files in a temporary folder. `refused` counts what the rules left out
    of the rows that were read; copies are counted among the events of asked entities.
    """

    def __init__(self, view: FeatureView, sources: Tables, requests: Requests, memory_bytes: int) -> None:
        self._view, self._requests, self._definition = view, requests, view.definition
        self._batches = {name: Batches(_what(view, name), sources[name]) for name in view.source_names}
        rows = sum(batches.rows for batches in self._batches.values())
        self.buckets = max(1, -(-rows * BYTES_AN_EVENT // memory_bytes))
        self.refused: dict[str, int] = {}

    def read(self, progress: Progress = silent) -> Iterator[tuple[Events, Requests]]:
        """Each bucket's events, their only key the entity's number, and its requests."""
        if self.buckets == 1:
            bound = {name: list(self._bound(name, progress)) for name in self._batches}
            yield self._without_copies(bound), self._requests
            return
        folder = Path(tempfile.mkdtemp(prefix="bottega-spill-"))
        try:
            with disk_errors(folder):
                for name in self._batches:
                    self._write(folder, name, progress)
            for number in range(self.buckets):
                progress(f"windows of {self._view.name}", number, self.buckets)
                files = {name: folder / f"{name}.{number}.arrow" for name in self._batches}
                events = self._without_copies({name: [self._load(path)] for name, path in files.items()})
                for path in files.values():
                    path.unlink()
                yield events, self._requests.take(self._requests.entity % self.buckets == number)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _bound(self, name: str, progress: Progress) -> Iterator[Events]:
        """A source's events that requests may see, batch by batch."""
        source, batches = self._view.find_source(name), self._batches[name]
        times = [source.event_time, *([source.available_at] if source.available_at else [])]
        ids = [source.event_id] if source.event_id else []
        values = [source.column(column) for column in self._view.columns]
        done = 0
        for frame in batches.read(list(dict.fromkeys([*source.keys, *times, *values, *ids]))):
            if self.buckets > 1:
                progress(f"events of {name} for {self._view.name}", done, batches.rows)
            bound = bind_events(self._view, frame, name)
            done += len(frame)
            for reason, count in bound.refused.items():
                self.refused[reason] = self.refused.get(reason, 0) + count
            entity = self._requests.entities.find(bound.keys, len(bound))
            seen = entity >= 0
            if not ids:
                seen &= self._in_reach(bound.tile)
            numbered = dataclasses.replace(bound, keys=(entity,))
            yield numbered if seen.all() else numbered.take(np.flatnonzero(seen))

    def _in_reach(self, tile: np.ndarray) -> np.ndarray:
        """Which tiles some window covers."""
        since, until = self._requests.seen_tiles(layout_of(self._definition).longest)
        return (tile >= since) & (tile < until)

    def _write(self, folder: Path, name: str, progress: Progress) -> None:
        writers: list[pa.RecordBatchFileWriter] = []
        try:
            for events in self._bound(name, progress):
                bucket = (events.keys[0] % self.buckets).astype(np.uint16)
                table = _table(events.take(np.argsort(bucket, kind="stable")), self._is_timed())
                ends = np.cumsum(np.bincount(bucket, minlength=self.buckets)).tolist()
                for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
                    if number == len(writers):
                        path = folder / f"{name}.{number}.arrow"
                        writers.append(pa.ipc.new_file(str(path), table.schema))
                    writers[number].write_table(table.slice(first, end - first))
        finally:
            for writer in writers:
                writer.close()

    def _is_timed(self) -> bool:
        """Whether event times are needed beyond their tiles."""
        return any(state.kind == "last" for state in self._definition.states)

    def _load(self, path: Path) -> Events:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
        available_us, inputs = columns["available_us"], range(len(self._definition.inputs))
        return Events(
            (columns["entity"],),
            columns["tile"],
            columns.get("event_us", available_us),
            available_us,
            tuple(columns[f"value_{i}"] for i in inputs),
            tuple(columns[f"valid_{i}"] for i in inputs),
            tuple(columns[name] for name in table.column_names if name.startswith("id_")),
            np.arange(table.num_rows),
            {},
        )

    def _without_copies(self, parts: Mapping[str, Sequence[Events]]) -> Events:
        """A bucket's events of all sources, each source's copies left out."""
        found = []
        for events in map(join_events, parts.values()):
            kept = first_arrivals(events)
            if not kept.all():
                self.refused[DUPLICATE] = self.refused.get(DUPLICATE, 0) + int((~kept).sum())
            if events.id:
                events = events.take(np.flatnonzero(kept & self._in_reach(events.tile)))
            found.append(dataclasses.replace(events, id=()))
        return join_events(found)


def join_events(parts: Sequence[Events]) -> Events:
    """Events one after the other; all parts have the same columns."""
    if len(parts) == 1:
        return parts[0]

    def joined(columns: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
        return tuple(np.concatenate(column) for column in zip(*columns, strict=True))

    return Events(
        joined([part.keys for part in parts]),
        np.concatenate([part.tile for part in parts]),
        np.concatenate([part.event_us for part in parts]),
        np.concatenate([part.available_us for part in parts]),
        joined([part.values for part in parts]),
        joined([part.valid for part in parts]),
        joined([part.id for part in parts]),
        np.concatenate([part.position for part in parts]),
        {},
    )


def _table(events: Events, timed: bool) -> pa.Table:
    columns = {
        "entity": events.keys[0],
        "tile": events.tile,
        "available_us": events.available_us,
        **({"event_us": events.event_us} if timed else {}),
        **{f"value_{i}": values for i, values in enumerate(events.values)},
        **{f"valid_{i}": valid for i, valid in enumerate(events.valid)},
        **{f"id_{i}": part for i, part in enumerate(events.id)},
    }
    return pa.table(columns)


def _what(view: FeatureView, source: str) -> str:
    return f"The source {source!r} of FeatureView {view.name!r}"
