"""The closed loop over a span of past days: replay, alarm, retrain, release, recover; and what it cost in error."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import msgspec
import pandas as pd

from bottega.monitoring.labels import join_labels, read_labels
from bottega.monitoring.report import Summary
from bottega.pipeline.release import compile_version, deploy_version
from bottega.pipeline.replay import Replayed, Retrained, replay
from bottega.pipeline.train import Options, train
from bottega.pipeline.watch import live_version, watch_live
from bottega.progress import Progress, silent
from bottega.serving.address import read_server
from bottega.serving.client import Client
from bottega.serving.log import read_predictions
from bottega.serving.process import running
from bottega.settings import Settings
from bottega.usecase import UseCase
from bottega.workspace import Workspace


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a replay: requests in [since, until), how many have labels, and their mean absolute error."""

    name: str
    since: datetime
    until: datetime
    rows: int
    mae: float | None


class LoopReport(msgspec.Struct, frozen=True):
    """What a replay saw. `alarm_at` is label time; the versions are those live before and after."""

    usecase: str
    since: datetime
    until: datetime
    rows: int
    version_before: int
    version_after: int
    alarm_at: datetime | None
    alarms: int
    retrained: tuple[str, ...]
    phases: tuple[Phase, ...]
    last_look: Summary

    def phase(self, name: str) -> Phase | None:
        """The phase of that name."""
        return next((phase for phase in self.phases if phase.name == name), None)


def replay_span(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime,
    until: datetime,
    *,
    retrain: bool = False,
    quick: bool = False,
    incident_at: datetime | None = None,
    progress: Progress = silent,
) -> LoopReport:
    """Replay the trips of [since, until) through the workspace's server (one of its own where none runs).

    With `retrain`, an alarm leads to a new version: trained on the data since the change, gated, compiled, deployed.
    """
    before = live_version(workspace, usecase.name)

    def release(start: datetime, end: datetime) -> int:
        report = train(usecase, workspace, settings, start, end, Options(quick=quick))
        reference = f"{usecase.name}/{report.model_version}"
        compile_version(workspace, reference)
        return deploy_version(
            workspace, reference, f"retrained on {start:%Y-%m-%d} to {end:%Y-%m-%d} after an alarm"
        ).version

    with server(workspace) as client:
        seen = replay(
            usecase,
            workspace,
            settings,
            client,
            since,
            until,
            retrain=release if retrain else None,
            incident_at=incident_at,
            progress=progress,
        )
    promoted = [retrained for retrained in seen.retrained if retrained.version is not None]
    version_since = promoted[-1].at if promoted else since
    return LoopReport(
        usecase=usecase.name,
        since=since,
        until=until,
        rows=seen.rows,
        version_before=before,
        version_after=live_version(workspace, usecase.name),
        alarm_at=seen.alarms[0].at if seen.alarms else None,
        alarms=len(seen.alarms),
        retrained=tuple(_told(retrained) for retrained in seen.retrained),
        phases=tuple(phases(usecase, workspace, seen, incident_at)),
        last_look=watch_live(
            usecase, workspace, version_since, until, with_drift=False, incident_at=incident_at, now=until
        ),
    )


@contextlib.contextmanager
def server(workspace: Workspace) -> Iterator[Client]:
    """A client of the workspace's server; where none runs, of one that lives as long as the block."""
    with contextlib.ExitStack() as stack:
        if read_server(workspace) is None:
            stack.enter_context(running(workspace))
        yield stack.enter_context(Client.from_workspace(workspace))


def phases(usecase: UseCase, workspace: Workspace, seen: Replayed, incident_at: datetime | None) -> Iterator[Phase]:
    """The error before the incident (or the alarm, where no incident is known), until the retrained model, and after.

    `during` begins with the alarm where no incident is known; `after` begins with the last version that was released.
    """
    predictions = read_predictions(workspace, usecase.name, seen.since, seen.until)
    labels = read_labels(workspace, usecase.name)
    joined = join_labels(predictions, labels, usecase.monitor, seen.until).table
    promoted = [retrained.at for retrained in seen.retrained if retrained.version is not None]
    change = incident_at or (seen.alarms[0].change_at if seen.alarms else seen.until)
    change = min(max(change, seen.since), seen.until)
    released = promoted[0] if promoted else seen.until
    yield _phase("before", joined, seen.since, change)
    yield _phase("during", joined, change, max(released, change))
    yield _phase("after_retrain", joined, promoted[-1] if promoted else seen.until, seen.until)


def _phase(name: str, joined: pd.DataFrame, since: datetime, until: datetime) -> Phase:
    rows = joined[(joined["at"] >= since) & (joined["at"] < until)]
    error = (rows["predicted"] - rows["actual"]).abs()
    return Phase(name, since, until, len(rows), float(error.mean()) if len(rows) else None)


def _told(retrained: Retrained) -> str:
    span = f"{retrained.since:%Y-%m-%d %H:%M} to {retrained.until:%Y-%m-%d %H:%M} UTC"
    if retrained.version is None:
        return f"{span}: not promoted. {retrained.reason}"
    return f"{span}: version {retrained.version} promoted and live"
