"""Advice on the span to retrain on after an alarm."""

from datetime import datetime

import msgspec
import pandas as pd

from bottega.monitoring.detection import Detection
from bottega.monitoring.monitor import Monitor


class RetrainSpan(msgspec.Struct, frozen=True):
    """Train on [since, until) (UTC): `rows` labelled so far, `ready` where they are enough, `reasons` for both."""

    since: datetime
    until: datetime
    rows: int
    ready: bool
    reasons: tuple[str, ...]


def recent_span(hourly: pd.DataFrame, alarm: Detection, monitor: Monitor, until: datetime) -> RetrainSpan:
    """The data from the change point on, up to `until`: only that describes the world as it is now.

    `hourly` is the hourly quality table of the judged model version (start, labels). The change point is where CUSUM's
    sum began to rise, which is early rather than late: some days of transition are better than too few rows. While the
    world still moves, the retrained model will alarm again, and the next span starts later.

    `bottega demo --scenario shock` shows it on the taxi trips of March and April 2020.
    """
    since = alarm.change_at.replace(minute=0, second=0, microsecond=0)
    used = hourly[(hourly["start"] >= since) & (hourly["start"] < until)]
    rows, days = int(used["labels"].sum()), (until - since).total_seconds() / 86400
    enough_rows, enough_days = rows >= monitor.min_retrain_rows, days >= monitor.min_retrain_days
    reasons = (
        f"The error began to shift at {since:%Y-%m-%d %H:%M} UTC; older data describes another world.",
        f"{rows} labels since then, {'enough' if enough_rows else 'too few'}: {monitor.min_retrain_rows:,} needed.",
        f"{days:.1f} days since then, {'enough' if enough_days else 'too few'}: {monitor.min_retrain_days:g} needed, "
        "to cover the daily rhythm and the promotion gate.",
    )
    return RetrainSpan(since, until, rows, enough_rows and enough_days, reasons)
