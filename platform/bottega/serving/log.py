"""The prediction log: what was asked and answered, written off the request path.

The event loop appends to a bounded buffer; a thread writes Parquet segments, each complete or absent, under
`predictions/<use case>/<day of the prediction>/`. What does not fit the buffer is dropped and counted.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import StorageError
from bottega.serving.protocol import check_name
from bottega.serving.segments import Answered, write_segment
from bottega.times import DAY_US
from bottega.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_HURRY = 2048
"""Waiting requests from which on the writer does not wait for its clock: they would hold tens of megabytes."""
REPEATS = "repeats"
"""Attribute of what `read_predictions` returns."""
_report = logging.getLogger("bottega.serving")


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
            write_segment(self._folder, group, f"{os.getpid()}-{self._segments:06d}")
        except (StorageError, OSError, ValueError) as error:  # ValueError: base of Arrow's errors
            self._failed += rows
            _report.error("%d rows of the prediction log are lost: %s", rows, error)
        else:
            self._written += rows
            self._segments += 1


def _groups(taken: list[Answered]) -> Iterator[list[Answered]]:
    """Requests that fit one segment: of one use case, version, role and day."""
    groups: dict[tuple[str, int, str, int], list[Answered]] = {}
    for answered in taken:
        key = answered.usecase, answered.version, answered.role, answered.predicted_at_us // DAY_US
        groups.setdefault(key, []).append(answered)
    yield from groups.values()


def read_predictions(
    workspace: Workspace,
    usecase: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    shadow: bool = False,
) -> "pd.DataFrame":
    """Logged rows of a use case with `at` in [since, until), in the order of prediction: what clients were answered, or
    with `shadow` what the shadow would have answered.

    One row an id and version: a client that got no answer asks again under the same id, so a request may be logged
    twice, and its first answer counts. `attrs[REPEATS]` of the frame is how many rows were left out for that. An id
    that another version answers too has a row of each: past requests are asked anew of a new version.

    Columns: request_id, predicted_at and at (UTC), the request's fields, the answer's fields, the looked-up features
    as `feature_<column>`, model_version, role, trace_id (empty where the client named none), latency_us. An empty frame
    with the first three where nothing was logged.
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
    if "role" not in frame:  # written before there were roles
        frame.insert(frame.columns.get_loc("model_version") + 1, "role", "champion")
    frame["role"] = frame["role"].fillna("champion")
    if "trace_id" not in frame:  # written before there were traces
        frame.insert(frame.columns.get_loc("role") + 1, "trace_id", "")
    frame["trace_id"] = frame["trace_id"].fillna("")
    frame = frame[(frame["role"] == "shadow") == shadow].sort_values("predicted_at", kind="stable")
    first = ~frame.duplicated(["request_id", "model_version"]).to_numpy()
    inside = np.ones(len(frame), bool)
    if since is not None:
        inside &= (frame["at"] >= since).to_numpy()
    if until is not None:
        inside &= (frame["at"] < until).to_numpy()
    found = frame[inside & first].reset_index(drop=True)
    found.attrs[REPEATS] = int((inside & ~first).sum())
    return found
