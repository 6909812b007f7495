"""Materialise: put a span of past events into the online store, so that it answers as if it had seen them pass."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import InvalidInput
from bottega.eventlog import EventLog
from bottega.features.binding import DUPLICATE, Events, bind_events
from bottega.features.copies import first_arrivals, identities
from bottega.features.online import OnlineStore
from bottega.features.records import Stream
from bottega.features.tiles import tiles_of
from bottega.features.updater import stream_columns
from bottega.features.view import FeatureView
from bottega.times import parse_duration_s, to_epoch_us

if TYPE_CHECKING:
    import pandas as pd


def materialize(
    view: FeatureView,
    sources: Mapping[str, "pd.DataFrame"],
    store: OnlineStore,
    since: datetime,
    until: datetime,
    log: EventLog | None = None,
) -> int:
    """Make the store's tiles in [since, until) those of the view's sources, in one transaction; returns how many count.

    The sources must hold all events of the span; those outside it are ignored. Readers see the old tiles or the new
    ones, and running it again changes nothing. `since` and `until` lie on tile edges, else InvalidInput.

    Without `log`, late events of the span count however late they came: each read still counts those only that were
    known at its moment. With `log`, whose topics have the sources' names, the span ends where the stream takes over:
    events that were known before `until` count here, and the stream goes on with the first record that was not.
    """
    first, end = _tile_edge(view, "since", since), _tile_edge(view, "until", until)
    if end <= first:
        raise InvalidInput(f"until ({until}) is not after since ({since}).", next_step="Swap them.")
    refused: dict[str, int] = {}
    parts = [_events(view, name, sources[name], first, end, refused) for name in view.source_names]
    stream = None
    if log is not None:
        until_us = to_epoch_us(until)
        parts = [part.take(part.available_us < until_us) for part in parts]
        offsets = {name: first_known_at(view, name, log, until_us) for name in view.source_names}
        newest = max((int(part.available_us.max()) for part in parts if len(part)), default=None)
        stream = Stream(offsets, newest, refused)
    events = _joined(parts)
    store.replace(view.definition, tiles_of(events, view.definition), first, end, stream, _ids(parts))
    return len(events)


def first_known_at(view: FeatureView, source: str, log: EventLog, moment_us: int) -> int:
    """The offset of a topic's first record that became known at a moment or later; its end where there is none.

    A topic holds its records in the order of their arrival, so that halving finds it.
    """
    low, high = log.begin(source), log.end(source)
    while low < high:
        middle = (low + high) // 2
        if _arrival_us(view, source, log, middle) < moment_us:
            low = middle + 1
        else:
            high = middle
    return low


def _arrival_us(view: FeatureView, source: str, log: EventLog, offset: int) -> int:
    """When a record became known; unreadable ones count as always known."""
    from bottega.eventlog.records import decode_rows

    declared = view.find_source(source)
    rows = decode_rows(log.read(source, offset, 1).records, stream_columns(view, declared)).rows
    moments = rows[declared.available_at or declared.event_time].dropna()
    if moments.empty:
        return int(np.iinfo(np.int64).min)
    return to_epoch_us(moments.iloc[0].to_pydatetime()) + declared.delay_us


def _events(
    view: FeatureView, name: str, table: "pd.DataFrame", first: int, end: int, refused: dict[str, int]
) -> Events:
    """A source's events in tiles first to end (exclusive), without copies; refusals are added to `refused`."""
    bound = bind_events(view, table, name)
    inside = bound.take((bound.tile >= first) & (bound.tile < end))
    kept = first_arrivals(inside)
    for reason, count in (*bound.refused.items(), (DUPLICATE, int((~kept).sum()))):
        if count:
            refused[reason] = refused.get(reason, 0) + count
    return inside if kept.all() else inside.take(kept)


def _joined(parts: list[Events]) -> Events:
    """The events of several sources, one after the other; ids have done their work and are left out."""
    if len(parts) == 1:
        return parts[0]
    inputs, keys = range(len(parts[0].values)), range(len(parts[0].keys))
    return Events(
        tuple(np.concatenate([part.keys[i] for part in parts]) for i in keys),
        np.concatenate([part.tile for part in parts]),
        np.concatenate([part.event_us for part in parts]),
        np.concatenate([part.available_us for part in parts]),
        tuple(np.concatenate([part.values[i] for part in parts]) for i in inputs),
        tuple(np.concatenate([part.valid[i] for part in parts]) for i in inputs),
        (),
        np.concatenate([part.position for part in parts]),
        {},
    )


def _ids(parts: list[Events]) -> dict[int, np.ndarray]:
    """What tells the events of each source from copies that the stream may still bring."""
    return {i: identities(part) for i, part in enumerate(parts) if part.id and len(part)}


def _tile_edge(view: FeatureView, name: str, moment: datetime) -> int:
    tile, rest = divmod(to_epoch_us(moment), parse_duration_s(view.tile) * 1_000_000)
    if rest:
        raise InvalidInput(
            f"{name} ({moment}) does not lie on an edge of the {view.tile} tiles of FeatureView {view.name!r}.",
            next_step=f"Choose a multiple of {view.tile} since midnight UTC.",
        )
    return tile
