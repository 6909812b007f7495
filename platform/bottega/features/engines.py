"""Engines that run the offline expressions: DuckDB in this process, or Spark."""

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from bottega.errors import InvalidData, InvalidInput, StorageError, Unsupported
from bottega.features.checks import check_name

EngineName = Literal["duckdb", "spark"]
ENGINES: tuple[str, ...] = ("duckdb", "spark")
MEMORY_LIMIT = "2GB"


class Engine(Protocol):
    """Tables in, an expression, its rows out."""

    def table(self, name: str, rows: pa.Table) -> Table:
        """A table to build expressions on."""
        ...

    def run(self, expression: Table) -> pa.Table:
        """The rows of an expression."""
        ...


@contextlib.contextmanager
def open_engine(name: str, memory_limit: str = MEMORY_LIMIT) -> Iterator[Engine]:
    """The engine of that name. Raises InvalidInput for another name, Unsupported where Spark or Java is missing."""
    if name not in ENGINES:
        raise InvalidInput(f"There is no engine {name!r}.", next_step=f"Engines are {', '.join(ENGINES)}.")
    folder = Path(tempfile.mkdtemp(prefix="bottega-engine-"))
    try:
        opened = _DuckDb(folder, memory_limit) if name == "duckdb" else _Spark(folder)
        with contextlib.closing(opened):
            yield opened
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _DuckDb:
    """DuckDB in memory, with a limit; what does not fit goes to a temporary folder."""

    def __init__(self, folder: Path, memory_limit: str) -> None:
        import duckdb

        self._duckdb = duckdb
        self._connection: Any = ibis.duckdb.connect(temp_directory=str(folder))
        try:
            self._connection.raw_sql(f"SET memory_limit = '{memory_limit.replace(chr(39), '')}'")
        except duckdb.Error as error:
            raise InvalidInput(f"{memory_limit!r} is no size of memory: {error}.", next_step="Write 2GB.") from error
        self._connection.raw_sql("SET preserve_insertion_order = false")

    def table(self, name: str, rows: pa.Table) -> Table:
        check_name("A table", name)
        return ibis.memtable(rows)

    def run(self, expression: Table) -> pa.Table:
        try:
            return self._connection.to_pyarrow(expression)
        except (self._duckdb.OutOfRangeException, self._duckdb.ConversionException, pa.ArrowInvalid) as error:
            raise InvalidData(
                f"A sum does not fit 64 bits: {error}.", next_step="Declare a smaller scale for the column."
            ) from error
        except self._duckdb.OutOfMemoryException as error:
            raise StorageError(
                f"DuckDB has not enough memory or disk: {error}.", next_step="Raise memory_limit, or free some disk."
            ) from error

    def close(self) -> None:
        self._connection.disconnect()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PySpark 4.3 warns of pandas 3, which it is not asked to use here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Spark:
    """Spark, on two local cores unless BOTTEGA_SPARK names a master; tables go over as Parquet files."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("java") is None:
            raise Unsupported(
                "Spark needs Java 17, and there is none.", next_step="Install it (openjdk-17-jre-headless)."
            )
        try:
            with _quiet():
                from pyspark.sql import SparkSession
        except ImportError:
            raise Unsupported("The package pyspark is missing.", next_step="pip install 'bottega[spark]'") from None
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        self._folder, self._count = folder, 0
        self._session: Any = (
            SparkSession.builder.master(os.environ.get("BOTTEGA_SPARK", "local[2]"))
            .appName("bottega")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.log.level", "ERROR")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", "4")
            .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
            .config("spark.local.dir", str(folder / "scratch"))
            .getOrCreate()
        )
        with _quiet():
            self._connection: Any = ibis.pyspark.connect(self._session)

    def table(self, name: str, rows: pa.Table) -> Table:
        check_name("A table", name)
        self._count += 1
        path = self._folder / f"{name}.{self._count}.parquet"
        pq.write_table(rows, path)
        return self._connection.read_parquet(str(path), table_name=f"{name}_{self._count}")

    def run(self, expression: Table) -> pa.Table:
        self._count += 1
        path = self._folder / f"answer.{self._count}.parquet"
        self._session.sql(self._connection.compile(expression)).write.parquet(str(path))
        return pq.read_table(path)

    def close(self) -> None:
        self._session.stop()
