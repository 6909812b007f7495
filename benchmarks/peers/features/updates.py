"""What Bottega's updater costs: a log of events into the online store, by zone and by driver, 20 features in all.

The log holds the city's events (city.py) in the order of their arrival. Each record is read, decoded and added to two
views in batches, with the log's position in the same transaction. Then the labels of the last day, which the store must
still answer exactly, are read and judged like any engine's answer.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.eventlog import open_log
from bottega.eventlog.records import encode_rows
from bottega.features.online import OnlineStore
from bottega.features.updater import Updater
from peers.features.city import BEGIN_US, SPAN_US
from peers.features.job import Job
from peers.features.with_bottega import view_of

_DAY_US = 86_400_000_000
_TOPIC = "events"
_APPENDED = 100_000


def write_log(job: Job) -> None:
    """Append the events to a log in the order of their arrival, and keep the labels of the last day only."""
    events = pq.read_table(job.events)
    events = events.take(pa.array(np.argsort(events["available_at"].cast(pa.int64()).to_numpy(), kind="stable")))
    log = open_log(Path(job.scratch) / "log.db")
    for first in range(0, len(events), _APPENDED):
        log.append(_TOPIC, encode_rows(events.slice(first, _APPENDED).to_pandas()))
    log.close()
    labels = pq.read_table(job.labels)
    at_us = labels["requested_at"].cast(pa.int64()).to_numpy()
    kept = labels.filter(at_us >= BEGIN_US + SPAN_US - _DAY_US)
    pq.write_table(kept.set_column(0, "label", pa.array(np.arange(len(kept)))), job.labels)


def update(job: Job) -> float:
    """Run the updater from the log's beginning to its end; the CPU seconds of that."""
    log = open_log(Path(job.scratch) / "log.db")
    views = [view_of(job, key) for key in job.keys]
    updater = Updater(views, log, OnlineStore(Path(job.scratch) / "store"))
    end = log.end(_TOPIC)
    began = time.process_time()
    updater.run(until={_TOPIC: end})
    cpu_s = time.process_time() - began
    log.close()
    return cpu_s


def answer(job: Job) -> int:
    """Read each label's features from the store that the updater left; returns how many labels there are."""
    store = OnlineStore(Path(job.scratch) / "store")
    labels = pq.read_table(job.labels)
    at_us = labels["requested_at"].cast(pa.int64()).to_numpy()
    columns = {"label": labels["label"]}
    for key in job.keys:
        view = view_of(job, key)
        found = store.read(view.name, (labels[key].to_numpy().astype(np.int64),), at_us)
        columns |= {feature.name: found[own.name] for feature, own in zip(job.of(key), view.features, strict=True)}
    pq.write_table(pa.table(columns), job.answer)
    return len(labels)
