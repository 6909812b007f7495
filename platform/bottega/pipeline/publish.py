"""Publish: the events of a use case's sources appended to an event log in the order in which they became known."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import pandas as pd

from bottega.eventlog import EventLog
from bottega.features.arrivals import NEVER, append_arrivals, known_us, last_arrival_us
from bottega.features.updater import stream_columns
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import to_epoch_us


def publish(
    views: Iterable[FeatureView],
    sources: Mapping[str, pd.DataFrame],
    log: EventLog,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Append the events that became known in [since, until) to topics named like the sources; returns their ends.

    Idempotent: a topic's last record says how far it was published, and records that became known at the same moment
    are appended together, so that only what is newer follows.
    """
    ends = {}
    for name, readers in _readers(views).items():
        source, table = readers[0].find_source(name), sources[name]
        arrival_us = known_us(source, table)
        first_us = _next_us(last_arrival_us(source, name, log), since)
        wanted = (arrival_us >= first_us) & (True if until is None else arrival_us < to_epoch_us(until))
        append_arrivals(name, table.loc[wanted, _columns(readers, name)], arrival_us[wanted], log, progress)
        ends[name] = log.end(name)
    return ends


def _next_us(published_us: int | None, since: datetime | None) -> int:
    """The first moment whose events are wanted and not published yet."""
    after_us = NEVER if published_us is None else published_us
    return max(after_us + 1, NEVER if since is None else to_epoch_us(since))


def _readers(views: Iterable[FeatureView]) -> dict[str, list[FeatureView]]:
    """The views that read each source."""
    found: dict[str, list[FeatureView]] = {}
    for view in views:
        for name in view.source_names:
            found.setdefault(name, []).append(view)
    return found


def _columns(views: list[FeatureView], name: str) -> list[str]:
    """The columns that any view reads from a source."""
    return list(dict.fromkeys(column for view in views for column in stream_columns(view, view.find_source(name))))
