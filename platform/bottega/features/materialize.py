"""Materialise: put a span of past events into the online store, so that it answers as if it had seen them pass."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bottega.errors import Conflict, InvalidInput
from bottega.eventlog import EventLog
from bottega.features.arrivals import first_known_at, next_arrival
from bottega.features.backfill import backfill, recent_events
from bottega.features.binding import DUPLICATE, Events, bind_events
from bottega.features.buckets import Tables, needed_columns, open_batches
from bottega.features.chunks import EVER
from bottega.features.copies import first_arrivals, identities
from bottega.features.events import count_refused, join_events
from bottega.features.online import OnlineStore
from bottega.features.pieces import to_tiles
from bottega.features.records import Stream
from bottega.features.store import OfflineStore
from bottega.features.tile_table import TileTable
from bottega.features.tiles import Tiles, tiles_of
from bottega.features.updater import KEPT_US
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import DAY_US, from_epoch_us, parse_duration_s, to_epoch_us


def materialize(
    view: FeatureView,
    sources: Tables,
    store: OnlineStore,
    since: datetime,
    until: datetime,
    log: EventLog | None = None,
    tiles: OfflineStore | None = None,
    progress: Progress = silent,
) -> int:
    """Make the store's tiles in [since, until) those of the view's sources, in one transaction; returns how many count.

    The sources must hold all events of the span; those outside it are ignored. Readers see the old tiles or the new
    ones, and running it again changes nothing. `since` and `until` lie on tile edges, else InvalidInput.

    With `tiles`, each day's tiles are kept there (see `bottega.features.backfill`): an interrupted run goes on where it
    was, days that did not change are not computed again, and the events need not fit in memory. Refusals are then
    counted of the days that were computed, and ids of events are kept as long as the updater keeps them.

    Without `log`, late events of the span count however late they came: each read still counts those only that were
    known at its moment. No stream may bring them again.

    With `log`, whose topics have the sources' names, the stream takes over where the span ends: events that were known
    before `until` count here, and it goes on with the first record that was not. What the store has of later tiles is
    removed, since the stream brings it again.
    """
    span = _Span(_tile_edge(view, "since", since), _tile_edge(view, "until", until), since, until, log is not None)
    if span.end <= span.first:
        raise InvalidInput(f"until ({until}) is not after since ({since}).", next_step="Swap them.")
    offsets = _take_over(view, store, log, to_epoch_us(since), to_epoch_us(until)) if log is not None else {}
    if tiles is None:
        found = _of_events(view, sources, span, progress)
    else:
        found = _of_days(view, sources, tiles, span, progress)
    stream = None if log is None else Stream(offsets, found.newest_us, found.refused)
    cleared = span.end if log is None else EVER[1]
    store.replace(view.definition, found.tiles, span.first, cleared, stream, found.ids)
    return sum(int(some.whole.state[0].sum()) for some in found.tiles)  # the first state counts rows


@dataclass(frozen=True)
class _Span:
    """Tiles first to end (exclusive); whether events that were not known at the end are left to a stream."""

    first: int
    end: int
    since: datetime
    until: datetime
    handed_over: bool

    @property
    def before_us(self) -> int:
        """Events that became known at this moment or after do not count."""
        return to_epoch_us(self.until) if self.handed_over else np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Found:
    """What goes into the store: tiles (gone through again where a write is), and what the stream must know."""

    tiles: Iterable[Tiles]
    ids: dict[int, np.ndarray]
    newest_us: int | None
    refused: dict[str, int]


def _of_events(view: FeatureView, sources: Tables, span: _Span, progress: Progress) -> _Found:
    """Computed in memory, from all events at once."""
    parts, refused = [], dict[str, int]()
    for done, (name, table) in enumerate(open_batches(view, sources).items()):
        progress(f"materialise {view.name}", done, len(view.source_names))
        read = [bind_events(view, frame, name) for frame in table.read(needed_columns(view, view.find_source(name)))]
        for bound in read:
            count_refused(refused, bound.refused)
        inside = join_events([bound.take((bound.tile >= span.first) & (bound.tile < span.end)) for bound in read])
        kept = first_arrivals(inside)
        if not kept.all():
            count_refused(refused, {DUPLICATE: int((~kept).sum())})
        parts.append(inside.take(kept & (inside.available_us < span.before_us)))
    tiles = tiles_of(join_events([dataclasses.replace(part, id=()) for part in parts]), view.definition)
    progress(f"materialise {view.name}", len(parts), len(parts))
    return _Found([tiles], _ids(parts), _newest_us(parts), refused)


def _of_days(view: FeatureView, sources: Tables, store: OfflineStore, span: _Span, progress: Progress) -> _Found:
    """From the tiles of days that the offline store keeps; missing ones are computed first."""
    refused = backfill(view, sources, store, span.since, span.until, progress).refused
    since_us = to_epoch_us(span.until) - KEPT_US - parse_duration_s(view.lateness) * 1_000_000
    recent = recent_events(view, sources, max(from_epoch_us(since_us), span.since), span.until)
    parts = [part.take(first_arrivals(part) & (part.available_us < span.before_us)) for part in recent.values()]
    return _Found(_Days(view, store, span), _ids(parts), _newest_us(parts), refused)


@dataclass(frozen=True)
class _Days:
    """A span's tiles, read from the offline store day after day."""

    view: FeatureView
    store: OfflineStore
    span: _Span

    def __iter__(self) -> Iterator[Tiles]:
        first, last = to_epoch_us(self.span.since) // DAY_US, (to_epoch_us(self.span.until) - 1) // DAY_US
        for pieces in TileTable(self.view, self.store).read(first, last):
            yield to_tiles(pieces, self.view.definition, self.span.first, self.span.end, self.span.before_us)


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
            next_step=f"Run 'bottega features drop {view.name}', then materialise all that its windows cover.",
        )
    found = next_arrival(view.find_source(name), name, log, offset, log.end(name))
    return None if found is None else found[1]


def _newest_us(parts: Sequence[Events]) -> int | None:
    """When the last of the events became known."""
    return max((int(part.available_us.max()) for part in parts if len(part)), default=None)


def _ids(parts: Sequence[Events]) -> dict[int, np.ndarray]:
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
