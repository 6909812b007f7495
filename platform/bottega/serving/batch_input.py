"""Request rows of a file: CSV, Parquet, or a folder of Parquet files (a table), read in pieces of bounded size."""

import contextlib
import csv
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from bottega.errors import InvalidData, NotFound
from bottega.files import sha256
from bottega.schema import NUMPY_OF, Field

if TYPE_CHECKING:
    import pyarrow as pa

Values = np.ndarray | list
"""A column as it was read: an array where the file's type is the field's own, else values as JSON would bring them."""
_NULL = ""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows: `values` by column, (rows,) each, and the reasons of `broken` ones by their place."""

    first: int
    values: dict[str, Values]
    broken: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


class RowSource(Protocol):
    """An input file. `rows` is how many there are, 0 where only reading tells."""

    rows: int

    def chunks(self, size: int, skip: int = 0) -> Iterator[Chunk]:
        """The rows after the first `skip`, in pieces of `size`, the last one shorter."""
        ...

    def digest(self) -> str:
        """Hex SHA-256 of the content."""
        ...


def open_rows(path: Path, fields: Sequence[Field], optional: Sequence[str] = ()) -> RowSource:
    """The rows of a file with the columns of `fields`, and of `optional` where it has them; others are not read.

    Raises NotFound where there is no such file, InvalidData where it cannot be read or lacks a column.
    """
    if not path.exists():
        raise NotFound(f"There is no file {path}.")
    if path.is_dir() or path.suffix == ".parquet":
        return ParquetRows(path, fields, optional)
    if path.suffix == ".csv":
        return CsvRows(path, fields, optional)
    raise InvalidData(f"{path} is neither .csv nor .parquet.", next_step="Convert it, or rename it.")


class CsvRows:
    """A CSV file in UTF-8 with a header; a row with too few or too many values is broken."""

    rows = 0

    def __init__(self, path: Path, fields: Sequence[Field], optional: Sequence[str]) -> None:
        self._path = path
        self._fields = {field.name: field for field in fields}
        with self._records() as records:
            self._header = next(records, [])
        self._names = _columns(path, self._header, fields, optional)

    def chunks(self, size: int, skip: int = 0) -> Iterator[Chunk]:
        """The rows after the first `skip`, in pieces of `size`."""
        with self._records() as records:
            next(records, None)
            for _ in itertools.islice(records, skip):
                pass
            for first in itertools.count(skip, size):
                rows = list(itertools.islice(records, size))
                if not rows:
                    return
                yield self._chunk(first, rows)

    def digest(self) -> str:
        """Hex SHA-256 of the file."""
        return sha256(self._path)

    def _chunk(self, first: int, rows: list[list[str]]) -> Chunk:
        wanted = len(self._header)
        broken = {
            i: f"The row has {len(row)} values; the header has {wanted}."
            for i, row in enumerate(rows)
            if len(row) != wanted
        }
        for i in broken:
            rows[i] = [_NULL] * wanted
        columns = dict(zip(self._header, zip(*rows, strict=True), strict=True))
        values: dict[str, Values] = {}
        for name in self._names:
            known = self._fields.get(name)
            values[name] = list(columns[name]) if known is None else [from_text(known, text) for text in columns[name]]
        return Chunk(first, values, broken)

    @contextlib.contextmanager
    def _records(self) -> Iterator[Iterator[list[str]]]:
        """The file's records; blank lines are none."""
        with self._path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            try:
                yield (record for record in reader if record)
            except (csv.Error, UnicodeDecodeError) as error:
                raise InvalidData(
                    f"{self._path} is no CSV file in UTF-8 after line {reader.line_num}: {error}."
                ) from None


class ParquetRows:
    """A Parquet file, or all of a folder in the order of their paths."""

    def __init__(self, path: Path, fields: Sequence[Field], optional: Sequence[str]) -> None:
        self._paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not self._paths:
            raise InvalidData(f"The folder {path} has no Parquet files.")
        self._root = path
        self._fields = {field.name: field for field in fields}
        self.rows = 0
        for each in self._paths:
            with _parquet(each) as file:
                self._names = _columns(each, file.schema_arrow.names, fields, optional)
                self.rows += file.metadata.num_rows

    def chunks(self, size: int, skip: int = 0) -> Iterator[Chunk]:
        """The rows after the first `skip`, in pieces of `size`; row groups that are skipped are not read."""
        import pyarrow as pa

        first, waiting = skip, []
        for batch in self._batches(size, skip):
            waiting.append(batch)
            while sum(map(len, waiting)) >= size:
                table = pa.Table.from_batches(waiting)
                yield self._chunk(first, table.slice(0, size))
                first, waiting = first + size, table.slice(size).to_batches()
        if waiting:
            yield self._chunk(first, pa.Table.from_batches(waiting))

    def digest(self) -> str:
        """Hex SHA-256 of the files' names and contents."""
        found = hashlib.sha256()
        for path in self._paths:
            found.update(f"{path.relative_to(self._root)}\0{sha256(path)}\0".encode())
        return found.hexdigest()

    def _batches(self, size: int, skip: int) -> "Iterator[pa.RecordBatch]":
        for path in self._paths:
            with _parquet(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if skip >= rows:
                        skip -= rows
                        continue
                    for batch in file.iter_batches(size, row_groups=[group], columns=self._names, use_threads=False):
                        left = batch.slice(min(skip, len(batch)))
                        skip -= len(batch) - len(left)
                        if len(left):
                            yield left.select(self._names).replace_schema_metadata(None)

    def _chunk(self, first: int, table: "pa.Table") -> Chunk:
        values = {name: from_arrow(self._fields.get(name), table[name]) for name in self._names}
        return Chunk(first, values)


def from_text(known: Field, text: str) -> object:
    """A value of a CSV file as JSON would bring it; text that is no number stays text, for the field to refuse."""
    if text == _NULL:
        return None
    if known.shape:
        return _list(text)
    if known.is_time or known.datatype == "BYTES":
        return text
    if known.datatype == "BOOL":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if known.datatype.startswith("INT") else float(text)
    except ValueError:
        return text


def _list(text: str) -> object:
    """A list in JSON; text that is none stays text, for the field to refuse."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def from_arrow(known: Field | None, column: "pa.ChunkedArray") -> Values:
    """An Arrow column as an array of its field's type where that loses nothing, else value by value."""
    import pyarrow as pa

    kind = column.type
    if known is not None and not column.null_count and _numeric(known, kind):
        wanted = pa.timestamp("us", "UTC") if known.is_time else getattr(pa, NUMPY_OF[known.datatype].name)()
        try:
            cast = column.cast(wanted)
        except pa.ArrowInvalid:
            pass  # some value does not fit: which one, each says for itself
        else:
            return (cast.cast(pa.int64()) if known.is_time else cast).to_numpy()
    return [value.isoformat() if isinstance(value, datetime) else value for value in column.to_pylist()]


def _numeric(known: Field, kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if known.shape:
        return False
    if known.is_time:
        return pa.types.is_timestamp(kind) and kind.tz is not None and kind.unit != "ns"
    if known.datatype.startswith("INT"):
        return pa.types.is_integer(kind)
    return known.datatype.startswith("FP") and pa.types.is_floating(kind)


def _columns(path: Path, found: Sequence[str], fields: Sequence[Field], optional: Sequence[str]) -> list[str]:
    """The columns to read. Raises InvalidData where one is missing or there twice."""
    names = [known.name for known in fields]
    for name in names:
        if found.count(name) != 1:
            what = "has no column" if name not in found else "has more than one column"
            raise InvalidData(f"{path} {what} {name!r}.", next_step=f"The columns are {', '.join(names)}.")
    return [*names, *(name for name in optional if name in found and name not in names)]


@contextlib.contextmanager
def _parquet(path: Path) -> "Iterator":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidData(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
