"""Declared checks on trips: each row is kept, or refused for the first rule that it breaks."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bottega.datasets.catalog import Check, Dataset
from bottega.datasets.tripfiles import RawTrips

MAJORITY = 0.99
"""Share of a file's pickups that one month must hold to be the file's month where the name says none."""
_FIRST_YEAR, _LAST_YEAR = 1990, 2059  # what bottega.times converts


@dataclass(frozen=True)
class Checked:
    """What the checks found, row by row."""

    reason: np.ndarray  # (rows,) int16: index into `reasons`, -1 where the row is good
    reasons: tuple[str, ...]
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
    rows = len(raw.wrong_type)
    pickup_at = to_utc(values["pickup_at"], dataset.timezone)
    dropoff_at = to_utc(values["dropoff_at"], dataset.timezone)
    duration_min = (dropoff_at - pickup_at) / np.timedelta64(1, "us") / 60e6  # NaT gives nan
    measured = values | {"duration_min": duration_min}
    reasons = dataset.reasons
    reason = np.full(rows, -1, np.int16)

    def refuse(bad: np.ndarray, name: str) -> None:
        reason[bad & (reason < 0)] = reasons.index(name)

    for check in dataset.checks:
        match check.kind:
            case "type":
                refuse(raw.wrong_type, check.reason)
            case "null":
                for column in dataset.columns:
                    if not column.nullable:
                        refuse(_is_null(values[column.name]), f"{check.reason}_{column.name}")
            case "month":
                if month is not None:
                    refuse(values["pickup_at"].astype("datetime64[M]") != month, check.reason)
            case "local_time":
                refuse(np.isnat(pickup_at) | np.isnat(dropoff_at), check.reason)
            case "range":
                refuse(~_in_range(measured[check.column], check, _is_integer(dataset, check.column)), check.reason)
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


def _is_null(column: np.ndarray) -> np.ndarray:
    return np.isnat(column) if column.dtype.kind == "M" else np.isnan(column)


def _is_integer(dataset: Dataset, name: str) -> bool:
    return any(column.name == name and column.type == "integer" for column in dataset.columns)


def _in_range(column: np.ndarray, check: Check, integer: bool) -> np.ndarray:
    good = np.isfinite(column)
    if check.minimum is not None:
        good &= column >= check.minimum
    if check.maximum is not None:
        good &= column <= check.maximum
    if check.above is not None:
        good &= column > check.above
    if integer:
        good &= column == np.floor(column)
    return good


def describe_reason(reason: str, dataset: Dataset) -> str:
    """The rule behind a reason, for reports: `distance_out_of_range` is `distance_mi 0.05 to 100`."""
    for check in dataset.checks:
        if check.reason == reason and check.kind == "range":
            low = f"above {check.above:g}" if check.above is not None else f"{check.minimum:g} to {check.maximum:g}"
            return f"{check.column} {low}"
    return re.sub("_", " ", reason)
