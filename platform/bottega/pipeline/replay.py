"""Replay: past days sent through the running server as if they happened now, labels arriving when trips end.

This closes the loop: each day's trips are asked and answered, logged, judged when their labels arrive, watched; on an
alarm the model is trained again on the world as it is since the change, and released.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from bottega.datasets.reading import Sources
from bottega.errors import GateFailed, InvalidInput
from bottega.eventlog import EventLog
from bottega.features.materialize import materialize
from bottega.features.online import OnlineStore
from bottega.features.store import OfflineStore
from bottega.features.view import FeatureView
from bottega.monitoring.detection import Detection
from bottega.monitoring.labels import append_labels
from bottega.pipeline.sources import gather, history_of
from bottega.pipeline.watch import watch_live
from bottega.progress import Progress, silent
from bottega.serving.client import Client
from bottega.settings import Settings
from bottega.times import from_epoch_us, parse_duration_s, to_epoch_us
from bottega.usecase import UseCase
from bottega.workspace import Workspace

ROWS_PER_REQUEST = 1000
GROWTH = 1.25
"""By how much the rows to train on must have grown before a refused retraining is tried again."""

Retrain = Callable[[datetime, datetime], int]
"""(since, until) of the span to train on, to the version that is live afterwards; raises GateFailed."""


@dataclass(frozen=True)
class Retrained:
    """One retraining: the alarm that asked for it, the span, the version that came of it (None: the gate refused)."""

    alarm: Detection
    at: datetime
    since: datetime
    until: datetime
    version: int | None
    reason: str


@dataclass
class Replayed:
    """What a replay saw: rows answered, the alarms in order, the retrainings, and the last look at each version."""

    since: datetime
    until: datetime
    rows: int = 0
    alarms: list[Detection] = field(default_factory=list)
    retrained: list[Retrained] = field(default_factory=list)


def replay(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    client: Client,
    since: datetime,
    until: datetime,
    *,
    retrain: Retrain | None = None,
    incident_at: datetime | None = None,
    progress: Progress = silent,
) -> Replayed:
    """Send the trips of [since, until) through the server, day by day, and watch; with `retrain`, act on alarms.

    A day's events are put into the online store before its requests: windows only cover tiles that closed before a
    request, so the answers are those of a store that is fed event by event.
    """
    gathered = gather(usecase, workspace, settings, since, until, progress=progress)
    labels = usecase.recipe.labels(gathered.sources)
    store = OnlineStore(workspace.online)
    feed(usecase, gathered.sources, store, since - history_of(usecase), since)
    seen, version_since, refused_rows = Replayed(since, until), since, 0
    days = list(local_days(since, until, usecase.monitor.timezone))
    for done, (start, end) in enumerate(days):
        progress("replay days", done, len(days))
        feed(usecase, gathered.sources, store, start, end)
        asked = labels[(labels["requested_at"] >= start) & (labels["requested_at"] < end)]
        seen.rows += ask(usecase, client, asked)
        client.wait_for_log()
        answered = asked.rename(columns={usecase.target.label: "label"})
        append_labels(workspace, usecase.name, answered.reset_index()[["request_id", "label", "label_at"]])
        found = watch_live(usecase, workspace, version_since, end, with_drift=False, incident_at=incident_at, now=end)
        if found.alarm is None:
            continue
        if not seen.alarms or seen.alarms[-1] != found.alarm:
            seen.alarms.append(found.alarm)
        if retrain is None or found.retrain is None or not found.retrain.ready or end >= until:
            continue
        if found.retrain.rows < refused_rows * GROWTH:
            continue
        attempt = _retrain(retrain, found.alarm, end, found.retrain.since, found.retrain.until)
        seen.retrained.append(attempt)
        refused_rows = found.retrain.rows if attempt.version is None else 0
        if attempt.version is not None:
            version_since = end
    progress("replay days", len(days), len(days))
    return seen


def feed(
    usecase: UseCase,
    sources: Sources,
    store: OnlineStore,
    since: datetime,
    until: datetime,
    log: EventLog | None = None,
    tiles: OfflineStore | None = None,
    progress: Progress = silent,
) -> int:
    """Put the events of [since, until) into the online store; returns how many count.

    With `tiles`, computed days are kept there, and an interrupted run goes on where it was.

    Both moments move back to the edge of a view's tile, so that spans that follow each other meet.
    """
    windows = [view for view in usecase.views if isinstance(view, FeatureView)]
    counted = 0
    for done, view in enumerate(windows):
        progress("materialise", done, len(windows))
        first, last = _floor(since, view.tile), _floor(until, view.tile)
        if first < last:
            counted += materialize(view, sources, store, first, last, log, tiles)
    progress("materialise", len(windows), len(windows))
    return counted


def ask(usecase: UseCase, client: Client, asked: pd.DataFrame) -> int:
    """Send rows to the use case's endpoint under their ids; returns how many were answered."""
    rows = request_rows(usecase, asked)
    for first in range(0, len(rows), ROWS_PER_REQUEST):
        part = slice(first, first + ROWS_PER_REQUEST)
        client.predict(usecase.name, rows[part], ids=asked.index[part].tolist())
    return len(rows)


def request_rows(usecase: UseCase, asked: pd.DataFrame) -> list[dict[str, Any]]:
    """Label rows as a client sends them: the request's fields, times as text with an offset."""
    fields = [field.name for field in usecase.request]
    times = {field.name for field in usecase.request if field.is_time}
    columns = [
        [moment.isoformat() for moment in asked["requested_at"]] if name in times else asked[name].tolist()
        for name in fields
    ]
    return [dict(zip(fields, values, strict=True)) for values in zip(*columns, strict=True)]


def local_days(since: datetime, until: datetime, timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """The span cut at the city's midnights."""
    zone = ZoneInfo(timezone)
    start = since
    while start < until:
        midnight = (start.astimezone(zone) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(midnight.astimezone(since.tzinfo), until)
        yield start, end
        start = end


def _retrain(retrain: Retrain, alarm: Detection, at: datetime, since: datetime, until: datetime) -> Retrained:
    try:
        return Retrained(alarm, at, since, until, retrain(since, until), "promoted")
    except (GateFailed, InvalidInput) as error:  # too few rows yet: the next day has more
        return Retrained(alarm, at, since, until, None, str(error))


def _floor(moment: datetime, tile: str) -> datetime:
    tile_us = parse_duration_s(tile) * 1_000_000
    return from_epoch_us(to_epoch_us(moment) // tile_us * tile_us)
