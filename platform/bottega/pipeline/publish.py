"""Publish: the events of a use case's sources appended to an event log in the order in which they became known."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from bottega.eventlog import EventLog
from bottega.features.arrivals import last_arrival_us
from bottega.features.updater import stream_columns
from bottega.features.view import FeatureView
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us

AT_ONCE = 10_000


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
    from bottega.eventlog.records import encode_rows

    ends = {}
    for name, readers in _readers(views).items():
        columns, arrival = _columns(readers, name), _arrival(readers[0], name, sources[name])
        last_us = last_arrival_us(readers[0].find_source(name), name, log)
        wanted = arrival.notna() & (True if last_us is None else arrival > pd.Timestamp(from_epoch_us(last_us)))
        wanted &= (True if since is None else arrival >= since) & (True if until is None else arrival < until)
        order = np.argsort(arrival[wanted].to_numpy(), kind="stable")
        rows, moments = sources[name].loc[wanted, columns].iloc[order], arrival[wanted].iloc[order].to_numpy()
        begin = 0
        while begin < len(rows):
            progress(f"publish {name}", begin, len(rows))
            end = int(np.searchsorted(moments, moments[min(begin + AT_ONCE, len(rows)) - 1], side="right"))
            log.append(name, encode_rows(rows.iloc[begin:end]))
            begin = end
        progress(f"publish {name}", len(rows), len(rows))
        ends[name] = log.end(name)
    return ends


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


def _arrival(view: FeatureView, name: str, table: pd.DataFrame) -> pd.Series:
    """When each event becomes known."""
    source = view.find_source(name)
    moment = table[source.available_at or source.event_time]
    return moment + pd.Timedelta(source.delay_us, unit="us") if source.delay else moment
