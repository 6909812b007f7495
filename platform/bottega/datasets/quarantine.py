"""Quarantine: the refused rows of each file or batch, as they were, with the reason."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.datasets.rules import Verdict
from bottega.files import write_atomic


def quarantine(file: Path, original: pa.Table, verdict: Verdict) -> None:
    """Write the refused rows of `original` with `row` (from 0) and `reason`; an older report is replaced."""
    rows = np.flatnonzero(~verdict.good)
    if not len(rows):
        file.unlink(missing_ok=True)
        return
    table = original.take(pa.array(rows))
    table = table.append_column("row", pa.array(rows))
    table = table.append_column("reason", pa.array([verdict.reasons[code] for code in verdict.reason[rows]]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomic(file, buffer.getvalue())
