"""The meters' records of the invented city: trips as a taxi company would publish them, with its share of bad rows."""

import hashlib
import io
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.datasets.city import CITY_SEED, build_city
from bottega.datasets.incidents import (
    CITY_TIMEZONE,
    FareBug,
    Incident,
    IncidentTruth,
    Simulation,
    bounds_us,
    is_active,
    parameters,
)
from bottega.datasets.simulator import (
    SIMULATOR_END,
    SIMULATOR_START,
    Day,
    local_days,
    simulate_day,
    stream,
)
from bottega.datasets.tripfiles import ROWS_PER_MONTH
from bottega.files import write_atomic
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us, local_us
from bottega.workspace import Workspace

RECORDS_VERSION = 1
"""Raised when the simulator gives other trips for the same seed: cached files of an older one are not read again."""
RECORD_COLUMNS = (
    "pickup_at",
    "dropoff_at",
    "pu_zone",
    "do_zone",
    "distance_mi",
    "fare_usd",
    "rate_code",
    "passengers",
)
# Defects of meters and people, with their share of the rows, close to what New York's records show.
_DEFECTS = {
    "distance_zero": 0.042,
    "fare_negative": 0.004,
    "meter_left_on": 0.0035,
    "times_swapped": 0.001,
    "distance_absurd": 0.0006,
    "year_wrong": 0.0003,
    "zone_null": 0.0002,
}


def simulate_month(simulation: Simulation, month: date, progress: Progress = silent) -> pd.DataFrame:
    """All records of a month, in the order of its file, with the truth beside them.

    Columns: trip_id; RECORD_COLUMNS as published (times are wall clock, without a zone); pickup_us (true, UTC),
    true_fare_usd, defect (what is wrong with the row, or ""), fare_bug (whether such an incident changed the fare).
    """
    days = [day for n in range(31) if (day := month.replace(day=1) + timedelta(days=n)).month == month.month]
    tables = []
    for done, day in enumerate(days):
        progress(f"simulate {month:%Y-%m}", done, len(days))
        tables.append(_records(simulation, day, simulate_day(simulation, day)))
    progress(f"simulate {month:%Y-%m}", len(days), len(days))
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "trip_id", int(f"{month:%Y%m}") * ROWS_PER_MONTH + np.arange(len(table), dtype=np.int64))
    return table


def simulated_files(
    simulation: Simulation, workspace: Workspace, since: datetime, until: datetime, progress: Progress = silent
) -> tuple[Path, ...]:
    """The month files that cover [since, until), made where the workspace does not have them yet."""
    key = msgspec.json.encode([RECORDS_VERSION, CITY_SEED, simulation])
    folder = workspace.data / "city_simulator" / f"seed{simulation.seed}-{_digest(key)}"
    files = []
    for month in sorted({day.replace(day=1) for day in local_days(since, until)}):
        file = folder / f"trips_{month:%Y-%m}.parquet"
        if not file.exists():
            records = simulate_month(simulation, month, progress)[list(RECORD_COLUMNS)]
            buffer = io.BytesIO()
            pq.write_table(pa.Table.from_pandas(records, preserve_index=False), buffer)
            write_atomic(file, buffer.getvalue())
        files.append(file)
    return tuple(files)


def incident_truth(simulation: Simulation, incident: Incident) -> IncidentTruth:
    """What the incident truly was; its trips are those picked up during a lockdown, or with a wrong fare."""
    start_us, end_us = bounds_us(incident)
    start, end = max(from_epoch_us(start_us), SIMULATOR_START), min(from_epoch_us(end_us), SIMULATOR_END)
    ids = []
    for month in sorted({day.replace(day=1) for day in local_days(start, end)}):
        records = simulate_month(simulation, month)
        touched = is_active(incident, records.pickup_us.to_numpy())
        if isinstance(incident, FareBug):
            touched &= records.fare_bug.to_numpy()
        ids.append(records.trip_id.to_numpy()[touched])
    return IncidentTruth(incident.name, start, end, parameters(incident), np.concatenate(ids))


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:12]


def _records(simulation: Simulation, day: date, life: Day) -> pd.DataFrame:
    """A day's meter records, fares and bad rows included."""
    rng = stream(simulation, day, "meters")
    trips = len(life.pickup_us)
    minutes = (life.dropoff_us - life.pickup_us) / 60e6
    fare_usd, rate_code = _fares(life, minutes, rng)
    passengers = rng.choice([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], trips, p=[0.85, 0.08, 0.015, 0.008, 0.029, 0.018])
    unmetered = rng.uniform(size=trips) < 0.06  # dispatched without a meter: these columns stay empty together
    rate_code[unmetered] = passengers[unmetered] = np.nan
    billed_usd, fare_bug = _bill(simulation, day, life, fare_usd)
    records = pd.DataFrame(
        {
            "pickup_at": local_us(life.pickup_us, CITY_TIMEZONE).astype("datetime64[us]"),
            "dropoff_at": local_us(life.dropoff_us, CITY_TIMEZONE).astype("datetime64[us]"),
            "pu_zone": pd.array(life.pickup + 1, dtype="Int16"),
            "do_zone": pd.array(life.dropoff + 1, dtype="Int16"),
            "distance_mi": life.distance_mi,
            "fare_usd": billed_usd,
            "rate_code": rate_code,
            "passengers": passengers,
            "pickup_us": life.pickup_us,
            "true_fare_usd": fare_usd,
            "defect": "",
            "fare_bug": fare_bug,
        }
    )
    return _spoil(records, rng)


def _fares(life: Day, minutes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fare in dollars and rate code: 1 by the meter, 2 the flat rate between the island and the airport, 5 agreed."""
    city = build_city(CITY_SEED)
    trips = len(minutes)
    fare_usd = 3.0 + 2.0 * life.distance_mi + 0.5 * minutes
    rate_code = np.ones(trips)
    agreed = rng.uniform(size=trips) < 0.022
    fare_usd = np.where(agreed, fare_usd * rng.uniform(0.8, 1.5, trips), fare_usd)
    rate_code[agreed] = 5
    island = (city.zones.borough == "Lantern Island").to_numpy()
    airport = city.airport - 1
    flat = (island[life.pickup] & (life.dropoff == airport)) | ((life.pickup == airport) & island[life.dropoff])
    fare_usd[flat], rate_code[flat] = 52.0, 2
    return np.round(fare_usd, 1), rate_code


def _bill(simulation: Simulation, day: date, life: Day, fare_usd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is billed, and which trips a fare bug touched."""
    billed, touched = fare_usd.copy(), np.zeros(len(fare_usd), bool)
    rng = stream(simulation, day, "fare_bug")
    for incident in simulation.incidents:
        if isinstance(incident, FareBug):
            hit = (rng.uniform(size=len(billed)) < incident.share) & is_active(incident, life.pickup_us)
            billed[hit] = np.round(billed[hit] * incident.fare_factor, 1)
            touched |= hit
    return billed, touched


def _spoil(records: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Put the usual share of defects into the rows."""
    names = np.array([*_DEFECTS, ""])
    shares = [*_DEFECTS.values(), 1 - sum(_DEFECTS.values())]
    defect = rng.choice(names, len(records), p=shares)
    hours = pd.to_timedelta(rng.uniform(3.5, 24, len(records)).round(3), unit="h").astype("timedelta64[us]")
    records["defect"] = defect
    records.loc[defect == "distance_zero", "distance_mi"] = 0.0
    records.loc[defect == "fare_negative", "fare_usd"] *= -1
    late = defect == "meter_left_on"
    records.loc[late, "dropoff_at"] = records.pickup_at[late] + hours[late]
    swapped = defect == "times_swapped"
    records.loc[swapped, ["pickup_at", "dropoff_at"]] = records.loc[swapped, ["dropoff_at", "pickup_at"]].to_numpy()
    records.loc[defect == "distance_absurd", "distance_mi"] *= 10_000
    early = defect == "year_wrong"
    records.loc[early, ["pickup_at", "dropoff_at"]] -= pd.Timedelta(days=15 * 365)
    records.loc[defect == "zone_null", "do_zone"] = pd.NA
    return records
