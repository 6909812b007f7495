"""Alerts: what was noticed, on which evidence, what to do next, and what became of it."""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from bottega.errors import Conflict, InvalidData, NotFound
from bottega.files import disk_errors, write_atomic
from bottega.monitoring.detection import Detection
from bottega.workspace import Workspace

Status = Literal["open", "acknowledged", "resolved"]


class Evidence(msgspec.Struct, frozen=True):
    """Figures at the alarm, in the label's unit: `before` is the reference's, `now` since the change point.

    `shift_share` is exp(median log residual) - 1: -0.2 means that actual values are 20 % under the predicted ones.
    `hours_since_start` counts from the incident's true start to the alarm, where that is known.
    """

    mae_before: float
    mae_now: float
    bias_now: float
    labels_now: int
    shift_share: float
    hours_since_start: float | None = None


class Alert(msgspec.Struct, frozen=True):
    """One line of `alerts.jsonl`. `noticed_at` is wall clock; the detection's times are label times. All UTC."""

    id: str
    usecase: str
    model_version: int
    status: Status
    noticed_at: datetime
    detection: Detection
    evidence: Evidence
    explanation: str
    next_step: str
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: int | None = None
    """Model version whose promotion ended it."""


def alerts_file(workspace: Workspace, usecase: str) -> Path:
    """Where the alerts of a use case lie, one JSON object a line, oldest first."""
    return workspace.monitoring / usecase / "alerts.jsonl"


def read_alerts(workspace: Workspace, usecase: str) -> tuple[Alert, ...]:
    """Every alert of a use case, oldest first."""
    path = alerts_file(workspace, usecase)
    if not path.exists():
        return ()
    try:
        return tuple(msgspec.json.Decoder(Alert).decode_lines(path.read_bytes()))
    except msgspec.MsgspecError as error:
        raise InvalidData(f"{path} is damaged: {error}.", next_step="Correct or remove the broken line.") from error


def raise_alert(workspace: Workspace, alert: Alert) -> Alert:
    """Add an alert. One that is not resolved yet for the same model version stays as it is, and is returned."""
    with _edit(workspace, alert.usecase) as (alerts, save):
        for known in alerts:
            if known.model_version == alert.model_version and known.status != "resolved":
                return known
        taken = alert if alert.id else msgspec.structs.replace(alert, id=f"{alert.usecase}-{len(alerts) + 1}")
        save((*alerts, taken))
        return taken


def acknowledge(workspace: Workspace, usecase: str, alert_id: str, at: datetime) -> Alert:
    """Mark an alert as seen by somebody. Raises NotFound, or Conflict where it is resolved."""
    with _edit(workspace, usecase) as (alerts, save):
        found = next((alert for alert in alerts if alert.id == alert_id), None)
        if found is None:
            raise NotFound(
                f"{usecase!r} has no alert {alert_id!r}.",
                next_step=f"It has {', '.join(alert.id for alert in alerts) or 'none'}.",
            )
        if found.status == "resolved":
            raise Conflict(f"Alert {alert_id!r} was resolved by version {found.resolved_by} already.")
        changed = msgspec.structs.replace(found, status="acknowledged", acknowledged_at=at)
        save(tuple(changed if alert is found else alert for alert in alerts))
        return changed


def resolve(workspace: Workspace, usecase: str, promoted_version: int, at: datetime) -> tuple[Alert, ...]:
    """End the alerts of every other model version, since `promoted_version` took over; the ended ones."""
    with _edit(workspace, usecase) as (alerts, save):
        changed = {
            alert.id: msgspec.structs.replace(alert, status="resolved", resolved_at=at, resolved_by=promoted_version)
            for alert in alerts
            if alert.status != "resolved" and alert.model_version != promoted_version
        }
        if changed:
            save(tuple(changed.get(alert.id, alert) for alert in alerts))
        return tuple(changed.values())


@contextlib.contextmanager
def _edit(
    workspace: Workspace, usecase: str
) -> Iterator[tuple[tuple[Alert, ...], Callable[[tuple[Alert, ...]], None]]]:
    """The alerts and a way to replace them, held by one process at a time; readers see the old or the new file."""
    path = alerts_file(workspace, usecase)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def save(alerts: tuple[Alert, ...]) -> None:
            write_atomic(path, msgspec.json.Encoder().encode_lines(alerts))

        yield read_alerts(workspace, usecase), save
