"""Trips in one canonical table, from real files or the simulator, each row checked and refused rows kept aside."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.datasets.catalog import Dataset, dataset
from bottega.datasets.checks import Checked, check_trips, month_rule, refuse_duplicates, row_keys, to_utc
from bottega.datasets.incidents import Simulation
from bottega.datasets.origin import Origin
from bottega.datasets.quarantine import quarantine
from bottega.datasets.records import simulated_files
from bottega.datasets.simulator import SIMULATOR_END, SIMULATOR_START
from bottega.datasets.spans import check_span, in_span, may_hold, outside, span_of_names
from bottega.datasets.tripfiles import ROWS_PER_MONTH, RawTrips, month_in_name, read_trips, trip_files
from bottega.errors import InvalidData, InvalidInput
from bottega.progress import Progress, silent
from bottega.settings import Settings
from bottega.workspace import Workspace

KM_PER_MILE = 1.609344


@dataclass(frozen=True)
class Loaded:
    """Trips of a span, and what is to be known about them."""

    table: pd.DataFrame
    """trip_id int64; pickup_at, dropoff_at datetime64[us, UTC]; pu_zone, do_zone int32; distance_mi, fare_usd,
    rate_code, passengers, duration_min, speed_kmh float64; sorted by pickup_at."""
    rejected: dict[str, int]
    """Refused rows by reason: those whose pickup lies in the span, and those without a trustworthy pickup time."""
    data_source: str
    fingerprint: str
    """SHA-256 of the table's content: equal rows give the same, whichever schema or format they came in."""
    files: tuple[str, ...]
    month_rules: dict[str, str]
    """By file: the month that its rows had to lie in, and why."""


def load_trips(
    origin: Origin | Path | str,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = silent,
    *,
    simulation: Simulation | None = None,
) -> Loaded:
    """Load the trips with pickup in [since, until), both aware; refused rows go to the workspace's quarantine.

    Raises NotFound for a path that does not exist, InvalidData for a file that is not what it claims (naming the column
    or row), InvalidInput for a span outside the data.
    """
    check_span(since, until)
    files, declared, label = _files(origin, workspace, settings, since, until, progress, simulation)
    wanted = [file for file in files if may_hold(file, declared.timezone, since, until)]
    if not wanted:
        raise outside(label, span_of_names(files, declared.timezone), since, until)
    tables: list[pd.DataFrame] = []
    rejected: dict[str, int] = {}
    rules: dict[str, str] = {}
    rows_before: dict[str, int] = {}
    seen: dict[str, np.ndarray] = {}
    for done, file in enumerate(wanted):
        progress("read trips", done, len(wanted))
        raw = read_trips(file, declared)
        month, rules[file.name] = month_rule(month_in_name(file), raw.values["pickup_at"])
        key = "0" if month is None else str(month).replace("-", "")
        first_row = rows_before.get(key, 0)
        rows_before[key] = first_row + len(raw.wrong_type)
        checked = check_trips(raw, declared, month)
        if len(wanted) > 1:
            keys = row_keys(raw)
            checked = refuse_duplicates(checked, keys, seen.get(key, keys[:0]))
            seen[key] = np.concatenate([seen.get(key, keys[:0]), keys])
        quarantine(workspace.quarantine / declared.name / f"{file.name}.parquet", raw.original, checked)
        trip_id = int(key) * ROWS_PER_MONTH + first_row + np.arange(len(raw.wrong_type), dtype=np.int64)
        tables.append(_canonical(raw, checked, trip_id, since, until))
        for reason, count in _count(checked, since, until).items():
            rejected[reason] = rejected.get(reason, 0) + count
    progress("read trips", len(wanted), len(wanted))
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values(["pickup_at", "trip_id"], ignore_index=True)
    if table.empty:
        if since is None and until is None:
            raise _nothing_left(label, rejected, rules)
        raise outside(label, available_span(origin, workspace, settings, simulation=simulation), since, until)
    return Loaded(table, rejected, label, fingerprint(table), tuple(str(file) for file in wanted), rules)


def available_span(
    origin: Origin | Path | str,
    workspace: Workspace,
    settings: Settings,
    *,
    simulation: Simulation | None = None,
) -> tuple[datetime, datetime]:
    """First and last pickup (UTC) of the files; of the simulator its first moment and the one after its last."""
    if isinstance(origin, Origin) and origin.kind == "simulator":
        return SIMULATOR_START, SIMULATOR_END
    files, declared, label = _files(origin, workspace, settings, None, None, silent, simulation)
    bounds: list[datetime] = []
    for file in files:
        pickups = read_trips(file, declared, only=["pickup_at"]).values["pickup_at"]
        month, _ = month_rule(month_in_name(file), pickups)
        if month is not None:
            pickups = pickups[pickups.astype("datetime64[M]") == month]
        moments = to_utc(pickups, declared.timezone)
        moments = moments[~np.isnat(moments)]
        if len(moments):
            bounds += [moment.item().replace(tzinfo=UTC) for moment in (moments.min(), moments.max())]
    if not bounds:
        raise InvalidData(f"{label} has no row with a pickup time in its file's month.", next_step="Check the files.")
    return min(bounds), max(bounds)


def fingerprint(table: pd.DataFrame) -> str:
    """Hex SHA-256 over the names, types and values of a table's numeric and time columns."""
    digest = hashlib.sha256()
    for name in table.columns:
        digest.update(f"{name}:{table[name].dtype};".encode())
        column = table[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_localize(None)
        digest.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return digest.hexdigest()


def _files(
    origin: Origin | Path | str,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    progress: Progress,
    simulation: Simulation | None,
) -> tuple[tuple[Path, ...], Dataset, str]:
    """The files to read (simulated first where needed), the dataset that declares their checks, and the label."""
    if isinstance(origin, str | Path):
        return trip_files(Path(origin)), dataset("tlc_green_trips"), str(origin)
    if origin.kind != "simulator":
        if origin.path is None:
            raise InvalidInput(f"An origin of kind {origin.kind!r} needs a path.")
        return trip_files(origin.path), dataset("tlc_green_trips"), origin.label
    chosen = simulation or Simulation(seed=settings.seed)
    first, last = max(since or SIMULATOR_START, SIMULATOR_START), min(until or SIMULATOR_END, SIMULATOR_END)
    if first >= last:
        raise outside(origin.label, (SIMULATOR_START, SIMULATOR_END), since, until)
    return simulated_files(chosen, workspace, first, last, progress), dataset("city_simulator"), origin.label


def _canonical(
    raw: RawTrips, checked: Checked, trip_id: np.ndarray, since: datetime | None, until: datetime | None
) -> pd.DataFrame:
    good = (checked.reason < 0) & in_span(checked.pickup_at, since, until)
    values = {name: column[good] for name, column in raw.values.items()}
    duration_min = checked.duration_min[good]
    return pd.DataFrame(
        {
            "trip_id": trip_id[good],
            "pickup_at": pd.DatetimeIndex(checked.pickup_at[good], tz="UTC"),
            "dropoff_at": pd.DatetimeIndex(checked.dropoff_at[good], tz="UTC"),
            "pu_zone": values["pu_zone"].astype(np.int32),
            "do_zone": values["do_zone"].astype(np.int32),
            "distance_mi": values["distance_mi"],
            "fare_usd": values["fare_usd"],
            "rate_code": values["rate_code"],
            "passengers": values["passengers"],
            "duration_min": duration_min,
            "speed_kmh": values["distance_mi"] * KM_PER_MILE / (duration_min / 60),
        }
    )


def _count(checked: Checked, since: datetime | None, until: datetime | None) -> dict[str, int]:
    untimed = [name for name in checked.reasons if name in ("wrong_month", "nonexistent_local_time")]
    anywhen = np.isin(checked.reason, [checked.reasons.index(name) for name in untimed]) | np.isnat(checked.pickup_at)
    counted = checked.reason[(checked.reason >= 0) & (anywhen | in_span(checked.pickup_at, since, until))]
    return {
        checked.reasons[code]: int(count) for code, count in zip(*np.unique(counted, return_counts=True), strict=True)
    }


def _nothing_left(label: str, rejected: Mapping[str, int], rules: Mapping[str, str]) -> InvalidData:
    counts = ", ".join(f"{reason} {count}" for reason, count in rejected.items())
    months = "; ".join(f"{file}: {rule}" for file, rule in rules.items())
    return InvalidData(
        f"No row of {label} passes the checks: {counts} (month of {months}).",
        next_step="Look at the rows in the workspace's quarantine folder.",
    )
