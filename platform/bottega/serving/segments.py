"""Segments of the prediction log: Parquet files, each complete or absent.

Built from buffers: Arrow's own conversions would import pandas into the server.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.files import disk_errors
from bottega.times import from_epoch_us

FEATURE = "feature_"
"""Before the name of a looked-up feature in the log's columns."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request: its rows, as the endpoint saw and answered them.

    `answer` holds the answer's fields and, by their own names, the features that were looked up for it.
    """

    usecase: str
    version: int
    plan: FeaturePlan
    ids: Sequence[str]
    request: Columns
    answer: Columns
    predicted_at_us: int
    latency_us: float
    role: str = "champion"
    """`champion`, `canary`, `direct` (asked for by its version), or `shadow`, whose answer nobody got."""
    trace_id: str = ""
    """Of the trace that the client was in; empty where it named none."""


def write_segment(folder: Path, group: list[Answered], name: str) -> None:
    """Write requests of one use case, version, role and day. Raises StorageError where the disk refuses."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # 30 MB that a server without traffic does not need

    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once had
    table = _table(group)
    repeating = [name for name in table.column_names if name not in ("request_id", "trace_id")]
    first = group[0]
    day = from_epoch_us(first.predicted_at_us).date().isoformat()
    path = folder / first.usecase / day / f"{first.predicted_at_us}-{name}.parquet"
    temporary = path.with_suffix(".partial")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                pq.write_table(table, file, use_dictionary=repeating)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _table(group: list[Answered]) -> Any:
    """The rows as an Arrow table."""
    import pyarrow as pa

    plan = group[0].plan
    sizes = [len(answered.ids) for answered in group]

    def joined(part: str, name: str) -> np.ndarray:
        return np.concatenate([getattr(answered, part)[name] for answered in group])

    def repeated(values: list, dtype: type) -> np.ndarray:
        return np.repeat(np.array(values, dtype), sizes)

    predicted_at = repeated([answered.predicted_at_us for answered in group], np.int64)
    time_field = next((field.name for field in plan.request if field.is_time), None)
    times = {field.name: joined("request", field.name) for field in plan.request if field.is_time}
    columns: dict[str, Any] = {
        "request_id": _arrow([i for answered in group for i in answered.ids]),
        "predicted_at": _arrow_time(predicted_at),
        "at": _arrow_time(times[time_field] if time_field else predicted_at),
    }
    for field in plan.request:
        if not field.is_logged:
            continue
        columns[field.name] = _arrow_time(times[field.name]) if field.is_time else _arrow(joined("request", field.name))
    for field in plan.answer:
        if field.is_logged:
            columns[field.name] = _arrow(joined("answer", field.name))
    for name in plan.looked_up:
        columns[FEATURE + name] = _arrow(joined("answer", name))
    columns["model_version"] = _arrow(repeated([answered.version for answered in group], np.int32))
    columns["role"] = _arrow([group[0].role] * sum(sizes))
    columns["trace_id"] = _arrow([answered.trace_id for answered in group for _ in answered.ids])
    columns["latency_us"] = _arrow(repeated([answered.latency_us for answered in group], np.float32))
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def _arrow(values: np.ndarray | list[str]) -> Any:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim > 1:
        return pa.FixedSizeListArray.from_arrays(_arrow(values.reshape(-1)), values.shape[1])
    if isinstance(values, list) or values.dtype == object:
        encoded = [v if isinstance(v, bytes) else str(v).encode() for v in values]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(v) for v in encoded], out=offsets[1:])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
        return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)
    if values.dtype == bool:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    kind = getattr(pa, values.dtype.name)()  # int32, float64, ... have the same names in both
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _arrow_time(epoch_us: np.ndarray) -> Any:
    import pyarrow as pa

    buffer = pa.py_buffer(np.ascontiguousarray(epoch_us, np.int64))
    return pa.Array.from_buffers(pa.timestamp("us", tz="UTC"), len(epoch_us), [None, buffer])
