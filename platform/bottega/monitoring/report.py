"""A watch on paper: its figures as JSON and its tables as Parquet, for the command line and the Studio."""

import io
from datetime import datetime
from pathlib import Path

import msgspec
import pandas as pd

from bottega.errors import NotFound
from bottega.files import write_atomic, write_json
from bottega.monitoring.advice import RetrainSpan
from bottega.monitoring.alerts import Alert
from bottega.monitoring.detection import Detection
from bottega.monitoring.drift import ColumnDrift
from bottega.monitoring.labels import LabelCounts
from bottega.monitoring.reference import Normal
from bottega.monitoring.watch import Watch
from bottega.workspace import Workspace

TABLES = ("hourly", "daily", "series")


class Summary(msgspec.Struct, frozen=True):
    """A `Watch` without its tables, for `--json` and `summary.json`."""

    usecase: str
    since: datetime
    until: datetime
    unit: str
    model_version: int
    mae: float | None
    """Of this model version in [since, until), in the label's unit; None without labels."""
    bias: float | None
    coverage: float | None
    normal: Normal
    labels: LabelCounts
    alarm: Detection | None
    other_detectors: dict[str, Detection | None]
    alert: Alert | None
    retrain: RetrainSpan | None
    drift: str | None
    drift_columns: dict[str, ColumnDrift]
    drift_report: str | None
    label_psi: float | None


def summary(watched: Watch) -> Summary:
    """The figures of a watch."""
    own = watched.total[watched.total["model_version"] == watched.normal.model_version]
    drift = watched.drift

    def figure(name: str) -> float | None:
        return float(own[name].iloc[0]) if len(own) and own[name].notna().all() else None

    return Summary(
        usecase=watched.usecase,
        since=watched.since,
        until=watched.until,
        unit=watched.unit,
        model_version=watched.normal.model_version,
        mae=figure("mae"),
        bias=figure("bias"),
        coverage=figure("coverage"),
        normal=watched.normal,
        labels=watched.labels,
        alarm=watched.alarm,
        other_detectors={"page_hinkley": watched.detections.page_hinkley, "day": watched.detections.day},
        alert=watched.alert,
        retrain=watched.retrain,
        drift=None if drift is None else drift.verdict,
        drift_columns={} if drift is None else drift.columns,
        drift_report=None if drift is None else str(drift.html),
        label_psi=watched.label_psi,
    )


def save_report(workspace: Workspace, watched: Watch) -> Path:
    """Write summary.json and the tables hourly, daily and series (what the detectors saw) for the latest watch."""
    folder = _folder(workspace, watched.usecase)
    tables = {"hourly": watched.hourly, "daily": watched.daily, "series": watched.detections.series}
    for name, table in tables.items():
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_atomic(folder / f"{name}.parquet", buffer.getvalue())
    write_json(folder / "summary.json", summary(watched))
    return folder


def load_report(workspace: Workspace, usecase: str) -> tuple[Summary, dict[str, pd.DataFrame]]:
    """The latest watch that `save_report` wrote: its figures and its tables by name. Raises NotFound."""
    folder = _folder(workspace, usecase)
    if not (folder / "summary.json").is_file():
        raise NotFound(f"{usecase!r} was not watched yet.", next_step=f"Run bottega monitor {usecase}.")
    figures = msgspec.json.decode((folder / "summary.json").read_bytes(), type=Summary)
    return figures, {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def _folder(workspace: Workspace, usecase: str) -> Path:
    return workspace.monitoring / usecase / "latest"
