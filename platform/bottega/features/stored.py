"""Stored tiles in place of events: what a backfill kept, divided by entity, as the history of a bucket."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bottega.features.buckets import BYTES_AN_EVENT
from bottega.features.definition import Definition, layout_of
from bottega.features.engines import Engine
from bottega.features.history import History, state_columns
from bottega.features.pieces import Pieces
from bottega.features.requests import Requests
from bottega.features.spill import open_spill
from bottega.features.store import OfflineStore
from bottega.features.tile_table import TileTable
from bottega.features.tiles import ON_TIME
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import DAY_US


@dataclass(frozen=True, eq=False)
class Stored:
    """Tiles of a bucket.

    `pieces` has entity, tile, available_us and the states that are one number; `values` has, for each distinct state,
    entity, tile, available_us and value.
    """

    pieces: pa.Table
    values: dict[int, pa.Table]


class StoredBuckets:
    """The stored tiles of a view that requests may see; entity % count says in which bucket."""

    def __init__(
        self, view: FeatureView, store: OfflineStore, requests: Requests, first_us: int, end_us: int, memory_bytes: int
    ) -> None:
        self._view, self._requests = view, requests
        self._table = TileTable(view, store)
        self._days = (first_us // DAY_US, (end_us - 1) // DAY_US)
        self.count = max(1, -(-self._table.rows(*self._days) * BYTES_AN_EVENT // memory_bytes))

    def read(self, progress: Progress = silent) -> Iterator[tuple[Stored, Requests]]:
        """Each bucket's tiles and requests."""
        distinct = [i for i, state in enumerate(self._view.definition.states) if state.kind == "distinct"]
        with open_spill(self.count) as spill:
            for pieces in self._table.read(*self._days):
                found = self._seen(pieces)
                spill.add("pieces", found.pieces, found.pieces.column("entity").to_numpy() % self.count)
                for i, values in found.values.items():
                    spill.add(f"values_{i}", values, values.column("entity").to_numpy() % self.count)
            for number in range(self.count):
                if self.count > 1:
                    progress(f"windows of {self._view.name}", number, self.count)
                values = {i: spill.read(f"values_{i}", number) for i in distinct}
                mine = self._requests.take(self._requests.entity % self.count == number)
                yield Stored(spill.read("pieces", number), values), mine

    def _seen(self, pieces: Pieces) -> Stored:
        """The pieces of asked entities in tiles that some window covers."""
        since, until = self._requests.seen_tiles(layout_of(self._view.definition).longest)
        entity = self._requests.entities.find(pieces.keys, len(pieces.tile))
        seen = (entity >= 0) & (pieces.tile >= since) & (pieces.tile < until)
        places = {"entity": entity, "tile": pieces.tile, "available_us": pieces.available_us}
        states = {f"state_{i}": column for i, column in pieces.states.items()}
        values = {}
        for i, (piece, value) in pieces.values.items():
            held = seen[piece]
            columns = {name: column[piece[held]] for name, column in places.items()}
            values[i] = pa.table({**columns, "value": value[held]})
        rows = np.flatnonzero(seen)
        return Stored(pa.table({name: column[rows] for name, column in {**places, **states}.items()}), values)


def history_of_tiles(engine: Engine, definition: Definition, stored: Stored, first_tile: int, span: int) -> History:
    """The history of stored tiles."""
    layout = layout_of(definition)
    tile_us = layout.tile_us
    columns = state_columns(definition, ())
    states = {name: layout.states[i] for i, name in columns.items()}
    tile, available_us = (stored.pieces.column(name).to_numpy() for name in ("tile", "available_us"))
    given = {
        "entity": stored.pieces.column("entity"),
        "tile": pa.array((tile - first_tile).astype(np.int32)),
        "arrival": pa.array((available_us // tile_us - first_tile).astype(np.int32)),
        "available_us": stored.pieces.column("available_us"),
    }
    ranks = {}
    for i, name in columns.items():
        state, values = layout.states[i], stored.pieces.column(f"state_{i}").to_numpy()
        empty = values == state.neutral if not state.adds else None
        if state.kind == "last":
            at_us = stored.pieces.column(f"state_{i - 1}").to_numpy()
            order = np.lexsort((values, at_us))
            ranks[i] = at_us[order], values[order]
            values = np.empty(len(order), np.int64)
            values[order] = np.arange(len(order))
        given[name] = pa.array(values, mask=empty)
    rows = engine.table("pieces", pa.table(given))
    is_late = bool((available_us != ON_TIME).any())
    return History(
        first_tile,
        span,
        rows.filter(rows.available_us == ON_TIME),
        rows.filter(rows.available_us != ON_TIME) if is_late else None,
        states,
        columns,
        {i: engine.table(f"values_{i}", _known(values, first_tile, tile_us)) for i, values in stored.values.items()},
        ranks,
    )


def _known(values: pa.Table, first_tile: int, tile_us: int) -> pa.Table:
    """Different values, with the moment from which each is known."""
    tile, available_us = (values.column(name).to_numpy() for name in ("tile", "available_us"))
    return pa.table(
        {
            "entity": values.column("entity"),
            "tile": pa.array((tile - first_tile).astype(np.int32)),
            "known_us": pa.array(np.maximum(available_us, (tile + 1) * tile_us)),
            "value": values.column("value"),
        }
    )
