"""One look at a model in production: quality, drift, alarm, advice."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from bottega.errors import NotFound
from bottega.monitoring.advice import RetrainSpan, recent_span
from bottega.monitoring.alerts import Alert, raise_alert
from bottega.monitoring.detection import Detection, Detections, detect
from bottega.monitoring.drift import MIN_ROWS, Drift, drift_report, psi
from bottega.monitoring.evidence import explain, gather
from bottega.monitoring.labels import LabelCounts, join_labels, read_labels
from bottega.monitoring.monitor import Monitor
from bottega.monitoring.quality import quality
from bottega.monitoring.reference import Normal, Reference
from bottega.progress import Progress, silent
from bottega.serving.log import read_predictions
from bottega.workspace import Workspace


@dataclass(frozen=True)
class Watch:
    """What was known at `until` about one model version.

    `hourly` and `daily` are quality tables of every version that answered, `total` one row a version; `detections`,
    `drift` and `retrain` are about `normal.model_version`. `label_psi` compares the labels of the drift window with the
    reference's. `alert` is the one that stands for the alarm, new or known.
    """

    usecase: str
    since: datetime
    until: datetime
    unit: str
    normal: Normal
    labels: LabelCounts
    total: pd.DataFrame
    hourly: pd.DataFrame
    daily: pd.DataFrame
    detections: Detections
    drift: Drift | None
    label_psi: float | None
    alarm: Detection | None
    alert: Alert | None
    retrain: RetrainSpan | None


def watch(
    workspace: Workspace,
    usecase: str,
    monitor: Monitor,
    reference: Reference,
    since: datetime,
    until: datetime,
    *,
    with_drift: bool = True,
    incident_at: datetime | None = None,
    now: datetime | None = None,
    progress: Progress = silent,
) -> Watch:
    """Judge the requests of [since, until) (their own time, UTC) by the labels known at `until`.

    An alarm becomes an alert in the workspace, stamped with the wall clock `now` (None: the machine's).
    `with_drift=False` leaves out the drift report, which takes seconds. `incident_at` is the true start of a known
    incident, for the alarm's delay. Raises NotFound where nothing was asked.
    """
    progress("join labels", 0, 3)
    asked, table, counts = _joined(workspace, usecase, monitor, since, until)
    progress("detect", 1, 3)
    judged = table[table["model_version"] == reference.normal.model_version]
    detections = detect(judged, reference.normal, monitor)
    hourly = quality(table, "hour", monitor.timezone, monitor.residual)
    alarm, alert, retrain = detections.alarm, None, None
    if alarm is not None:
        own = hourly[hourly["model_version"] == reference.normal.model_version]
        retrain = recent_span(own, alarm, monitor, until)
        evidence = gather(judged, reference.normal, alarm, incident_at)
        found = Alert(
            id="",
            usecase=usecase,
            model_version=reference.normal.model_version,
            status="open",
            noticed_at=datetime.now(UTC) if now is None else now,
            detection=alarm,
            evidence=evidence,
            explanation=explain(alarm, evidence, detections.day, monitor.unit),
            next_step=f"bottega train {usecase} --from {retrain.since.isoformat()} --until {retrain.until.isoformat()}",
        )
        alert = raise_alert(workspace, found)
    progress("drift", 2, 3)
    drift, label_psi = None, None
    if with_drift:
        drift, label_psi = _drift(workspace, usecase, monitor, reference, asked, table, until)
    progress("drift", 3, 3)
    return Watch(
        usecase=usecase,
        since=since,
        until=until,
        unit=monitor.unit,
        normal=reference.normal,
        labels=counts,
        total=quality(table, "all", monitor.timezone, monitor.residual),
        hourly=hourly,
        daily=quality(table, "day", monitor.timezone, monitor.residual),
        detections=detections,
        drift=drift,
        label_psi=label_psi,
        alarm=alarm,
        alert=alert,
        retrain=retrain,
    )


def _joined(
    workspace: Workspace, usecase: str, monitor: Monitor, since: datetime, until: datetime
) -> tuple[pd.DataFrame, pd.DataFrame, LabelCounts]:
    """The predictions of [since, until), those of them with labels, and what became of the rest.

    The log is read from a little before `since`, so that labels which arrive late for earlier requests find them and
    are not taken for unmatched; those requests themselves are not judged.
    """
    earlier = since - timedelta(seconds=monitor.label_within_s)
    logged = read_predictions(workspace, usecase, earlier, until)
    asked = logged[logged["at"] >= since]
    if asked.empty:
        raise NotFound(
            f"No prediction of {usecase!r} is logged between {since.isoformat()} and {until.isoformat()}.",
            next_step="Send requests to the server, or choose another span.",
        )
    labels = read_labels(workspace, usecase, since, until)
    before = logged.loc[logged["at"] < since, "request_id"]
    joined = join_labels(asked, labels[~labels["request_id"].isin(before)], monitor, until)
    return asked, joined.table, joined.counts


def _drift(
    workspace: Workspace,
    usecase: str,
    monitor: Monitor,
    reference: Reference,
    asked: pd.DataFrame,
    judged: pd.DataFrame,
    until: datetime,
) -> tuple[Drift | None, float | None]:
    """The report on the newest window; None where it holds too few requests."""
    start = until - timedelta(seconds=monitor.drift_window_s)
    current, labelled = asked[asked["at"] >= start], judged[judged["at"] >= start]
    folder = workspace.monitoring / usecase / "drift"
    enough = monitor.columns and min(len(current), len(reference.rows)) >= MIN_ROWS
    drift = drift_report(reference.rows, current, monitor, folder) if enough else None
    can_compare = enough and len(labelled) >= MIN_ROWS and "actual" in reference.rows.columns
    label_psi = psi(reference.rows["actual"], labelled["actual"], "numerical") if can_compare else None
    return drift, label_psi
