"""The windows as Ibis expressions, the same for every engine that Ibis speaks to.

On-time events are added up to tiles. The tiles are united with the distinct (entity, tile) pairs that requests ask for,
the spine, and its rows are kept: counts and sums are running totals at a window's two edges, least and greatest values
are RANGE frames. Late events are known to every request
that lies more than the lateness after them, so older late tiles go the same way; the newest ones are joined with the
requests directly, by their arrival.
"""

from collections.abc import Mapping, Sequence

import ibis
import numpy as np
import pyarrow as pa
from ibis.expr.types import IntegerColumn, Table

from bottega.features.binding import Events
from bottega.features.definition import SQUARE_BITS, Definition, Layout, State
from bottega.features.requests import Requests

COMBINE = {"min": "min", "max": "max", "last": "max"}
"""How a state's tiles combine, where they do not add up. `last` is kept as a rank by time and value."""


def request_table(requests: Requests) -> pa.Table:
    """What is asked: row, entity, tile, at_us."""
    columns = {"row": requests.row, "entity": requests.entity, "tile": requests.tile, "at_us": requests.at_us}
    return pa.table({name: np.asarray(column, np.int64) for name, column in columns.items()})


def event_table(events: Events, definition: Definition, ranks: Mapping[int, np.ndarray]) -> pa.Table:
    """Events: entity, tile, available_us, the inputs' values (null where not valid), and ranks for `last`."""
    columns: dict[str, pa.Array] = {
        "entity": pa.array(np.asarray(events.keys[0], np.int64)),
        "tile": pa.array(events.tile),
        "available_us": pa.array(events.available_us),
    }
    for i, (values, valid) in enumerate(zip(events.values, events.valid, strict=True)):
        columns[f"value_{i}"] = pa.array(values, mask=~valid)
        if i in ranks:
            columns[f"rank_{i}"] = pa.array(ranks[i], mask=~valid)
    return pa.table(columns)


def rank_events(events: Events, position: int) -> tuple[np.ndarray, np.ndarray]:
    """Each event's place by time and value of an input, (n,) int64, and the events in that order."""
    order = np.lexsort((events.values[position], events.event_us))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank, order


def scalar_states(layout: Layout) -> tuple[int, ...]:
    """The states that one column holds; `last` stands for its time as well."""
    return tuple(i for i, state in enumerate(layout.states) if state.kind not in ("last_at", "distinct"))


def needed_states(layout: Layout, window: int) -> tuple[int, ...]:
    """The scalar states that some value needs in a window."""
    return tuple(i for i in scalar_states(layout) if (i, window) in layout.needed)


def tiles(events: Table, definition: Definition, layout: Layout, by: Sequence[str]) -> Table:
    """Events added up by `by`."""
    found = {name_of(i): _aggregate(events, definition, layout.states[i]) for i in scalar_states(layout)}
    return events.group_by(list(by)).aggregate(**found)


def running_totals(tiles_of_events: Table, asked: Table, layout: Layout, delay_tiles: int = 0) -> Table:
    """Sums from the beginning to each edge of a window: entity, tile (the last one included), totals by state.

    A window's sum is the difference at its two edges, so one pass serves all states and windows. A window ends
    `delay_tiles` + 1 before its request's tile.
    """
    names = [name_of(i) for i in sums(layout, delay_tiles)]
    pairs = asked.select("entity", "tile").distinct()
    moved = [pairs.mutate(tile=pairs.tile - steps) for steps in edge_steps(layout, delay_tiles)]
    edges = ibis.union(*moved, distinct=True)
    empty = {name: ibis.literal(0, "int64") for name in names}
    united = (
        tiles_of_events.select("entity", "tile", *names)
        .mutate(edge=ibis.literal(0))
        .union(edges.mutate(**empty).select("entity", "tile", *names).mutate(edge=ibis.literal(1)))
    )
    until = ibis.window(group_by="entity", order_by=["tile", "edge"], preceding=None, following=0)
    totals = {name: united[name].sum().over(until).cast("int64") for name in names}
    return united.select("entity", "tile", "edge", **totals).filter(lambda row: row.edge == 1).drop("edge")


def sums(layout: Layout, delay_tiles: int = 0) -> tuple[int, ...]:
    """The states that add up and that some window beyond the delay needs."""
    return _needed(layout, delay_tiles, adds=True)


def extremes(layout: Layout, delay_tiles: int = 0) -> tuple[int, ...]:
    """The states that do not add up and that some window beyond the delay needs."""
    return _needed(layout, delay_tiles, adds=False)


def edge_steps(layout: Layout, delay_tiles: int) -> tuple[int, ...]:
    """How many tiles before a request's own its windows end, then begin (the tile before the first)."""
    return delay_tiles + 1, *(length + 1 for length in layout.windows.tolist() if length > delay_tiles)


def _needed(layout: Layout, delay_tiles: int, adds: bool) -> tuple[int, ...]:
    long = {j for j, length in enumerate(layout.windows.tolist()) if length > delay_tiles}
    found = {i for i, j in layout.needed if j in long and layout.states[i].adds == adds}
    return tuple(sorted(found & set(scalar_states(layout))))


def extreme_totals(tiles_of_events: Table, asked: Table, layout: Layout, delay_tiles: int = 0) -> Table:
    """Least and greatest values by RANGE frames over tiles united with the requests' distinct (entity, tile)."""
    states = extremes(layout, delay_tiles)
    names = [name_of(i) for i in states]
    spine = asked.select("entity", "tile").distinct()
    empty = {name: ibis.null("int64") for name in names}
    united = (
        tiles_of_events.mutate(wanted=ibis.literal(False))
        .select("entity", "tile", *names, "wanted")
        .union(spine.mutate(**empty, wanted=ibis.literal(True)).select("entity", "tile", *names, "wanted"))
    )
    totals = {}
    for j, length in enumerate(layout.windows.tolist()):
        if length <= delay_tiles:
            continue
        frame = ibis.range_window(group_by="entity", order_by="tile", preceding=(length, delay_tiles + 1))
        for i in needed_states(layout, j):
            if i in states:
                combine = COMBINE[layout.states[i].kind]
                totals[total_of(i, j)] = getattr(united[name_of(i)], combine)().over(frame).cast("int64")
    return united.select("entity", "tile", "wanted", **totals).filter(lambda row: row.wanted).drop("wanted")


def recent(cells: Table, asked: Table, layout: Layout, reach: int) -> Table:
    """Window totals of late cells in the last `reach` tiles before each request, of those known at its moment."""
    pairs = near(cells, asked, reach)
    totals = {}
    for j, length in enumerate(layout.windows.tolist()):
        inside = pairs.cell_tile >= pairs.tile - min(length, reach)
        for i in needed_states(layout, j):
            combine = COMBINE.get(layout.states[i].kind, "sum")
            totals[total_of(i, j)] = getattr(pairs[name_of(i)], combine)(where=inside).cast("int64")
    return pairs.group_by("row").aggregate(**totals)


def distinct_counts(cells: Table, asked: Table, layout: Layout, state: int, window: int) -> Table:
    """How many different values of a state each request sees in a window: row, total."""
    reach = int(layout.windows[window])
    pairs = near(cells, asked, reach)
    return pairs.group_by("row").aggregate(**{total_of(state, window): pairs.value.nunique()})


def near(cells: Table, asked: Table, reach: int) -> Table:
    """Requests beside the cells of their entity in the `reach` tiles before them that are known at their moment.

    Both are cut into stretches of `reach` tiles: a request meets the stretch before its tile and the one before that,
    so the join is by equality.
    """
    stretches = [
        asked.mutate(stretch=_stretch(asked.tile - 1, reach) - before).select(
            "row", "entity", "tile", "at_us", "stretch"
        )
        for before in (0, 1)
    ]
    cut = cells.mutate(stretch=_stretch(cells.tile, reach)).rename(cell_tile="tile")
    pairs = ibis.union(*stretches).inner_join(cut, ["entity", "stretch"])
    known = (
        (pairs.cell_tile < pairs.tile) & (pairs.cell_tile >= pairs.tile - reach) & (pairs.available_us <= pairs.at_us)
    )
    return pairs.filter(known)


def name_of(state: int) -> str:
    """The column of a state."""
    return f"s{state}"


def total_of(state: int, window: int) -> str:
    """The column of a state's total in a window."""
    return f"s{state}_w{window}"


def _stretch(tile: IntegerColumn, reach: int) -> IntegerColumn:
    """tile // reach in whole numbers: Ibis divides by way of floating point, exact below 2**53 after the cast."""
    return ((tile - tile % reach) / reach).cast("int64")


def _aggregate(events: Table, definition: Definition, state: State) -> ibis.Expr:
    if state.kind == "rows":
        return events.count()
    position = definition.inputs.index(state.input)
    column = events[f"value_{position}"]
    match state.kind:
        case "n":
            return column.count()
        case "min":
            return column.min()
        case "max":
            return column.max()
        case "last":
            return events[f"rank_{position}"].max()
        case "squares_high":
            return ((column * column) >> SQUARE_BITS).sum().cast("int64")
        case "squares_low":
            return ((column * column) & (2**SQUARE_BITS - 1)).sum().cast("int64")
        case _:
            return column.sum().cast("int64")
