"""Late labels: stored as they arrive, joined with the predictions that they judge."""

import io
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from bottega.errors import InvalidData, InvalidInput
from bottega.files import write_atomic
from bottega.monitoring.monitor import Monitor
from bottega.serving.log import REPEATS
from bottega.times import to_epoch_us
from bottega.workspace import Workspace

SCHEMA = pa.schema([("request_id", pa.string()), ("label", pa.float64()), ("label_at", pa.timestamp("us", tz="UTC"))])


class LabelCounts(msgspec.Struct, frozen=True):
    """What became of predictions and labels in a join.

    `unmatched` labels name no logged prediction, `duplicates` were replaced by a later label of the same request,
    `waiting` predictions have no label yet, `overdue` ones of them should have had one. `repeats` are logged answers
    that were left out, because their request had been answered before.
    """

    predictions: int
    matched: int
    unmatched: int
    duplicates: int
    waiting: int
    overdue: int
    repeats: int = 0


@dataclass(frozen=True)
class Joined:
    """Predictions with their labels, in the order in which the labels arrived.

    `table` has the log's columns, and label_at, actual, predicted, low, high (NaN where the use case has no interval).
    """

    table: pd.DataFrame
    counts: LabelCounts


def labels_folder(workspace: Workspace, usecase: str) -> Path:
    """Where the label segments of a use case lie."""
    return workspace.monitoring / usecase / "labels"


def append_labels(
    workspace: Workspace, usecase: str, labels: pd.DataFrame, clock_ns: Callable[[], int] = time.time_ns
) -> Path | None:
    """Store rows of request_id, label, label_at (UTC) as one segment, complete or not at all; None for no rows.

    Raises InvalidInput for a missing column, a label that is not finite, or a time without zone.
    """
    table = _checked(labels)
    if table.num_rows == 0:
        return None
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    path = labels_folder(workspace, usecase) / f"{clock_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
    write_atomic(path, buffer.getvalue())
    return path


def _checked(labels: pd.DataFrame) -> pa.Table:
    missing = [name for name in SCHEMA.names if name not in labels.columns]
    if missing:
        raise InvalidInput(
            f"The labels have no column {missing[0]!r}.", next_step=f"They need {', '.join(SCHEMA.names)}."
        )
    times = labels["label_at"]
    if not isinstance(times.dtype, pd.DatetimeTZDtype) or times.isna().any():
        raise InvalidInput("label_at must be a time with an offset in every row.", next_step="Give it in UTC.")
    values = labels["label"].to_numpy(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise InvalidInput(
            f"The label of request {labels['request_id'].iloc[row]!r} is {values[row]}; it must be finite."
        )
    return pa.Table.from_arrays(
        [
            pa.array(labels["request_id"].astype(str).tolist(), pa.string()),
            pa.array(values),
            pa.array(times.dt.tz_convert("UTC").dt.as_unit("us"), SCHEMA.field("label_at").type),
        ],
        schema=SCHEMA,
    )


def read_labels(
    workspace: Workspace, usecase: str, since: datetime | None = None, until: datetime | None = None
) -> pd.DataFrame:
    """Every stored label that arrived in [since, until), corrected ones included, in the order of arrival."""
    paths = sorted(labels_folder(workspace, usecase).glob("*.parquet"))
    if not paths:
        return SCHEMA.empty_table().to_pandas()
    try:
        table = pads.dataset(paths, schema=SCHEMA, format="parquet").to_table(filter=_arrived(since, until))
    except pa.ArrowInvalid as error:
        raise InvalidData(
            f"A label segment of {usecase!r} is damaged: {error}", next_step="Remove that file."
        ) from error
    return table.to_pandas().sort_values("label_at", kind="stable", ignore_index=True)


def _arrived(since: datetime | None, until: datetime | None) -> pads.Expression | None:
    kind = SCHEMA.field("label_at").type
    wanted = None
    if since is not None:
        wanted = pads.field("label_at") >= pa.scalar(to_epoch_us(since), kind)
    if until is not None:
        before = pads.field("label_at") < pa.scalar(to_epoch_us(until), kind)
        wanted = before if wanted is None else wanted & before
    return wanted


def join_labels(predictions: pd.DataFrame, labels: pd.DataFrame, monitor: Monitor, until: datetime) -> Joined:
    """Judge `predictions` (the log's columns) by `labels` as far as they were known at `until`.

    Of several labels of a request the latest counts; of equally late ones, the one stored last. A request that was
    answered by several versions is judged by the last one's answer.
    """
    known = labels[labels["label_at"] < until]
    last = known.sort_values("label_at", kind="stable").drop_duplicates("request_id", keep="last")
    asked = predictions.drop_duplicates("request_id", keep="last")
    table = asked.merge(last, on="request_id", how="inner", validate="one_to_one")
    table = table.rename(columns={"label": "actual"}).sort_values("label_at", kind="stable", ignore_index=True)
    has_label = asked["request_id"].isin(last["request_id"])
    overdue = ~has_label & (asked["at"] < until - timedelta(seconds=monitor.label_within_s))
    counts = LabelCounts(
        predictions=len(asked),
        matched=len(table),
        unmatched=len(last) - len(table),
        duplicates=len(known) - len(last),
        waiting=int((~has_label).sum()),
        overdue=int(overdue.sum()),
        repeats=predictions.attrs.get(REPEATS, 0) + len(predictions) - len(asked),
    )
    return Joined(_with_answers(table, monitor), counts)


def _with_answers(table: pd.DataFrame, monitor: Monitor) -> pd.DataFrame:
    """Add predicted, low and high under the names that the rest of monitoring uses."""
    answers = {"predicted": monitor.predicted, "low": monitor.low, "high": monitor.high}
    if len(table) and monitor.predicted not in table.columns:
        raise InvalidData(
            f"The prediction log has no column {monitor.predicted!r}.",
            next_step="The monitor must name a field of the answer.",
        )
    columns = {
        new: table[old].astype(float) if old is not None and old in table.columns else np.nan
        for new, old in answers.items()
    }
    return table.assign(**columns)
