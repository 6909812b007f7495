"""The reference: how a model errs, and what it is asked, when all is well.

Taken from the newest part of the training span, which the judged model did not see, and kept with the model's version.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from bottega.errors import InvalidInput, NotFound
from bottega.files import write_atomic, write_json
from bottega.monitoring.monitor import Monitor
from bottega.monitoring.quality import error_series, quality, residual_of
from bottega.workspace import Workspace

MIN_VALUES = 6
MAX_ROWS = 50_000


class Normal(msgspec.Struct, frozen=True):
    """Figures of the held-back period: `mean` and `sd` of the error series (log units), `values` of it, `labels`.

    `own_median` is the median log residual on the data that the model was fitted on: 0 for a loss that aims at the
    median of the logarithm, not for one that aims at the mean or is asymmetric on purpose.
    """

    model_version: int
    own_median: float
    mean: float
    sd: float
    values: int
    labels: int
    mae: float
    bias: float
    coverage: float | None


@dataclass(frozen=True)
class Reference:
    """`normal` is for the detectors; `rows` (watched columns, predicted, actual) for the drift report."""

    normal: Normal
    rows: pd.DataFrame


def take_reference(
    held_back: pd.DataFrame, monitor: Monitor, model_version: int, rows: pd.DataFrame | None = None, seed: int = 7
) -> Reference:
    """The reference of a model from predictions on its held-back period.

    `held_back`: at, label_at (UTC), actual, predicted, and low, high where there is an interval, one row a request.
    `rows`: the training span with the watched columns, actual and predicted (what the model says about its own training
    data), for the drift report and the model's own median; without it, `held_back` and 0. At most 50,000 rows are
    kept, drawn with `seed`.
    Raises InvalidInput where the period is too short for `MIN_VALUES` values of the error series.
    """
    full = held_back.assign(**{name: np.nan for name in ("low", "high") if name not in held_back.columns})
    full = full.assign(model_version=model_version)
    series = error_series(full, monitor.min_labels, monitor.residual)
    if len(series) < MIN_VALUES:
        raise InvalidInput(
            f"The held-back period has {len(full)} rows, enough for {len(series)} values of the error series; "
            f"a reference needs {MIN_VALUES}.",
            next_step="Train on a longer span.",
        )
    total = quality(full, "all", monitor.timezone, monitor.residual).iloc[0]
    own = (
        np.zeros(1)
        if rows is None
        else residual_of(monitor.residual, rows["actual"].to_numpy(), rows["predicted"].to_numpy())
    )
    normal = Normal(
        model_version=model_version,
        own_median=float(np.nanmedian(own)),
        mean=float(series["median"].mean()),
        sd=float(series["median"].std(ddof=1)),
        values=len(series),
        labels=len(full),
        mae=float(total["mae"]),
        bias=float(total["bias"]),
        coverage=None if np.isnan(total["coverage"]) else float(total["coverage"]),
    )
    table = held_back if rows is None else rows
    if monitor.predicted not in table.columns and "predicted" in table.columns:
        table = table.assign(**{monitor.predicted: table["predicted"]})
    if "at" in table.columns and pd.api.types.is_integer_dtype(
        table["at"]
    ):  # a request's own column, as it travels in tensors: epoch_us
        table = table.assign(at=pd.to_datetime(table["at"], unit="us", utc=True).dt.as_unit("us"))
    if len(table) > MAX_ROWS:
        table = table.sample(MAX_ROWS, random_state=seed).sort_index()
    return Reference(normal, table.reset_index(drop=True))


def save_reference(workspace: Workspace, usecase: str, reference: Reference) -> Path:
    """Keep the reference of a model version; the figures are written last, so a reader finds all or nothing."""
    folder = _folder(workspace, usecase, reference.normal.model_version)
    buffer = io.BytesIO()
    reference.rows.to_parquet(buffer, index=False, compression="zstd")
    write_atomic(folder / "rows.parquet", buffer.getvalue())
    write_json(folder / "normal.json", reference.normal)
    return folder


def load_reference(workspace: Workspace, usecase: str, model_version: int) -> Reference:
    """Read what `save_reference` wrote. Raises NotFound where the version has none."""
    folder = _folder(workspace, usecase, model_version)
    if not (folder / "normal.json").is_file():
        raise NotFound(
            f"Version {model_version} of {usecase!r} has no monitoring reference.",
            next_step=f"It is taken when a version is promoted: bottega train {usecase}.",
        )
    normal = msgspec.json.decode((folder / "normal.json").read_bytes(), type=Normal)
    return Reference(normal, pd.read_parquet(folder / "rows.parquet"))


def _folder(workspace: Workspace, usecase: str, model_version: int) -> Path:
    return workspace.monitoring / usecase / "reference" / str(model_version)
