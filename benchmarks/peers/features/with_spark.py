"""Spark on this machine, `local[2]`, with the same SQL as DuckDB."""

from pyspark import SparkContext
from pyspark.sql import SparkSession

from peers.features.job import RECENT, THREADS, Job
from peers.features.sql import Dialect, answer_query, event_view, label_view

_DIALECT = Dialect("unix_micros", "DIV", f"(SELECT explode(sequence(1, {RECENT})) AS step)")
_SHARE = 0.6
"""Of the memory limit for the Java heap: the virtual machine and Python need the rest."""


def answer(job: Job) -> None:
    """Answer the job in one query."""
    session = (
        SparkSession.builder.master(f"local[{THREADS}]")
        .config("spark.driver.memory", f"{int(job.memory_bytes * _SHARE) >> 20}m")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.local.dir", job.scratch)
        .config("spark.sql.warehouse.dir", f"{job.scratch}/warehouse")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", 4 * THREADS)
        .getOrCreate()
    )
    session.read.parquet(job.labels).createTempView("label_file")
    session.read.parquet(job.events).createTempView("event_file")
    session.sql(label_view(_DIALECT, "label_file")).createTempView("labels")
    session.sql(event_view(_DIALECT, job, "event_file")).createTempView("events")
    session.sql(answer_query(_DIALECT, job)).write.parquet(job.answer)


def stop() -> None:
    """End the session, if any, and wait for its virtual machine: its CPU time then counts as this process's."""
    session, gateway = SparkSession.getActiveSession(), SparkContext._gateway
    if session is not None:
        session.stop()
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait()
