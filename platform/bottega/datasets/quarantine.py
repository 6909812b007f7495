"""Quarantine: the refused rows of each trip file, as they were, with the reason."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.datasets.checks import Checked
from bottega.datasets.tripfiles import RawTrips
from bottega.files import write_atomic


def quarantine(file: Path, raw: RawTrips, checked: Checked) -> None:
    """Write a trip file's refused rows as they were, with `row` (from 0) and `reason`; an older report is replaced."""
    rows = np.flatnonzero(checked.reason >= 0)
    if not len(rows):
        file.unlink(missing_ok=True)
        return
    table = raw.original.take(pa.array(rows))
    table = table.append_column("row", pa.array(rows))
    table = table.append_column("reason", pa.array([checked.reasons[code] for code in checked.reason[rows]]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomic(file, buffer.getvalue())
