"""The windows of tiles as Ibis expressions, the same for every engine that Ibis speaks to.

Events are added up to tiles, and united with the spine: the distinct (entity, tile) pairs that requests ask for. Counts
and sums are differences of running totals at a window's two edges, so one pass serves every state and window. What does
not subtract, least and greatest values, are RANGE frames. All numbers are whole.
"""

from collections.abc import Mapping, Sequence

import ibis
from ibis.expr.types import BooleanValue, IntegerColumn, Table

from bottega.features.definition import SQUARE_BITS, Definition, State

States = Mapping[str, State]
"""The states that a table of tiles holds, by their columns' names."""
Wanted = Mapping[str, tuple[str, State, int]]
"""New column: the tiles' column, its state, the window's length in tiles."""


def add_up(events: Table, definition: Definition, states: States, by: Sequence[str]) -> Table:
    """Events, with a column `value_<i>` for each of the definition's inputs, added up by `by`."""
    totals = {name: _added_up(events, definition, state) for name, state in states.items()}
    return events.group_by(list(by)).aggregate(**totals)


def merge(tiles: Table, states: States, by: Sequence[str]) -> Table:
    """Tiles added up by `by`."""
    return tiles.group_by(list(by)).aggregate(**{name: merged(tiles[name], state) for name, state in states.items()})


def merged(column: IntegerColumn, state: State, where: BooleanValue | None = None) -> IntegerColumn:
    """A state's tiles as one, of those that fulfil a condition; `last` is a rank by time and value."""
    if state.adds:
        return column.sum(where=where)
    return column.min(where=where) if state.kind == "min" else column.max(where=where)


def running_totals(tiles: Table, spine: Table, states: States, edges: Sequence[int], span: int, shards: int) -> Table:
    """Sums of an entity's tiles up to tile - edge, for each pair of the spine and each edge: id, edge, states.

    What an entity's total begins with is left open, it cancels in a difference: entities follow each other, `span`
    tiles each, in `shards` rows of entities.
    """

    def placed(rows: Table) -> dict[str, IntegerColumn]:
        return {"shard": rows.entity % shards, "place": rows.entity.cast("int64") * span + rows.tile}

    unasked = {"id": ibis.null("int32"), "edge": ibis.null("int8")}
    given = tiles.select(**placed(tiles), **unasked, **{name: tiles[name] for name in states})
    empty = {name: ibis.null("int64") for name in states}
    marks = spine.select(**placed(spine), id=spine.id)
    asked = [
        marks.select("shard", place=marks.place - edge, id="id", edge=ibis.literal(number, "int8"), **empty)
        for number, edge in enumerate(edges)
    ]
    united = ibis.union(given, *asked)
    until = ibis.range_window(group_by="shard", order_by="place", preceding=None, following=0)
    totals = {name: united[name].sum().over(until) for name in states}
    return united.select("id", "edge", **totals).filter(lambda row: row.id.notnull())


def extremes(tiles: Table, spine: Table, wanted: Wanted, newest: int) -> Table:
    """Least and greatest values over windows for each pair of the spine: id, and the wanted columns.

    A window ends `newest` tiles before the request's.
    """
    names = list(dict.fromkeys(name for name, _, _ in wanted.values()))
    given = tiles.select("entity", "tile", *names, id=ibis.null("int32"))
    asked = spine.select("entity", "tile", **{name: ibis.null("int64") for name in names}, id="id")
    united = given.union(asked)
    found = {}
    for column, (name, state, length) in wanted.items():
        frame = ibis.range_window(group_by="entity", order_by="tile", preceding=(length, newest))
        found[column] = merged(united[name], state).over(frame)
    return united.select("id", **found).filter(lambda row: row.id.notnull())


def _added_up(events: Table, definition: Definition, state: State) -> IntegerColumn:
    if state.kind == "rows":
        return events.count()
    position = definition.inputs.index(state.input)
    column = events[f"value_{position}"]
    match state.kind:
        case "n":
            return column.count()
        case "last":
            column = events[f"rank_{position}"]
        case "squares_high":
            column = (column * column) >> SQUARE_BITS
        case "squares_low":
            column = (column * column) & (2**SQUARE_BITS - 1)
    return merged(column, state)
