"""A city's events and labels, drawn from a seed, written to Parquet in pieces so that memory stays small."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ZONES = 260
DRIVERS = 20_000
BEGIN_US = 1_704_067_200_000_000
"""2024-01-01T00:00Z."""
SPAN_US = 30 * 86_400_000_000
LATENESS_US = 3_600_000_000
PIECE = 1_000_000
"""Events a piece: a row group of the file, and a slice of the time."""
_TIME = pa.timestamp("us", tz="UTC")
_EVENTS = pa.schema(
    {
        "event_id": pa.int64(),
        "zone": pa.int32(),
        "driver": pa.int32(),
        "event_time": _TIME,
        "available_at": _TIME,
        "fare_usd": pa.float64(),
        "duration_s": pa.int32(),
    }
)


def write_city(folder: str, events: int, labels: int, late_share: float, duplicates: float, seed: int) -> None:
    """Write `events.parquet` and `labels.parquet` (columns: see Job), the same for the same arguments.

    Event times are even over 30 days. Zone z has a share in proportion to 1 / z, drivers have equal shares. Of the
    events, `late_share` become known up to an hour late, the others at once; `duplicates` is the share of rows that are
    copies of other rows, known a little later. Labels are even over the same days, with the same shares.
    """
    with pq.ParquetWriter(Path(folder) / "events.parquet", _EVENTS, compression="zstd") as writer:
        for first in range(0, events, PIECE):
            end = min(first + PIECE, events)
            span_us = (BEGIN_US + SPAN_US * first // events, BEGIN_US + SPAN_US * end // events)
            piece = _events(
                np.random.default_rng([seed, 1, first]), first, end - first, span_us, late_share, duplicates
            )
            writer.write_table(piece, row_group_size=PIECE)
    rng = np.random.default_rng([seed, 0, labels])
    table = {
        "label": pa.array(np.arange(labels)),
        "zone": pa.array(_zones(rng, labels)),
        "driver": pa.array(rng.integers(1, DRIVERS + 1, labels, np.int32)),
        "requested_at": pa.array(BEGIN_US + rng.integers(0, SPAN_US, labels), _TIME),
    }
    pq.write_table(pa.table(table), Path(folder) / "labels.parquet", row_group_size=PIECE)


def _events(
    rng: np.random.Generator, first: int, rows: int, span_us: tuple[int, int], late_share: float, duplicates: float
) -> pa.Table:
    copies = round(rows * duplicates)
    n = rows - copies
    event_us = np.sort(rng.integers(*span_us, n))
    late = rng.random(n) < late_share
    available_us = event_us + np.where(late, rng.integers(1, LATENESS_US + 1, n), 0)
    columns = {
        "event_id": first + np.arange(n),
        "zone": _zones(rng, n),
        "driver": rng.integers(1, DRIVERS + 1, n, np.int32),
        "event_time": event_us,
        "available_at": available_us,
        "fare_usd": np.rint(rng.gamma(3.0, 600.0, n) + 250) / 100,
        "duration_s": np.rint(rng.gamma(2.5, 360.0, n) + 60).astype(np.int32),
    }
    if copies:
        again = rng.integers(0, n, copies)
        at = np.sort(np.append(np.arange(n), again))  # each copy follows its original
        columns = {name: column[at] for name, column in columns.items()}
        repeated = np.append(False, at[1:] == at[:-1])
        delayed = columns["available_at"] + np.where(repeated, rng.integers(1, 120_000_000, rows), 0)
        columns["available_at"] = np.minimum(delayed, columns["event_time"] + LATENESS_US)
    return pa.table([pa.array(columns[field.name], field.type) for field in _EVENTS], schema=_EVENTS)


def _zones(rng: np.random.Generator, n: int) -> np.ndarray:
    share = 1 / np.arange(1, ZONES + 1)
    return rng.choice(np.arange(1, ZONES + 1, dtype=np.int32), n, p=share / share.sum())
