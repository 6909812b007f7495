"""History: what a bucket's events add up to, as tables of an engine, before any request is asked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from ibis.expr.types import Table

from bottega.features import spine
from bottega.features.binding import Events
from bottega.features.definition import Definition, Input, State, layout_of
from bottega.features.engines import Engine

NO_EVENT = -1
"""The rank of an event that is not there."""


@dataclass(frozen=True, eq=False)
class History:
    """Tiles of entities, as an engine's tables; tiles count from `first_tile`, and all lie within `span` tiles.

    `on_time` has a row for each (entity, tile), `late` (None where nothing was) for each (entity, tile, available_us),
    with the tile of its `arrival`. `states` are what their columns hold, `columns` each state's column by its place;
    two states share one where they are equal here. `values` has, for each distinct state, (entity, tile, known_us,
    value). `ranks` has, for each `last` state, time and value by rank.
    """

    first_tile: int
    span: int
    on_time: Table
    late: Table | None
    states: Mapping[str, State]
    columns: Mapping[int, str]
    values: Mapping[int, Table]
    ranks: Mapping[int, tuple[np.ndarray, np.ndarray]]


def history_of_events(engine: Engine, definition: Definition, events: Events, first_tile: int, span: int) -> History:
    """The history of events, whose one key is the entity's number."""
    layout = layout_of(definition)
    complete = {one for one, valid in zip(definition.inputs, events.valid, strict=True) if valid.all()}
    columns = state_columns(definition, complete)
    states = {name: layout.states[i] for i, name in reversed(columns.items())}
    ranked = {i: definition.inputs.index(layout.states[i].input) for i in columns if layout.states[i].kind == "last"}
    order = {i: np.lexsort((events.values[position], events.event_us)) for i, position in ranked.items()}
    given = _event_table(definition, events, first_tile, {position: order[i] for i, position in ranked.items()})
    rows = engine.table("events", given)
    late = None
    if "arrival" in given.column_names:
        cells = rows.filter(rows.arrival > rows.tile)
        cells = spine.add_up(cells, definition, states, ["entity", "tile", "arrival", "available_us"])
        late = engine.keep("late_tiles", cells)
    punctual = rows.filter(rows.arrival == rows.tile) if late is not None else rows
    values = {}
    for i, state in enumerate(layout.states):
        if state.kind == "distinct":
            value = rows[f"value_{definition.inputs.index(state.input)}"]
            values[i] = rows.filter(value.notnull()).select("entity", "tile", "known_us", value=value).distinct()
    return History(
        first_tile,
        span,
        engine.keep("tiles", spine.add_up(punctual, definition, states, ["entity", "tile"])),
        late,
        states,
        columns,
        values,
        {i: (events.event_us[order[i]], events.values[position][order[i]]) for i, position in ranked.items()},
    )


def state_columns(definition: Definition, complete: Collection[Input]) -> dict[int, str]:
    """The needed states' columns by their places; of a complete input, one without nulls, all rows are counted once."""
    layout = layout_of(definition)
    found = {}
    for i in sorted({i for i, _ in layout.needed}):
        state = layout.states[i]
        if state.kind not in ("last_at", "distinct"):
            found[i] = "s0" if state.kind == "n" and state.input in complete else f"s{i}"
    return found


def _event_table(definition: Definition, events: Events, first_tile: int, order: Mapping[int, np.ndarray]) -> pa.Table:
    """Entity, tile, the inputs' values (null where not valid), ranks, and what distinct counts and late ones need."""
    tile_us = definition.tile_s * 1_000_000
    columns = {
        "entity": pa.array(events.keys[0].astype(np.int32)),
        "tile": pa.array((events.tile - first_tile).astype(np.int32)),
    }
    arrival = events.available_us // tile_us
    if (arrival > events.tile).any():
        columns["arrival"] = pa.array((arrival - first_tile).astype(np.int32))
        columns["available_us"] = pa.array(events.available_us)
    if any(state.kind == "distinct" for state in definition.states):
        columns["known_us"] = pa.array(np.maximum(events.available_us, (events.tile + 1) * tile_us))
    for i, (values, valid) in enumerate(zip(events.values, events.valid, strict=True)):
        columns[f"value_{i}"] = pa.array(values, mask=None if valid.all() else ~valid)
        if i in order:
            rank = np.empty(len(events), np.int64)
            rank[order[i]] = np.arange(len(events))
            columns[f"rank_{i}"] = pa.array(rank, mask=~valid)
    return pa.table(columns)
