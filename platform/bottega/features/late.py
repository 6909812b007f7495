"""Late events as Ibis expressions: what a request knew of the newest tiles, by the moment at which each event arrived.

An event arrives at most `reach` tiles after its own, so a request knows all of the tiles further back (`spine` adds
them up). Of the newer ones, what arrived in tiles before the request's own is exploded over the requests' tiles that
may see it; what arrived in the request's own tile is a running total by arrival. Neither compares events with requests
one by one, so the work grows with the events, and not with their product.
"""

import ibis
from ibis.expr.types import Table

from bottega.features.spine import States, Wanted, merge, merged


def arrived_before(late: Table, spine: Table, wanted: Wanted, states: States, reach: int) -> Table:
    """Of late tiles in a request's last `reach`, what arrived in tiles before its own: id, and the wanted columns."""
    cells = merge(late, states, ["entity", "tile", "arrival"])
    lags = cells.mutate(lag=ibis.range(1, reach + 1).unnest())
    seen = lags.mutate(tile=lags.tile + lags.lag.cast("int32"))
    seen = seen.filter(seen.tile > seen.arrival)
    pairs = spine.inner_join(seen, ["entity", "tile"])
    totals = {
        column: merged(pairs[name], state, where=pairs.lag <= length)
        for column, (name, state, length) in wanted.items()
    }
    return pairs.group_by("id").aggregate(**totals)


def arrived_meanwhile(late: Table, asked: Table, wanted: Wanted, reach: int) -> Table:
    """What arrived in each request's own tile up to its moment, of the tiles before: row, and the wanted columns."""
    here = late.mutate(lag=late.arrival - late.tile).drop("tile").rename(tile="arrival")
    columns = {
        column: ibis.ifelse(here.lag <= length, here[name], ibis.null("int64")) if length < reach else here[name]
        for column, (name, _, length) in wanted.items()
    }
    given = here.select("entity", "tile", at_us=here.available_us, row=ibis.null("int32"), **columns)
    some = asked.semi_join(given, ["entity", "tile"])
    empty = {column: ibis.null("int64") for column in wanted}
    united = given.union(some.select("entity", "tile", "at_us", "row", **empty))
    until = ibis.range_window(group_by=["entity", "tile"], order_by="at_us", preceding=None, following=0)
    totals = {column: merged(united[column], state).over(until) for column, (_, state, _) in wanted.items()}
    return united.select("row", **totals).filter(lambda row: row.row.notnull())
