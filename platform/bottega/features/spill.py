"""Spill: bound events of asked entities, in buckets of entities small enough for memory."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bottega.features.batches import Batches
from bottega.features.binding import DUPLICATE, Events, bind_events
from bottega.features.copies import first_arrivals
from bottega.features.numbering import Numbering
from bottega.features.view import FeatureView
from bottega.files import disk_errors

if TYPE_CHECKING:
    pass

ROWS_AT_ONCE = 4_000_000
"""Events of one bucket: about a gigabyte while their windows are computed."""
Tables = Mapping[str, Any]
"""Source names to a data frame, or to Parquet files: a path, a folder, a list."""


@dataclass(frozen=True, eq=False)
class Bucket:
    """Events of some entities: `keys` is the entity's number alone. `refused` counts what the rules left out."""

    number: int
    events: Events


class Spill:
    """The events of a view that belong to asked entities, bucket by bucket: entity % buckets.

    One bucket stays in memory; more go to Arrow files in a temporary folder.
    """

    def __init__(self, view: FeatureView, sources: Tables, asked: Numbering, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._view, self._asked = view, asked
        self._batches = {
            name: Batches(f"The source {name!r} of FeatureView {view.name!r}", sources[name])
            for name in view.source_names
        }
        rows = sum(batches.rows for batches in self._batches.values())
        self.buckets = max(1, -(-rows // rows_at_once))
        self.refused: dict[str, int] = {}

    def read(self) -> Iterator[Bucket]:
        """The buckets, one after the other."""
        if self.buckets == 1:
            yield Bucket(0, self._without_copies({name: list(self._bound(name)) for name in self._batches}))
            return
        folder = Path(tempfile.mkdtemp(prefix="bottega-spill-"))
        try:
            with disk_errors(folder):
                for name in self._batches:
                    self._write(folder, name)
            for number in range(self.buckets):
                parts = {name: [_load(folder / f"{name}.{number}.arrow", self._view)] for name in self._batches}
                yield Bucket(number, self._without_copies(parts))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _bound(self, name: str) -> Iterator[Events]:
        """A source's events of asked entities, batch by batch."""
        source = self._view.find_source(name)
        times = [source.event_time, *([source.available_at] if source.available_at else [])]
        ids = [source.event_id] if source.event_id else []
        values = [source.column(column) for column in self._view.columns]
        for frame in self._batches[name].read(list(dict.fromkeys([*source.keys, *times, *values, *ids]))):
            bound = bind_events(self._view, frame, name)
            for reason, count in bound.refused.items():
                self.refused[reason] = self.refused.get(reason, 0) + count
            entity = self._asked.find(bound.keys, len(bound))
            yield _numbered(bound, entity).take(entity >= 0)

    def _write(self, folder: Path, name: str) -> None:
        writers: list[pa.RecordBatchFileWriter] = []
        try:
            for events in self._bound(name):
                table = _table(events)
                if not writers:
                    writers = [
                        pa.ipc.new_file(str(folder / f"{name}.{number}.arrow"), table.schema)
                        for number in range(self.buckets)
                    ]
                bucket = events.keys[0] % self.buckets
                for number, writer in enumerate(writers):
                    writer.write_table(table.filter(pa.array(bucket == number)))
        finally:
            for writer in writers:
                writer.close()

    def _without_copies(self, parts: Mapping[str, Sequence[Events]]) -> Events:
        """A bucket's events of all sources, each source's copies left out."""
        found = []
        for events in map(join_events, parts.values()):
            kept = first_arrivals(events)
            if not kept.all():
                self.refused[DUPLICATE] = self.refused.get(DUPLICATE, 0) + int((~kept).sum())
                events = events.take(kept)
            found.append(without_ids(events))
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


def without_ids(events: Events) -> Events:
    """The events once copies are gone: ids have done their work."""
    return Events(
        events.keys,
        events.tile,
        events.event_us,
        events.available_us,
        events.values,
        events.valid,
        (),
        events.position,
        events.refused,
    )


def _numbered(events: Events, entity: np.ndarray) -> Events:
    """The events with their entity's number for keys."""
    return Events(
        (entity,),
        events.tile,
        events.event_us,
        events.available_us,
        events.values,
        events.valid,
        events.id,
        events.position,
        events.refused,
    )


def _table(events: Events) -> pa.Table:
    columns = {
        "entity": events.keys[0],
        "tile": events.tile,
        "event_us": events.event_us,
        "available_us": events.available_us,
        **{f"value_{i}": values for i, values in enumerate(events.values)},
        **{f"valid_{i}": valid for i, valid in enumerate(events.valid)},
        **{f"id_{i}": part for i, part in enumerate(events.id)},
    }
    return pa.table(columns)


def _load(path: Path, view: FeatureView) -> Events:
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
    inputs = range(len(view.definition.inputs))
    ids = sorted(name for name in columns if name.startswith("id_"))
    return Events(
        (columns["entity"],),
        columns["tile"],
        columns["event_us"],
        columns["available_us"],
        tuple(columns[f"value_{i}"] for i in inputs),
        tuple(columns[f"valid_{i}"] for i in inputs),
        tuple(columns[name] for name in ids),
        np.arange(table.num_rows),
        {},
    )
