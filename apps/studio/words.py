"""Figures and moments in words, for people."""

from datetime import datetime
from zoneinfo import ZoneInfo

from bottega.times import CITY_TIMEZONE


def milliseconds(duration_us: float) -> str:
    """A duration for people.

    >>> milliseconds(412.4), milliseconds(12_345.0)
    ('0.41 ms', '12.3 ms')
    """
    value_ms = duration_us / 1000
    return f"{value_ms:.2f} ms" if value_ms < 10 else f"{value_ms:.1f} ms"


def moment(at: datetime) -> str:
    """A moment in the city's local time.

    >>> moment(datetime.fromisoformat("2024-03-20T13:00:00+00:00"))
    '20 Mar 2024 09:00'
    """
    local = at.astimezone(ZoneInfo(CITY_TIMEZONE))
    return f"{local.day} {local:%b %Y %H:%M}"


def span(since: str, until: str) -> str:
    """Local days from the first to the last, of ISO texts with an exclusive end.

    >>> span("2024-02-08T05:00:00+00:00", "2024-03-07T05:00:00+00:00")
    '8 Feb to 6 Mar 2024'
    """
    zone = ZoneInfo(CITY_TIMEZONE)
    first = datetime.fromisoformat(since).astimezone(zone)
    last = datetime.fromtimestamp(datetime.fromisoformat(until).timestamp() - 1, zone)
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%b}{year} to {last.day} {last:%b %Y}"
