"""How well every version answered over the whole log, and what the detectors saw of it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from bottega.errors import NotFound
from bottega.monitoring.detection import detect
from bottega.monitoring.labels import LabelCounts, join_labels, labels_folder, read_labels
from bottega.monitoring.monitor import Monitor
from bottega.monitoring.quality import quality
from bottega.monitoring.reference import Normal, load_reference
from bottega.serving.log import read_predictions
from bottega.workspace import Workspace


@dataclass(frozen=True)
class History:
    """Quality by hour and by local day of every version that answered; the error sums of those with a reference.

    `sums`: model_version, end (UTC, label time), above, below, in standard deviations. `normals` by version.
    """

    hourly: pd.DataFrame
    daily: pd.DataFrame
    sums: pd.DataFrame
    normals: dict[int, Normal]
    counts: LabelCounts
    monitor: Monitor


def history(workspace: Workspace, usecase: str, monitor: Monitor) -> History:
    """The history of a use case, read again when the log or the labels have grown.

    Raises NotFound where nothing was asked, or no label has arrived.
    """
    folders = (workspace.predictions / usecase, labels_folder(workspace, usecase))
    return _history(str(workspace.root), usecase, monitor, tuple(_size(folder) for folder in folders))


@st.cache_data(ttl=300, max_entries=4, show_spinner="Reading the prediction log", hash_funcs={Monitor: repr})
def _history(root: str, usecase: str, monitor: Monitor, sizes: tuple[tuple[int, int], ...]) -> History:
    return measure(Workspace(Path(root)), usecase, monitor)


def measure(workspace: Workspace, usecase: str, monitor: Monitor) -> History:
    """Join the whole log with its labels, and judge each version by its own reference."""
    asked = read_predictions(workspace, usecase)
    if asked.empty:
        raise NotFound(
            f"No prediction of {usecase} is logged yet.", next_step="Send requests to the server: 'bottega demo' does."
        )
    labels = read_labels(workspace, usecase)
    if labels.empty:
        raise NotFound(
            f"No label of {usecase} has arrived yet, so no error is known.", next_step="'bottega demo' sends labels."
        )
    until = max(asked["at"].max(), labels["label_at"].max()) + pd.Timedelta(microseconds=1)
    joined = join_labels(asked, labels, monitor, until.to_pydatetime())
    normals, sums = {}, []
    for version, judged in joined.table.groupby("model_version"):
        try:
            normals[int(version)] = load_reference(workspace, usecase, int(version)).normal
        except NotFound:
            continue
        series = detect(judged, normals[int(version)], monitor).series
        sums.append(series[["end", "above", "below"]].assign(model_version=int(version)))
    return History(
        hourly=quality(joined.table, "hour", monitor.timezone, monitor.residual),
        daily=quality(joined.table, "day", monitor.timezone, monitor.residual),
        sums=pd.concat(sums, ignore_index=True) if sums else pd.DataFrame(),
        normals=normals,
        counts=joined.counts,
        monitor=monitor,
    )


def _size(folder: Path) -> tuple[int, int]:
    """How many segments a folder holds, and the newest one's time of writing, ns."""
    times = [path.stat().st_mtime_ns for path in folder.rglob("*.parquet")]
    return len(times), max(times, default=0)
