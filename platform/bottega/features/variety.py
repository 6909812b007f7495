"""Distinct counts as an Ibis expression: of each value, when it enters a window and when it leaves.

A value is in a window of w tiles from the moment at which an event with it becomes known to the end of the w-th tile
after the event's own. Intervals of equal values are cut where they overlap, so that the number of different values at a
moment is how many intervals began by then, less those that ended: a running total.
"""

from collections.abc import Sequence

import ibis
from ibis.expr.types import IntegerColumn, Table


def distinct_counts(values: Table, asked: Table, windows: Sequence[int], tile_us: int, first_us: int) -> Table:
    """How many different values each request sees in windows of so many tiles: row, window, total.

    `values` has (entity, value, tile, known_us) of events, each once; tile 0 begins at `first_us`.
    """
    earlier = ibis.window(group_by=["entity", "value"], order_by=["known_us", "tile"], preceding=(None, 1))
    ordered = values.mutate(seen=values.tile.max().over(earlier))
    spans = ordered.mutate(window=_each(windows))

    def end(tile: IntegerColumn) -> IntegerColumn:
        return (tile.cast("int64") + spans.window + 1) * tile_us + first_us

    spans = spans.select(
        "entity",
        "window",
        begin=ibis.greatest(spans.known_us, ibis.coalesce(end(spans.seen), spans.known_us)),
        end=end(spans.tile),
    )
    spans = spans.filter(spans.begin < spans.end)
    moments = asked.mutate(window=_each(windows))
    step, row = ibis.literal(1, "int64"), ibis.null("int32")
    united = ibis.union(
        spans.select("entity", "window", at_us="begin", step=step, row=row),
        spans.select("entity", "window", at_us="end", step=-step, row=row),
        moments.select("entity", "window", "at_us", step=ibis.null("int64"), row="row"),
    )
    until = ibis.range_window(group_by=["entity", "window"], order_by="at_us", preceding=None, following=0)
    totals = united.select("row", "window", total=united.step.sum().over(until))
    return totals.filter(totals.row.notnull())


def _each(windows: Sequence[int]) -> IntegerColumn:
    return ibis.array([ibis.literal(window, "int64") for window in windows]).unnest()
