"""Trips for a use case: those of a span with the history before it, their zones, and which zones meet."""

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.origin import Origin, data_files, resolve, zones_for
from bottega.datasets.reading import NONE, Gathered, Sources, inside
from bottega.datasets.trips import available_span, load_trips
from bottega.datasets.zones import load_adjacency, load_zones
from bottega.errors import InvalidInput, NotFound
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace

DATASET = "tlc_green_trips"
ZONES = "taxi_zones"
LONGEST_TRIP = timedelta(hours=3)
"""A trip that began so long before a moment may end after it, and counts from its end."""


def read_trip_sources(
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    *,
    data: Path | None = None,
    history: timedelta = timedelta(),
    known: Sources = NONE,
    progress: Progress = silent,
) -> Gathered:
    """`trips`, `zones` and `neighbours`, as `bottega.datasets.reading.Reader` says."""
    dataset = resolve(DATASET, workspace, settings)
    origin: Origin | Path = dataset if data is None else inside(data, DATASET)
    loaded = load_trips(origin, workspace, settings, since, until, progress)
    zones = zones_of(origin, workspace, settings, known, data)
    neighbours = neighbours_of(origin, workspace, settings, data)
    first = loaded.table["pickup_at"].iloc[0].to_pydatetime() if since is None else since
    places = (origin,) if data is None else (origin, dataset)
    before = _history(places, workspace, settings, first, history + LONGEST_TRIP)
    trips = loaded.table if before is None else pd.concat([before, loaded.table], ignore_index=True)
    return Gathered(
        {"trips": trips, "zones": zones, "neighbours": neighbours},
        len(loaded.table),
        loaded.rejected,
        loaded.data_source,
        loaded.fingerprint,
        _span(origin, workspace, settings, since, until),
    )


def _span(
    origin: Origin | Path, workspace: Workspace, settings: Settings, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """The span, its open ends filled in: from the first row to the second after the last one."""
    if since is not None and until is not None:
        return since, until
    first, last = available_span(origin, workspace, settings)
    is_simulated = isinstance(origin, Origin) and origin.kind == "simulator"
    return since or first, until or (last if is_simulated else last.replace(microsecond=0) + timedelta(seconds=1))


def _history(
    places: Sequence[Origin | Path], workspace: Workspace, settings: Settings, first: datetime, history: timedelta
) -> pd.DataFrame | None:
    """The trips before the first one, from the first place that has some; None where the data begins with it.

    The first features are null then, as they were.
    """
    for place in places:
        with contextlib.suppress(InvalidInput):
            return load_trips(place, workspace, settings, first - history, first).table
    return None


def zones_of(
    origin: Origin | Path, workspace: Workspace, settings: Settings, known: Sources, data: Path | None = None
) -> pd.DataFrame:
    """The zones that belong to these rows, or those that are `known` where there are none at hand.

    A folder `data` may hold zones of its own, under their dataset's name.
    """
    try:
        return load_zones(_zone_files(origin, workspace, settings, data))
    except NotFound:
        if "zones" not in known:
            raise
    return known["zones"].assign(borough="Unknown", zone_name="Unknown")


def neighbours_of(
    origin: Origin | Path, workspace: Workspace, settings: Settings, data: Path | None = None
) -> pd.DataFrame:
    """Which of those zones meet: zone_a and zone_b int32, the smaller first; no pair where there are no zone files."""
    try:
        pairs = load_adjacency(_zone_files(origin, workspace, settings, data))
    except NotFound:
        pairs = np.zeros((0, 2), np.int32)
    return pd.DataFrame(pairs, columns=["zone_a", "zone_b"])


def _zone_files(origin: Origin | Path, workspace: Workspace, settings: Settings, data: Path | None) -> Origin | Path:
    own = None if data is None else data / ZONES
    return own if own is not None and data_files(own) else zones_for(origin, workspace, settings)
