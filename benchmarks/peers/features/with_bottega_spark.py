"""Bottega's offline engine with Spark in DuckDB's place."""

from peers.features import with_bottega
from peers.features.job import Job


def answer(job: Job) -> None:
    """Answer the job on Spark."""
    with_bottega.answer(job, engine="spark")
