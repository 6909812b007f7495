"""Sources: the tables that a use case's labels and views are made of, read from wherever the dataset resolves to."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.origin import Origin, resolve, zones_for
from bottega.datasets.trips import Loaded, load_trips
from bottega.datasets.zones import load_zones
from bottega.errors import InvalidInput, NotFound
from bottega.features.plan import Table
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.training.recipe import Sources
from bottega.usecase import UseCase
from bottega.workspace import Workspace

LONGEST_TRIP = timedelta(hours=3)


@dataclass(frozen=True)
class Gathered:
    """The sources, what is to be known of the span's trips, and where they came from."""

    sources: Sources
    loaded: Loaded
    origin: Origin | Path


def gather(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    *,
    data: Path | None = None,
    zone_table: Table | None = None,
    progress: Progress = silent,
) -> Gathered:
    """The trips of [since, until), with as much history before it as the longest window needs, and the zones.

    `data` is a file or folder to read instead of the dataset; its history comes from the dataset, where that has it.
    `zone_table` stands in for the zones where the dataset's are not at hand.
    """
    dataset = resolve(usecase.dataset, workspace, settings)
    origin: Origin | Path = dataset if data is None else data
    loaded = load_trips(origin, workspace, settings, since, until, progress)
    zones = _zones(dataset, data, workspace, settings, zone_table)
    first = loaded.table["pickup_at"].iloc[0].to_pydatetime() if since is None else since
    before = _history(usecase, dataset, workspace, settings, first)
    trips = loaded.table if before is None else pd.concat([before, loaded.table], ignore_index=True)
    return Gathered({"trips": trips, "zones": zones}, loaded, origin)


def history_of(usecase: UseCase) -> timedelta:
    """How far back the features of a request may look: the longest window, and the trips that were under way then."""
    windows = [f.window_s for view in usecase.views if isinstance(view, FeatureView) for f in view.features]
    return timedelta(seconds=max(windows, default=0)) + LONGEST_TRIP


def _history(
    usecase: UseCase, origin: Origin, workspace: Workspace, settings: Settings, first: datetime
) -> pd.DataFrame | None:
    try:
        return load_trips(origin, workspace, settings, first - history_of(usecase), first).table
    except InvalidInput:  # the data begins with the span: the first features are null, as they were then
        return None


def _zones(
    origin: Origin,
    data: Path | None,
    workspace: Workspace,
    settings: Settings,
    zone_table: Table | None,
) -> pd.DataFrame:
    try:
        return load_zones(zones_for(data if data is not None else origin, workspace, settings))
    except NotFound:
        if zone_table is None:
            raise
    known = np.flatnonzero(zone_table.known)
    columns = {name: values[known] for name, values in zone_table.columns.items()}
    return pd.DataFrame({"zone": known.astype(np.int32), "borough": "Unknown", "zone_name": "Unknown", **columns})
