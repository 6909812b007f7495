"""Materialise: put a span of past events into the online store, so that it answers as if it had seen them pass."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import Conflict, InvalidInput
from bottega.eventlog import EventLog
from bottega.features.arrivals import first_known_at, next_arrival
from bottega.features.binding import DUPLICATE, Events, bind_events
from bottega.features.chunks import EVER
from bottega.features.copies import first_arrivals, identities
from bottega.features.online import OnlineStore
from bottega.features.records import Stream
from bottega.features.tiles import tiles_of
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us, parse_duration_s, to_epoch_us

if TYPE_CHECKING:
    import pandas as pd


def materialize(
    view: FeatureView,
    sources: Mapping[str, "pd.DataFrame"],
    store: OnlineStore,
    since: datetime,
    until: datetime,
    log: EventLog | None = None,
    progress: Progress = silent,
) -> int:
    """Make the store's tiles in [since, until) those of the view's sources, in one transaction; returns how many count.

    The sources must hold all events of the span; those outside it are ignored. Readers see the old tiles or the new
    ones, and running it again changes nothing. `since` and `until` lie on tile edges, else InvalidInput.

    Without `log`, late events of the span count however late they came: each read still counts those only that were
    known at its moment. No stream may bring them again.

    With `log`, whose topics have the sources' names, the stream takes over where the span ends: events that were known
    before `until` count here, and it goes on with the first record that was not. What the store has of later tiles is
    removed, since the stream brings it again.
    """
    first, end = _tile_edge(view, "since", since), _tile_edge(view, "until", until)
    if end <= first:
        raise InvalidInput(f"until ({until}) is not after since ({since}).", next_step="Swap them.")
    offsets = _take_over(view, store, log, to_epoch_us(since), to_epoch_us(until)) if log is not None else {}
    refused: dict[str, int] = {}
    parts = []
    for done, name in enumerate(view.source_names):
        progress(f"materialise {view.name}", done, len(view.source_names))
        parts.append(_events(view, name, sources[name], first, end, refused))
    stream = None
    if log is not None:
        parts = [part.take(part.available_us < to_epoch_us(until)) for part in parts]
        newest = max((int(part.available_us.max()) for part in parts if len(part)), default=None)
        stream = Stream(offsets, newest, refused)
    events = _joined(parts)
    cleared = end if log is None else EVER[1]
    store.replace(view.definition, tiles_of(events, view.definition), first, cleared, stream, _ids(parts))
    progress(f"materialise {view.name}", len(parts), len(parts))
    return len(events)


def _take_over(view: FeatureView, store: OnlineStore, log: EventLog, since_us: int, until_us: int) -> dict[str, int]:
    """Each source's offset from which the stream goes on.

    What lies before the span stays, so it must have all that the stream passes over, and nothing that the stream brings
    again: late events come within the lateness, so the span begins that long before both its end and what the stream
    has reached. InvalidInput, where it does not.
    """
    reached = store.stream(view.name).offsets
    lateness_us = parse_duration_s(view.lateness) * 1_000_000
    latest = until_us
    for name in view.source_names:
        if name in reached and (found := _reached_us(view, name, log, reached[name])) is not None:
            latest = min(latest, found)
    if since_us + lateness_us > latest:
        edge = (latest - lateness_us) // (parse_duration_s(view.tile) * 1_000_000) * parse_duration_s(view.tile)
        raise InvalidInput(
            f"The span of view {view.name!r} begins at {from_epoch_us(since_us)}, less than its lateness "
            f"({view.lateness}) before {from_epoch_us(latest)}, where the stream goes on: "
            "late events would be lost or count twice.",
            next_step=f"Begin at {from_epoch_us(edge * 1_000_000)} or earlier.",
        )
    return {name: first_known_at(view.find_source(name), name, log, until_us) for name in view.source_names}


def _reached_us(view: FeatureView, name: str, log: EventLog, offset: int) -> int | None:
    """When the first record became known that the stream has not read; None where it has read all."""
    if offset < log.begin(name):
        raise Conflict(
            f"The stream of view {view.name!r} stopped at record {offset} of topic {name!r}, which is trimmed away.",
            next_step="Drop the view (OnlineStore.drop) and materialise all that its windows cover.",
        )
    found = next_arrival(view.find_source(name), name, log, offset, log.end(name))
    return None if found is None else found[1]


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
