"""Engines that run the offline expressions: DuckDB in this process, or Spark. Both are given SQL that Ibis wrote."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import duckdb
import ibis
import pyarrow as pa
from ibis.expr.types import Table

from bottega.errors import InvalidInput, StorageError

ENGINES: tuple[str, ...] = ("duckdb", "spark")
MEMORY_LIMIT = "2GB"
_UNITS = "KMGT"


class Engine(Protocol):
    """Tables in, an expression, its rows out. A table holds until its name is given again."""

    shards: int
    """Into how many rows of entities a running total is divided."""

    def table(self, name: str, rows: pa.Table) -> Table:
        """A table to build expressions on."""
        ...

    def keep(self, name: str, expression: Table) -> Table:
        """The rows of an expression, computed once."""
        ...

    def run(self, expression: Table) -> pa.Table:
        """The rows of an expression. Raises OverflowError for a number beyond 64 bits."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


def parse_bytes(text: str) -> int:
    """Bytes of a size such as `2GB` or `500MiB`.

    >>> parse_bytes("2GB")
    2000000000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B", text)
    if not found or float(found[1]) == 0:
        raise InvalidInput(f"{text!r} is no size of memory.", next_step="Write for example 2GB, or 500MiB.")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** (_UNITS.index(found[2]) + 1))


@contextlib.contextmanager
def open_engine(name: str, memory_bytes: int) -> Iterator[Engine]:
    """The engine of that name. Raises InvalidInput for another name, Unsupported where Spark or Java is missing."""
    if name not in ENGINES:
        raise InvalidInput(f"There is no engine {name!r}.", next_step=f"Engines are {', '.join(ENGINES)}.")
    folder = Path(tempfile.mkdtemp(prefix="bottega-engine-"))
    try:
        with contextlib.closing(_open(name, folder, memory_bytes)) as opened:
            yield opened
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(name: str, folder: Path, memory_bytes: int) -> Engine:
    if name == "duckdb":
        return _DuckDb(folder, memory_bytes)
    from bottega.features.spark import Spark  # here, since it may be missing

    return Spark(folder)


class _DuckDb:
    """DuckDB in memory, with a limit; what does not fit goes to a temporary folder."""

    shards = 2

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self._connection = duckdb.connect()
        self._connection.execute(f"SET memory_limit = '{memory_bytes}B'")
        self._connection.execute(f"SET temp_directory = '{str(folder).replace(chr(39), chr(39) * 2)}'")
        self._connection.execute("SET preserve_insertion_order = false")

    def table(self, name: str, rows: pa.Table) -> Table:
        self._connection.register(name, rows)
        return ibis.table(ibis.Schema.from_pyarrow(rows.schema), name=name)

    def keep(self, name: str, expression: Table) -> Table:
        with _duckdb_errors():
            self._connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {_duckdb_sql(expression)}')
        return ibis.table(expression.schema(), name=name)

    def run(self, expression: Table) -> pa.Table:
        with _duckdb_errors():
            return self._connection.sql(_duckdb_sql(expression)).to_arrow_table()

    def close(self) -> None:
        self._connection.close()


def _duckdb_sql(expression: Table) -> str:
    """SQL whose sums, which DuckDB makes of 128 bits, are cast back: it refuses what does not fit."""
    columns = [
        f'CAST("{name}" AS BIGINT) AS "{name}"' if kind.is_int64() else f'"{name}"'
        for name, kind in expression.schema().items()
    ]
    return f"SELECT {', '.join(columns)} FROM ({ibis.to_sql(expression, dialect='duckdb')})"


@contextlib.contextmanager
def _duckdb_errors() -> Iterator[None]:
    try:
        yield
    except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
        raise OverflowError(str(error)) from error
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise StorageError(
            f"DuckDB has not enough memory or disk: {str(error).splitlines()[0]}.",
            next_step="Raise memory_limit, or free some space where temporary files go (TMPDIR).",
        ) from error
