"""Demand: trips that began and ended, counted by place and hour, from files or from the simulator's trips."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.catalog import dataset
from bottega.datasets.incidents import Simulation
from bottega.datasets.origin import Origin
from bottega.datasets.relation import read_table
from bottega.datasets.simulator import SIMULATOR_END, SIMULATOR_START
from bottega.datasets.spans import check_span
from bottega.datasets.trips import load_trips
from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace

DATASET = "tlc_green_demand"
BOROUGHS = "uber_2015_demand"
HOUR = timedelta(hours=1)
_SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True)
class Demand:
    """Counts of a span, one row a place and hour: `hour` datetime64[us, UTC], the place, `pickups`, ...; in order.

    A place and hour without a row had none. `rejected` counts refused rows by reason, those without a time included.
    """

    table: pd.DataFrame
    rejected: dict[str, int]


def demand_files(path: Path, name: str = DATASET) -> tuple[Path, ...]:
    """The demand files at `path`: itself, or those of the folder or of its sub-folder `name`, in name order."""
    if path.is_file():
        return (path,)
    if not path.exists():
        raise NotFound(f"{path} does not exist.", next_step="Name a demand table, or a folder of such tables.")
    for folder in (path / name, path):
        files = sorted(f for f in folder.glob("[!.]*") if f.suffix.lower() in _SUFFIXES and f.is_file())
        if files:
            return tuple(files)
    raise InvalidData(
        f"The folder {path} holds no demand table.", next_step=f"Put .parquet or .csv files into it or {path / name}."
    )


def load_demand(path: Path, since: datetime | None = None, until: datetime | None = None) -> Demand:
    """Zone-hours in [since, until) from a file or folder: hour, zone int32, pickups, dropoffs int64.

    Raises NotFound where nothing is there, InvalidData for a table that is not one, InvalidInput for an empty span.
    """
    found = _load(demand_files(path), DATASET, "zone_hour", since, until)
    if found.table.empty:
        raise _nothing(str(path), found, since, until)
    return Demand(found.table.astype({"zone": np.int32, "pickups": np.int64, "dropoffs": np.int64}), found.rejected)


def load_borough_demand(path: Path, since: datetime | None = None, until: datetime | None = None) -> Demand:
    """Borough-hours in [since, until) with their weather: hour, borough, pickups, temp_f, precip_1h_in, ...

    Raises as `load_demand`.
    """
    found = _load(demand_files(path, BOROUGHS), BOROUGHS, "borough_hour", since, until)
    if found.table.empty:
        raise _nothing(str(path), found, since, until)
    return Demand(found.table.astype({"pickups": np.int64}), found.rejected)


def simulate_demand_table(
    workspace: Workspace, settings: Settings, since: datetime, until: datetime, progress: Progress = silent
) -> Demand:
    """Zone-hours in [since, until), counted from the city simulator's trips.

    Trips that its checks refuse are not counted, and those that began before the simulator's year neither.
    """
    first, last = max(since, SIMULATOR_START), min(until, SIMULATOR_END)
    if first >= last:
        raise InvalidInput(
            f"The simulator has demand from {SIMULATOR_START:%Y-%m-%d} to {SIMULATOR_END:%Y-%m-%d} only.",
            next_step="Choose a span inside that year.",
        )
    origin, simulation = Origin("simulator"), Simulation(seed=settings.seed)
    begun = max(first - timedelta(hours=3), SIMULATOR_START)  # who is under way then ends a trip in the span
    trips = load_trips(origin, workspace, settings, begun, last, progress, simulation=simulation).table
    return Demand(count_trips(trips, first, last), {})


def count_trips(trips: pd.DataFrame, since: datetime, until: datetime) -> pd.DataFrame:
    """Zone-hours in [since, until) of trips (pickup_at, dropoff_at UTC, pu_zone, do_zone), as `load_demand` gives."""
    counted = [
        trips.assign(hour=trips[at].dt.floor("h"), zone=trips[place]).groupby(["hour", "zone"]).size().rename(name)
        for at, place, name in (("pickup_at", "pu_zone", "pickups"), ("dropoff_at", "do_zone", "dropoffs"))
    ]
    table = pd.concat(counted, axis=1).fillna(0).astype(np.int64).reset_index()
    inside = (table["hour"] >= since) & (table["hour"] < until)
    table = table[inside].sort_values(["hour", "zone"], ignore_index=True)
    return table.astype({"zone": np.int32, "hour": "datetime64[us, UTC]"})


def _load(files: Sequence[Path], name: str, table: str, since: datetime | None, until: datetime | None) -> Demand:
    """The good rows of the span of every file; a place and hour that an earlier file has is a duplicate."""
    check_span(since, until)
    declared = dataset(name)
    tables, rejected = [], dict.fromkeys(declared.reasons, 0)
    for file in files:
        relation = read_table(file, declared, table)
        verdict, hour = relation.judge(), relation.rows["hour"]
        anywhen = hour.isna().to_numpy()
        inside = anywhen | ((hour >= (since or hour.min())) & ((hour < until) if until else True)).to_numpy()
        for code in verdict.reason[inside & ~verdict.good]:
            rejected[verdict.reasons[code]] += 1
        tables.append(relation.rows[inside & verdict.good])
    joined = pd.concat(tables, ignore_index=True)
    keys = joined.columns[:2].tolist()
    repeated = joined.duplicated(keys)
    rejected["duplicate"] += int(repeated.sum())
    kept = joined[~repeated].sort_values(keys, ignore_index=True)
    return Demand(kept, {reason: count for reason, count in rejected.items() if count})


def _nothing(label: str, found: Demand, since: datetime | None, until: datetime | None) -> InvalidInput:
    span = " ".join(f"{word} {at:%Y-%m-%d %H:%M}Z" for word, at in (("from", since), ("until", until)) if at)
    refused = ", ".join(f"{reason} {count}" for reason, count in found.rejected.items())
    return InvalidInput(
        f"{label} has no good row {span}{f'; refused: {refused}' if refused else ''}.".replace(" ;", ";"),
        next_step="Choose another span, or look at the file's rows.",
    )
