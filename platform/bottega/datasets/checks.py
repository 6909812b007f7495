"""Declared checks on trips: the rules of any table, and those about a trip's month and its times."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bottega.datasets.catalog import Dataset
from bottega.datasets.rules import Verdict, broken_by, first_broken
from bottega.datasets.tripfiles import RawTrips

MAJORITY = 0.99
"""Share of a file's pickups that one month must hold to be the file's month where the name says none."""
_FIRST_YEAR, _LAST_YEAR = 1990, 2059  # what bottega.times converts


@dataclass(frozen=True)
class Checked(Verdict):
    """What the checks found, row by row."""

    pickup_at: np.ndarray  # (rows,) datetime64[us] UTC, NaT where there is none
    dropoff_at: np.ndarray  # (rows,) datetime64[us] UTC
    duration_min: np.ndarray  # (rows,) float64, difference in UTC


def month_rule(named: str | None, pickups: np.ndarray) -> tuple[np.datetime64 | None, str]:
    """The month that a file's rows must lie in, and which rule says so; None: no month check.

    `pickups` are wall-clock datetime64[us]; `named` is the YYYY-MM in the file's name.
    """
    if named is not None:
        return np.datetime64(named, "M"), f"{named}, from the file's name"
    known = pickups[~np.isnat(pickups)].astype("datetime64[M]")
    if not len(known):
        return None, "no month check: no pickup times"
    months, counts = np.unique(known, return_counts=True)
    largest = int(np.argmax(counts))
    if counts[largest] >= MAJORITY * len(known):
        return months[largest], f"{months[largest]}, the month of {counts[largest]} of {len(known)} rows"
    return None, f"no month check: the rows spread over {len(months)} months"


def to_utc(local: np.ndarray, timezone: str) -> np.ndarray:
    """UTC of wall-clock times (rows,) datetime64[us]: the first occurrence of an ambiguous one, NaT for a skipped one.

    >>> to_utc(np.array(["2023-11-05T01:30"], "datetime64[us]"), "America/New_York")[0].item().isoformat()
    '2023-11-05T05:30:00'
    """
    year = local.astype("datetime64[Y]").astype(np.int64) + 1970  # NaT becomes a year far outside
    usable = np.where((year >= _FIRST_YEAR) & (year <= _LAST_YEAR), local, np.datetime64("NaT", "us"))
    first = np.ones(len(local), bool)
    aware = pd.DatetimeIndex(usable).tz_localize(timezone, ambiguous=first, nonexistent="NaT")
    return aware.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")


def check_trips(raw: RawTrips, dataset: Dataset, month: np.datetime64 | None) -> Checked:
    """Try the rules of `dataset` in their declared order on each row."""
    values = raw.values
    pickup_at = to_utc(values["pickup_at"], dataset.timezone)
    dropoff_at = to_utc(values["dropoff_at"], dataset.timezone)
    duration_min = (dropoff_at - pickup_at) / np.timedelta64(1, "us") / 60e6  # NaT gives nan
    measured = values | {"duration_min": duration_min}

    def broken() -> Iterator[tuple[str, np.ndarray]]:
        for check in dataset.checks:
            match check.kind:
                case "type":
                    yield check.reason, raw.wrong_type
                case "month" if month is not None:
                    yield check.reason, values["pickup_at"].astype("datetime64[M]") != month
                case "local_time":
                    yield check.reason, np.isnat(pickup_at) | np.isnat(dropoff_at)
                case "null" | "range":
                    yield from broken_by(check, dataset.columns, measured)

    reasons = dataset.reasons
    reason = first_broken(len(raw.wrong_type), reasons, broken())
    return Checked(reason, reasons, pickup_at, dropoff_at, duration_min)


def row_keys(raw: RawTrips) -> np.ndarray:
    """A hash of what makes a trip that trip, (rows,) uint64: times, zones, and distance and fare to the hundredth."""
    values = {name: raw.values[name] for name in ("pickup_at", "dropoff_at", "pu_zone", "do_zone")}
    values |= {name: np.round(raw.values[name], 2) for name in ("distance_mi", "fare_usd")}
    return pd.util.hash_pandas_object(pd.DataFrame(values), index=False).to_numpy()


def refuse_duplicates(checked: Checked, keys: np.ndarray, earlier: np.ndarray) -> Checked:
    """Refuse good rows whose key an earlier file of the same month has: the same month given twice, say."""
    repeated = (checked.reason < 0) & np.isin(keys, earlier)
    reason = np.where(repeated, np.int16(checked.reasons.index("duplicate")), checked.reason)
    return replace(checked, reason=reason)
