"""Backfill: a view's tiles, day after day, kept in the offline store and computed once.

A day is computed again only where its inputs changed: the declaration, or the files or rows that may hold its events. A
backfill that was interrupted goes on with the first day that is missing.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bottega.errors import InvalidInput
from bottega.features.batches import Batches
from bottega.features.binding import Events, bind_events
from bottega.features.buckets import Tables, needed_columns, open_batches
from bottega.features.events import count_refused, from_table, join_events, to_table, without_copies
from bottega.features.spill import open_spill
from bottega.features.stamps import Stamps
from bottega.features.store import OfflineStore
from bottega.features.tile_table import TileTable
from bottega.features.tiles import Tiles, tiles_of
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import DAY_US, from_epoch_us, parse_duration_s, to_epoch_us

DAYS_AT_ONCE = 100
"""Days that are read in one go; each has its own file while it is gathered."""


@dataclass(frozen=True)
class Backfilled:
    """Which days with events (ISO dates, UTC) were computed, and which were there already.

    `refused` counts, by reason, the events that the rules left out of what was read.
    """

    computed: tuple[str, ...]
    kept: tuple[str, ...]
    refused: dict[str, int]


def backfill(
    view: FeatureView,
    sources: Tables,
    store: OfflineStore,
    since: datetime,
    until: datetime,
    progress: Progress = silent,
) -> Backfilled:
    """Make the store hold the view's tiles of every day (UTC) that [since, until) touches.

    A tile belongs to the day in which it begins. A day's tiles are written when they are complete, and read by
    `TrainingSet.compute(..., tiles=store)`.

    Raises InvalidInput where `until` is not after `since`.
    """
    since_us, until_us = to_epoch_us(since), to_epoch_us(until)
    if until_us <= since_us:
        raise InvalidInput(f"until ({until}) is not after since ({since}).", next_step="Swap them.")
    days = range(since_us // DAY_US, (until_us - 1) // DAY_US + 1)
    batches = open_batches(view, sources)
    stamps = {name: Stamps(view, view.find_source(name), batches[name]) for name in batches}
    wanted = {day: _fingerprint([stamps[name].of(day) for name in stamps]) for day in days}
    table = TileTable(view, store)
    known, nothing = table.fingerprints(), _fingerprint([()] * len(stamps))
    missing = [day for day in days if known.get(day, nothing) != wanted[day]]
    refused: dict[str, int] = {}
    for first in range(0, len(missing), DAYS_AT_ONCE):
        some = missing[first : first + DAYS_AT_ONCE]
        for done, (day, tiles) in enumerate(_computed(view, batches, stamps, some, refused)):
            progress(f"tiles of {view.name}", first + done, len(missing))
            table.write(day, tiles, wanted[day])
    progress(f"tiles of {view.name}", len(missing), len(missing))
    kept = [day for day in days if known.get(day) == wanted[day]]
    return Backfilled(tuple(map(_iso, missing)), tuple(map(_iso, kept)), refused)


def recent_events(view: FeatureView, sources: Tables, since: datetime, until: datetime) -> dict[str, Events]:
    """Each source's events of the tiles in [since, until), bound; only files that may hold some are read."""
    tile_us = parse_duration_s(view.tile) * 1_000_000
    since_us, until_us = to_epoch_us(since), to_epoch_us(until)
    days, found = range(since_us // DAY_US, (until_us - 1) // DAY_US + 1), {}
    for name, table in open_batches(view, sources).items():
        source, parts = view.find_source(name), []
        for frame in table.read(needed_columns(view, source), Stamps(view, source, table).paths(days)):
            bound = bind_events(view, frame, name)
            parts.append(bound.take((bound.tile * tile_us >= since_us) & (bound.tile * tile_us < until_us)))
        found[name] = join_events(parts)
    return found


def _computed(
    view: FeatureView,
    batches: Mapping[str, Batches],
    stamps: Mapping[str, Stamps],
    days: Sequence[int],
    refused: dict[str, int],
) -> Iterator[tuple[int, Tiles]]:
    """The tiles of some days, one after the other."""
    definition, wanted = view.definition, np.array(days)
    tile_us = definition.tile_s * 1_000_000
    with open_spill(len(days)) as spill:
        for name, table in batches.items():
            for frame in table.read(needed_columns(view, view.find_source(name)), stamps[name].paths(days)):
                bound = bind_events(view, frame, name)
                count_refused(refused, bound.refused)
                begun = bound.tile * tile_us // DAY_US
                part = np.searchsorted(wanted, begun)
                mine = np.flatnonzero(wanted[np.minimum(part, len(days) - 1)] == begun)
                spill.add(name, to_table(bound.take(mine), definition), part[mine])
        for number, day in enumerate(days):
            parts = [from_table(spill.read(name, number)) for name in batches]
            yield day, tiles_of(without_copies(parts, refused), definition)


def _fingerprint(stamps: Sequence[tuple[str, ...]]) -> str:
    return hashlib.sha256(repr(stamps).encode()).hexdigest()


def _iso(day: int) -> str:
    return from_epoch_us(day * DAY_US).date().isoformat()
