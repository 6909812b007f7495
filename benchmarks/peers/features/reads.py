"""What a read of Bottega's online store costs: 20 features of one zone, of a hundred, and of one with many tiles.

A quiet zone has events in 57 tiles of the last seven days, the busy one in 2,010 of their 2,016. What is read is judged
like any engine's answer. The moment of the reads goes on by a second each time, as a server's clock does.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.features.online import OnlineStore
from peers.features.child import Read
from peers.features.job import TILE_US, WINDOWS, Job
from peers.features.with_bottega import view_of

BUSY = 1
QUIET = tuple(range(2, 102))
TILES = {"quiet": 57, "busy": 2010}
_NOW_TILE = 5_700_000
_ROUNDS = 15


def write_reads(job: Job, seed: int) -> int:
    """Write the events of all zones, and a label for each zone at a moment shortly after them; the number of events."""
    rng = np.random.default_rng(seed)
    longest = WINDOWS["7d"]
    back = [np.sort(rng.permutation(longest)[: TILES["busy"]]) + 1]
    back += [rng.permutation(longest)[: TILES["quiet"]] + 1 for _ in QUIET]
    tile = _NOW_TILE - np.concatenate(back)
    zone = np.repeat(np.array([BUSY, *QUIET], np.int32), [len(tiles) for tiles in back])
    n = len(tile)
    event_us = tile * TILE_US + rng.integers(0, TILE_US, n)
    late_us = np.where(rng.random(n) < 0.01, rng.integers(1, 3_600_000_000, n), 0)
    at = pa.timestamp("us", tz="UTC")
    events = {
        "event_id": np.arange(n),
        "zone": zone,
        "event_time": pa.array(event_us, at),
        "available_at": pa.array(event_us + late_us, at),
        "fare_usd": np.rint(rng.gamma(3.0, 600.0, n)) / 100,
        "duration_s": np.rint(rng.gamma(2.5, 360.0, n)).astype(np.int32),
    }
    order = np.argsort(event_us + late_us, kind="stable")
    pq.write_table(pa.table(events).take(order), job.events)
    zones = np.array([BUSY, *QUIET], np.int32)
    moments = pa.array(np.full(len(zones), _NOW_TILE * TILE_US + 17), at)
    labels = {"label": np.arange(len(zones)), "zone": zones, "requested_at": moments}
    pq.write_table(pa.table(labels), job.labels)
    return n


def answer(job: Job) -> None:
    """Fill a store with the events, and read each label's features from it."""
    view = view_of(job, "zone")
    store = OnlineStore(Path(job.scratch) / "store")
    store.ingest(view, pd.read_parquet(job.events))
    labels = pq.read_table(job.labels)
    at_us = labels["requested_at"].cast(pa.int64()).to_numpy()
    found = store.read(view.name, (labels["zone"].to_numpy().astype(np.int64),), at_us)
    columns = {feature.name: found[name.name] for feature, name in zip(job.features, view.features, strict=True)}
    pq.write_table(pa.table({"label": labels["label"], **columns}), job.answer)


def read_costs(job: Job) -> list[Read]:
    """The cost of each kind of read, of the store that `answer` left."""
    view = view_of(job, "zone")
    store = OnlineStore(Path(job.scratch) / "store")
    names = [feature.name for feature in view.features]
    kinds = [
        ("one quiet zone", np.array([QUIET[0]]), TILES["quiet"], 4_000),
        ("one busy zone", np.array([BUSY]), TILES["busy"], 4_000),
        ("a hundred quiet zones", np.array(QUIET), TILES["quiet"], 300),
    ]
    return [_cost(store, view.name, names, *kind) for kind in kinds]


def _cost(store: OnlineStore, view: str, names: list[str], name: str, keys: np.ndarray, tiles: int, reads: int) -> Read:
    moments = [np.full(len(keys), _NOW_TILE * TILE_US + 1_000_000 * (i % 290)) for i in range(reads)]
    plain, named = [], []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        for at_us in moments:
            store.read(view, (keys,), at_us)
        between = time.process_time_ns()
        for at_us in moments:
            values = store.read(view, (keys,), at_us)
            for feature in names:
                values[feature]
        ended = time.process_time_ns()
        plain.append((between - began) / 1000 / reads)
        named.append((ended - between) / 1000 / reads)
    return Read(name, len(keys), tiles, reads * _ROUNDS, statistics.median(plain), statistics.median(named))
