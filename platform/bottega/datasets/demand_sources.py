"""Demand for a use case: every zone and hour that is known, with what happened around it, and the zones."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.demand import DATASET, HOUR, Demand, load_demand, simulate_demand_table
from bottega.datasets.origin import Origin, resolve
from bottega.datasets.reading import NONE, Gathered, Sources, inside
from bottega.datasets.simulator import SIMULATOR_END, SIMULATOR_START
from bottega.datasets.spans import check_span
from bottega.datasets.trip_sources import zones_of
from bottega.datasets.trips import fingerprint
from bottega.errors import InvalidInput
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace

NO_EMERGENCIES = pd.DataFrame(
    {"zone": np.zeros(0, np.int32), "declared_at": pd.DatetimeIndex([], tz="UTC").as_unit("us")}
)
NEIGHBOURS = 6
"""The zones around a zone are the so many whose centres are nearest."""


def read_demand_sources(
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
    """`demand` (see `dense`), `zones`, and `emergencies`, as `bottega.datasets.reading.Reader` says.

    No table tells emergencies: they are declared as events (zone, declared_at) in the event log.
    """
    check_span(since, until)
    origin = resolve(DATASET, workspace, settings)
    place = origin if data is None else inside(data, DATASET)
    found = _read(place, workspace, settings, since, until, progress)
    zones = zones_of(place, workspace, settings, known)
    hours = found.table["hour"]
    span = (since or hours.iloc[0].to_pydatetime(), until or hours.iloc[-1].to_pydatetime() + HOUR)
    tables = [found.table]
    for before in dict.fromkeys((place, origin)):
        if data is None or not isinstance(before, Origin) or before.kind != "simulator":  # it knows no real city's past
            tables.append(_history(before, workspace, settings, span[0], history))
    joined = pd.concat(tables, ignore_index=True).drop_duplicates(["hour", "zone"]).sort_values(["hour", "zone"])
    return Gathered(
        {"demand": dense(joined, zones), "zones": zones, "emergencies": NO_EMERGENCIES},
        len(found.table),
        found.rejected,
        origin.label if data is None else str(data),
        fingerprint(found.table),
        span,
    )


def dense(table: pd.DataFrame, zones: pd.DataFrame) -> pd.DataFrame:
    """Every zone in every hour that has any row: hour, zone, pickups, dropoffs, near_pickups, city_pickups, in order.

    A zone without a row in such an hour had no trip. `near_pickups` are those of the NEIGHBOURS nearest zones.
    Rows of zones that the table of zones lacks count in the city only.
    """
    ids = np.sort(zones["zone"].to_numpy())
    hours, hour = np.unique(table["hour"].to_numpy(), return_inverse=True)
    place = np.searchsorted(ids, table["zone"].to_numpy())
    known = ids[np.minimum(place, len(ids) - 1)] == table["zone"].to_numpy()
    counts = {}
    for name in ("pickups", "dropoffs"):
        counts[name] = np.zeros((len(hours), len(ids)), np.int64)
        counts[name][hour[known], place[known]] = table[name].to_numpy()[known]
    near = counts["pickups"] @ _nearest(zones.set_index("zone").loc[ids])
    city = np.bincount(hour, table["pickups"].to_numpy(), len(hours)).astype(np.int64)
    return pd.DataFrame(
        {
            "hour": pd.DatetimeIndex(np.repeat(hours, len(ids)), tz="UTC").as_unit("us"),
            "zone": np.tile(ids.astype(np.int32), len(hours)),
            "pickups": counts["pickups"].ravel(),
            "dropoffs": counts["dropoffs"].ravel(),
            "near_pickups": near.ravel(),
            "city_pickups": np.repeat(city, len(ids)),
        }
    )


def _nearest(zones: pd.DataFrame) -> np.ndarray:
    """1 where the row's zone is a NEIGHBOUR of the column's, (zones, zones) int64; a zone without place has none."""
    km = np.column_stack([zones["lat"] * 111.2, zones["lon"] * 84.3])
    apart = np.sqrt(((km[:, None] - km) ** 2).sum(axis=2))
    apart = np.where(np.isnan(apart) | np.eye(len(km), dtype=bool), np.inf, apart)
    order = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
    chosen = np.zeros((len(km), len(km)), np.int64)
    np.put_along_axis(chosen, order, 1, axis=1)
    return np.where(np.isfinite(apart), chosen, 0).T


def _read(
    place: Origin | Path,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    progress: Progress,
) -> Demand:
    if isinstance(place, Path):
        return load_demand(place, since, until)
    if place.path is None:
        return simulate_demand_table(workspace, settings, since or SIMULATOR_START, until or SIMULATOR_END, progress)
    return load_demand(place.path, since, until)


def _history(
    place: Origin | Path, workspace: Workspace, settings: Settings, first: datetime, history: timedelta
) -> pd.DataFrame:
    """What is known of the hours before the span; no row where the data begins with it."""
    try:
        return _read(place, workspace, settings, first - history - HOUR, first, silent).table
    except InvalidInput:
        return pd.DataFrame()
