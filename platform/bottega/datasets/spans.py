"""Spans of time: which files can hold a span's rows, which rows lie in it, and what to say where none do."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from bottega.datasets.checks import to_utc
from bottega.datasets.tripfiles import month_in_name
from bottega.errors import InvalidInput
from bottega.times import to_epoch_us


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Raise InvalidInput for a moment without an offset, or an end that is not after the start."""
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"{name} is {moment.isoformat()}, which has no offset from UTC.", next_step="Add one.")
    if since is not None and until is not None and since >= until:
        raise InvalidInput(
            f"The span from {since.isoformat()} until {until.isoformat()} is empty.", next_step="Give a later end."
        )


def _month_bounds(month: str, timezone: str) -> tuple[datetime, datetime]:
    start = np.datetime64(month, "M")
    bounds = to_utc(np.array([start, start + 1]).astype("datetime64[us]"), timezone)
    return bounds[0].item().replace(tzinfo=UTC), bounds[1].item().replace(tzinfo=UTC)


def may_hold(file: Path, timezone: str, since: datetime | None, until: datetime | None) -> bool:
    """Whether the file can hold trips of [since, until): by the month in its name, True without one."""
    month = month_in_name(file)
    if month is None:
        return True
    start, end = _month_bounds(month, timezone)
    return (since is None or end > since) and (until is None or start < until)


def span_of_names(files: Iterable[Path], timezone: str) -> tuple[datetime, datetime]:
    """First and last second (UTC) of the months in the files' names."""
    bounds = [_month_bounds(month, timezone) for file in files if (month := month_in_name(file))]
    return min(start for start, _ in bounds), max(end for _, end in bounds) - timedelta(seconds=1)


def outside(
    label: str, span: tuple[datetime, datetime], since: datetime | None, until: datetime | None
) -> InvalidInput:
    """The error for a span without trips, which says what span there is."""
    asked = " ".join(
        f"{word} {moment:%Y-%m-%dT%H:%M}Z" for word, moment in (("from", since), ("until", until)) if moment
    )
    return InvalidInput(
        f"There are no trips {asked}: {label} has data from {span[0]:%Y-%m-%dT%H:%M}Z to {span[1]:%Y-%m-%dT%H:%M}Z.",
        next_step="Choose a span inside it, or fetch more with 'bottega data get'.",
    )


def in_span(pickup_at: np.ndarray, since: datetime | None, until: datetime | None) -> np.ndarray:
    """Which of (rows,) datetime64[us] UTC lie in [since, until); NaT does not, where a bound is given."""
    inside = np.ones(len(pickup_at), bool)
    if since is not None:
        inside &= pickup_at >= _microseconds(since)
    if until is not None:
        inside &= pickup_at < _microseconds(until)
    return inside


def _microseconds(moment: datetime) -> np.datetime64:
    return np.datetime64(to_epoch_us(moment), "us")
