"""Opening hours of a week on a place's own clock, over midnight too."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from bottega.errors import InvalidData

DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Spans = tuple[tuple[int, int], ...]
"""Opening hours: (start, end) in minutes from Monday 00:00, end exclusive; past 10,080 it reaches into next Monday."""


def read_span(text: str) -> tuple[int, int]:
    """Start and end in minutes from midnight of `HH:MM-HH:MM`; an end that is not after the start is of the next day.

    >>> read_span("20:00-01:30")
    (1200, 1530)
    """
    try:
        start, end = (int(part[:-3]) * 60 + int(part[-2:]) for part in text.strip().split("-"))
        if not (text.count(":") == 2 and 0 <= start < DAY_MIN and 0 <= end <= DAY_MIN):
            raise ValueError
    except ValueError:
        raise InvalidData(
            f"{text!r} are no opening hours.", next_step="Write HH:MM-HH:MM, such as 20:00-01:30."
        ) from None
    return start, end if end > start else end + DAY_MIN


def on_days(span: tuple[int, int], days: Sequence[str]) -> Spans:
    """One day's span on several days of the week.

    >>> on_days((1200, 1530), ["Sun"])
    ((9840, 10170),)
    """
    try:
        starts = [DAYS.index(day) * DAY_MIN for day in days]
    except ValueError:
        raise InvalidData(f"{list(days)} are no days.", next_step=f"Days are {', '.join(DAYS)}.") from None
    return tuple((start + span[0], start + span[1]) for start in starts)


def open_at(spans: Spans, moment: datetime, timezone: str) -> bool:
    """Whether a place with these hours is open at a moment, on the clock of its own zone; a naive one is of that clock.

    A Sunday that ends at 02:00 is still open on Monday at 01:59: the week goes round.
    """
    local = moment if moment.tzinfo is None else moment.astimezone(ZoneInfo(timezone))
    minute = local.weekday() * DAY_MIN + local.hour * 60 + local.minute
    return any(start <= minute < end or start <= minute + WEEK_MIN < end for start, end in spans)
