"""DuckDB, in plain SQL."""

import duckdb

from peers.features.job import RECENT, THREADS, Job
from peers.features.sql import Dialect, answer_query, event_view, label_view

_DIALECT = Dialect("epoch_us", "//", f"(SELECT unnest(range(1, {RECENT + 1})) AS step)")
_SHARE = 0.7
"""Of the memory limit: DuckDB's own counts its buffers, not the process."""


def answer(job: Job) -> None:
    """Answer the job in one query."""
    with duckdb.connect() as engine:
        engine.execute(f"SET threads = {THREADS}")
        engine.execute(f"SET memory_limit = '{int(job.memory_bytes * _SHARE)}B'")
        engine.execute(f"SET temp_directory = '{job.scratch}'")
        engine.execute("SET preserve_insertion_order = false")
        engine.execute("CREATE TEMP VIEW labels AS " + label_view(_DIALECT, f"'{job.labels}'"))
        engine.execute("CREATE TEMP VIEW events AS " + event_view(_DIALECT, job, f"'{job.events}'"))
        engine.execute(f"COPY ({answer_query(_DIALECT, job)}) TO '{job.answer}' (FORMAT parquet)")
