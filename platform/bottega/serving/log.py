"""The prediction log: what was asked and answered, written off the request path.

The event loop appends to a bounded buffer; a thread writes Parquet segments, each complete or absent, under
`predictions/<use case>/<day of the prediction>/`. What does not fit the buffer is dropped and counted.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottega.errors import StorageError
from bottega.features.plan import Columns, FeaturePlan
from bottega.files import disk_errors
from bottega.serving.protocol import check_name
from bottega.times import DAY_US, from_epoch_us
from bottega.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_HURRY = 2048
"""Waiting requests from which on the writer does not wait for its clock: they would hold tens of megabytes."""
_report = logging.getLogger("bottega.serving")


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request: its rows, as the endpoint saw and answered them."""

    usecase: str
    version: int
    plan: FeaturePlan
    ids: Sequence[str]
    request: Columns
    answer: Columns
    predicted_at_us: int
    latency_us: float


class PredictionLog:
    """Appends never wait; `flush` hurries the writer, `close` writes what is left.

    `capacity` bounds the rows that wait for the writer, `flush_s` how long one waits at most.
    """

    def __init__(self, folder: Path, capacity: int = 200_000, flush_s: float = 2.0) -> None:
        self._folder = folder
        self._capacity = capacity
        self._flush_s = flush_s
        self._queue: deque[Answered] = deque()
        self._accepted = self._overflowed = 0  # counted by the event loop only
        self._written = self._failed = self._segments = 0  # counted by the writer only
        self._wake = threading.Event()
        self._closed = False
        self._writer = threading.Thread(target=self._write_until_closed, name="prediction-log", daemon=True)
        self._writer.start()

    def append(self, answered: Answered) -> bool:
        """Queue one answered request; False where the buffer is full and its rows are dropped."""
        rows = len(answered.ids)
        if self._accepted - self._written - self._failed + rows > self._capacity:
            self._overflowed += rows
            return False
        self._accepted += rows
        self._queue.append(answered)
        if len(self._queue) == _HURRY:
            self._wake.set()
        return True

    def counts(self) -> dict[str, int]:
        """Rows written, waiting and dropped, and segments written."""
        return {
            "written": self._written,
            "waiting": self._accepted - self._written - self._failed,
            "dropped": self._overflowed + self._failed,
            "segments": self._segments,
        }

    def flush(self) -> None:
        """Have the writer write what waits, now; does not wait for it."""
        self._wake.set()

    def close(self) -> None:
        """Write what waits, then stop the writer."""
        self._closed = True
        self._wake.set()
        self._writer.join()

    def _write_until_closed(self) -> None:
        closed = False
        while not closed:
            self._wake.wait(self._flush_s)
            self._wake.clear()
            closed = self._closed  # before the queue is taken: what came before `close` is in it
            taken = [self._queue.popleft() for _ in range(len(self._queue))]
            for group in _groups(taken):
                self._write(group)

    def _write(self, group: list[Answered]) -> None:
        rows = sum(len(answered.ids) for answered in group)
        try:
            _write_segment(self._folder, group, f"{os.getpid()}-{self._segments:06d}")
        except (StorageError, OSError, ValueError) as error:  # ValueError: base of Arrow's errors
            self._failed += rows
            _report.error("%d rows of the prediction log are lost: %s", rows, error)
        else:
            self._written += rows
            self._segments += 1


def _groups(taken: list[Answered]) -> Iterator[list[Answered]]:
    """Requests that fit one segment: of one use case, version and day."""
    groups: dict[tuple[str, int, int], list[Answered]] = {}
    for answered in taken:
        key = answered.usecase, answered.version, answered.predicted_at_us // DAY_US
        groups.setdefault(key, []).append(answered)
    yield from groups.values()


def _write_segment(folder: Path, group: list[Answered], name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq  # 30 MB that a server without traffic does not need

    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once had
    table = _table(group)
    repeating = [name for name in table.column_names if name != "request_id"]
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
    """The rows as an Arrow table. Built from buffers: Arrow's conversions would import pandas into the server."""
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
        columns[field.name] = _arrow_time(times[field.name]) if field.is_time else _arrow(joined("request", field.name))
    for field in plan.answer:
        columns[field.name] = _arrow(joined("answer", field.name))
    columns["model_version"] = _arrow(repeated([answered.version for answered in group], np.int32))
    columns["latency_us"] = _arrow(repeated([answered.latency_us for answered in group], np.float32))
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def _arrow(values: np.ndarray | list[str]) -> Any:
    import pyarrow as pa

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


def read_predictions(
    workspace: Workspace, usecase: str, since: datetime | None = None, until: datetime | None = None
) -> "pd.DataFrame":
    """Logged rows of a use case with `at` in [since, until), in the order of prediction.

    Columns: request_id, predicted_at and at (UTC), the request's fields, the answer's fields, model_version,
    latency_us. An empty frame with the first three where nothing was logged.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted((workspace.predictions / check_name(usecase, "use case")).glob("*/*.parquet"))
    tables = [pq.ParquetFile(path).read() for path in paths]
    if not tables:
        empty = pd.Series([], dtype="datetime64[us, UTC]")
        return pd.DataFrame({"request_id": pd.Series([], dtype=str), "predicted_at": empty, "at": empty})
    frame = pa.concat_tables(tables, promote_options="default").to_pandas()
    wanted = np.ones(len(frame), bool)
    if since is not None:
        wanted &= (frame["at"] >= since).to_numpy()
    if until is not None:
        wanted &= (frame["at"] < until).to_numpy()
    return frame[wanted].sort_values("predicted_at", kind="stable", ignore_index=True)
