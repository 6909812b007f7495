"""Times: UTC inside, the city's local time only where people read and write.

Columns hold event times as int64 microseconds since 1970-01-01 UTC ("epoch_us"), or as pandas `datetime64[us, UTC]`.
"""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np

from bottega.errors import InvalidInput

CITY_TIMEZONE = "America/New_York"
"""Of New York and of the simulator's city."""

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_DURATIONS: Mapping[str, int] = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400})


def parse_duration_s(text: str) -> int:
    """Seconds of a duration such as `15m`, `1h` or `7d`.

    >>> parse_duration_s("15m")
    900
    """
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or int(number) == 0 or unit not in _DURATIONS:
        raise InvalidInput(f"{text!r} is not a duration.", next_step="Write a whole number and s, m, h or d: 15m, 7d.")
    return int(number) * _DURATIONS[unit]


def parse_time(text: str, timezone: str | None) -> datetime:
    """A moment in UTC from ISO 8601 text.

    `timezone` is the IANA zone for a text without offset (the command line's rule); None demands an offset (the rule
    of APIs). An ambiguous local hour is its first occurrence; a local time that the clock skips is refused.

    >>> parse_time("2024-01-16T08:30", "America/New_York").isoformat()
    '2024-01-16T13:30:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is not a time.", next_step="Write ISO 8601, for example 2024-01-16T08:30-05:00."
        ) from None
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    if timezone is None:
        raise InvalidInput(
            f"The time {text!r} has no offset from UTC.", next_step="Add one, for example 2024-01-16T08:30:00-05:00."
        )
    zone = ZoneInfo(timezone)
    utc = moment.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None) != moment:
        raise InvalidInput(
            f"The local time {text!r} does not exist in {timezone}: the clock skips it.",
            next_step="Give an hour later, or a time with an offset.",
        )
    return utc


def to_epoch_us(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_epoch_us(epoch_us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01 UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(epoch_us))


@functools.lru_cache(maxsize=8)
def _offsets(timezone: str) -> tuple[np.ndarray, np.ndarray]:
    """Transition instants (epoch_us) from 1990 to 2060 and the UTC offset (us) from each one on."""
    zone = ZoneInfo(timezone)
    hours = range(
        int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2060, 1, 1, tzinfo=UTC).timestamp()), 86400
    )
    instants, offsets = [np.iinfo(np.int64).min], []
    previous: int | None = None
    for start in hours:
        offset = _offset_s(start, zone)
        if previous is None:
            offsets.append(offset)
        elif offset != previous:
            low, high = start - 86400, start
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset_s(middle, zone) == previous else (low, middle)
            instants.append(high * 1_000_000)
            offsets.append(offset)
        previous = offset
    return np.array(instants, np.int64), np.array(offsets, np.int64) * 1_000_000


def _offset_s(epoch_s: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(epoch_s, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def local_us(epoch_us: np.ndarray, timezone: str) -> np.ndarray:
    """Wall-clock microseconds (as if UTC) in `timezone`: (batch,) int64 to (batch,) int64."""
    instants, offsets = _offsets(timezone)
    return epoch_us + offsets[np.searchsorted(instants, epoch_us, side="right") - 1]
