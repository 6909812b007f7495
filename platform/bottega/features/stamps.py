"""Stamps: fingerprints of a source's events by day, so that a change tells which days it touches.

Of a data frame each day's rows are hashed. Of Parquet files only the footers are read: a file counts for the days that
its event times lie in.
"""

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bottega.features.batches import Batches
from bottega.features.binding import bind_times, check_columns
from bottega.features.buckets import needed_columns
from bottega.features.source import Source
from bottega.features.view import FeatureView
from bottega.times import DAY_US, parse_duration_s, to_epoch_us


class Stamps:
    """Fingerprints of a source's events by the day (since 1970, UTC) in which their tile begins."""

    def __init__(self, view: FeatureView, source: Source, batches: Batches) -> None:
        self._tile_us = parse_duration_s(view.tile) * 1_000_000
        self._source = source
        self._days = self._of_frame(view, batches) if batches.frame is not None else {}
        self._files = [(path, self._days_of(file), _footer(path)) for path, file in batches.files]

    def of(self, day: int) -> tuple[str, ...]:
        """What the events of a day are known by; nothing where there is none."""
        return (*self._days.get(day, ()), *(stamp for _, days, stamp in self._files if days[0] <= day <= days[1]))

    def paths(self, days: Sequence[int]) -> list[Path]:
        """The files that may hold events of some of these days."""
        return [path for path, (first, last), _ in self._files if any(first <= day <= last for day in days)]

    def _of_frame(self, view: FeatureView, batches: Batches) -> dict[int, tuple[str, ...]]:
        import pandas as pd

        what, frame = f"The source {self._source.name!r} of FeatureView {view.name!r}", batches.frame
        assert frame is not None
        names = list(needed_columns(view, self._source))
        check_columns(what, frame, names)
        event_us, _ = bind_times(what, frame, self._source.event_time)
        rows = pd.util.hash_pandas_object(frame[names], index=False).to_numpy()
        day = self._day(event_us)
        order = np.argsort(day, kind="stable")
        day, rows = day[order], rows[order]
        first = np.flatnonzero(np.diff(day, prepend=-1))
        ends = np.append(first[1:], len(day))
        return {
            int(day[start]): (hashlib.sha256(rows[start:end].tobytes()).hexdigest(),)
            for start, end in zip(first, ends[: len(first)], strict=True)
        }

    def _days_of(self, file: pq.ParquetFile) -> tuple[float, float]:
        """The days that a file's event times lie in, by its statistics; all days where it has none."""
        names = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
        if self._source.event_time not in names:
            return -math.inf, math.inf
        column, found = names.index(self._source.event_time), []
        for i in range(file.metadata.num_row_groups):
            statistics = file.metadata.row_group(i).column(column).statistics
            if statistics is None or not statistics.has_min_max:
                return -math.inf, math.inf
            found += [_epoch_us(statistics.min), _epoch_us(statistics.max)]
        if not found:
            return math.inf, -math.inf
        return float(self._day(np.array(min(found)))), float(self._day(np.array(max(found))))

    def _day(self, event_us: np.ndarray) -> np.ndarray:
        return event_us // self._tile_us * self._tile_us // DAY_US


def _epoch_us(moment: "datetime | int") -> int:
    return to_epoch_us(moment) if isinstance(moment, datetime) else moment


def _footer(path: Path) -> str:
    """A fingerprint of a Parquet file: its name, size, time of writing, and its footer with the columns' statistics."""
    state = path.stat()
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        footer = file.read(length)
    digest = hashlib.sha256(f"{path.name} {state.st_size} {state.st_mtime_ns} ".encode())
    digest.update(footer)
    return digest.hexdigest()
