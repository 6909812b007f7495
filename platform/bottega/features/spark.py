"""Spark as an engine: tables go over as Parquet files in a temporary folder, which a cluster must share."""

import contextlib
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from bottega.errors import Unsupported
from bottega.files import disk_errors

_OVERFLOW = ("ARITHMETIC_OVERFLOW", "CAST_OVERFLOW")


class Spark:
    """The session in use, or else one on two local cores; BOTTEGA_SPARK names another master.

    Raises Unsupported where PySpark or Java is missing, or Spark does not start.
    """

    shards = 64

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._kept: dict[str, Any] = {}
        self._session, self._own = _session(folder)

    def table(self, name: str, rows: pa.Table) -> Table:
        path = self._next(name)
        with disk_errors(path):
            pq.write_table(rows, path)
        self._session.read.parquet(str(path)).createOrReplaceTempView(_view(name))
        return ibis.table(ibis.Schema.from_pyarrow(rows.schema), name=_view(name))

    def keep(self, name: str, expression: Table) -> Table:
        frame = self._session.sql(_sql(expression)).persist()
        if name in self._kept:
            self._kept[name].unpersist()
        self._kept[name] = frame
        frame.createOrReplaceTempView(_view(name))
        return ibis.table(expression.schema(), name=_view(name))

    def run(self, expression: Table) -> pa.Table:
        from pyspark.errors import PySparkException

        path = self._next("answer")
        try:
            self._session.sql(_sql(expression)).write.parquet(str(path))
        except PySparkException as error:
            if any(kind in str(error) for kind in _OVERFLOW):
                raise OverflowError(str(error)) from error
            raise
        return pq.read_table(path)

    def close(self) -> None:
        for frame in self._kept.values():
            frame.unpersist()
        if self._own:
            self._session.stop()

    def _next(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{name}.{self._count}.parquet"


def _view(name: str) -> str:
    return f"bottega_{name}"


@contextlib.contextmanager
def _without_pandas_warning() -> Iterator[None]:
    """PySpark warns of pandas 3 where it is loaded; no table of ours passes through pandas there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
        yield


def _sql(expression: Table) -> str:
    with _without_pandas_warning():  # Ibis loads its backend here
        return str(ibis.to_sql(expression, dialect="pyspark"))


def _session(folder: Path) -> tuple[Any, bool]:
    """The session in use, or a new one, and whether it is new."""
    try:
        with _without_pandas_warning():
            from pyspark.errors import PySparkException
            from pyspark.sql import SparkSession
    except ImportError:
        raise Unsupported("The package pyspark is missing.", next_step="pip install 'bottega[spark]'") from None
    if (session := SparkSession.getActiveSession()) is not None:
        return session, False
    master = os.environ.get("BOTTEGA_SPARK", "local[2]")
    if master.startswith("local") and shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise Unsupported("Spark needs Java 17, and there is none.", next_step="Install it (openjdk-17-jre-headless).")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "scratch"),
    }
    builder = SparkSession.builder.master(master).appName("bottega")
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        with _silent(folder / "spark.log"):
            return builder.getOrCreate(), True
    except PySparkException as error:
        raise Unsupported(f"Spark does not start: {error}.", next_step="Check Java 17 and BOTTEGA_SPARK.") from error


@contextlib.contextmanager
def _silent(log: Path) -> Iterator[None]:
    """The Java process writes to the standard error that it is born with: give it a file."""
    before = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
