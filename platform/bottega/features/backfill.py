"""Backfill: a view's tiles, day after day, kept in the offline store and computed once.

A day is computed again only where its inputs changed: the declaration, or the files or rows that hold its events. A
backfill that was interrupted goes on with the first day that is missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from bottega.features.store import OfflineStore
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class KnownTiles:
    """What events add up to, by entity, tile and the moment from which it is known; (n,) each.

    A tile's events that are on time are one row, known from the tile's end; late events of a tile are a row for each
    moment of arrival. `keys` int64, or object for text; `state` (states, n) int64 in the order of Definition.states, of
    the kind `distinct` always 0: `members` holds, for each of those in turn, the row (m,) and the value (m,) of
    every different value. Sorted by keys, tile and known_us.
    """

    keys: tuple[np.ndarray, ...]
    tile: np.ndarray
    known_us: np.ndarray
    state: np.ndarray
    members: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Backfilled:
    """Which days (ISO dates, UTC) were computed and which were there already, and the events refused by reason."""

    computed: tuple[str, ...]
    kept: tuple[str, ...]
    refused: dict[str, int]


def backfill(
    view: FeatureView,
    sources: Mapping[str, "pd.DataFrame"],
    store: OfflineStore,
    since: datetime,
    until: datetime,
    progress: Progress = silent,
) -> Backfilled:
    """Make the store hold the view's tiles of every day (UTC) that [since, until) touches; one segment a day.

    A tile belongs to the day in which it begins.
    """
    raise NotImplementedError


def read_tiles(view: FeatureView, store: OfflineStore, since: datetime, until: datetime) -> Iterator[KnownTiles]:
    """The backfilled tiles that begin in [since, until), one day's after the other; NotFound where a day is missing."""
    raise NotImplementedError
