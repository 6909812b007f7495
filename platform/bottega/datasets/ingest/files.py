"""Rows of Parquet and CSV files, again only where a file has changed."""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from bottega.datasets.ingest.source import Batch, End, Form, mark
from bottega.datasets.tripfiles import open_parquet
from bottega.errors import InvalidData, InvalidInput, NotFound

SUFFIXES = (".parquet", ".csv")


class _Read(msgspec.Struct, frozen=True):
    """How far a file was read: its size and time of change then, the rows and parts so far, whether that is all."""

    size: int
    changed_ns: int
    rows: int = 0
    parts: int = 0
    whole: bool = False


class FileSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="files"):
    """Parquet and CSV files: one, those of a folder, or of a pattern such as `data/*.csv`.

    A file becomes segments of `rows_at_once` rows. One that has not changed since the last time is left alone.
    """

    path: str
    delimiter: Annotated[str, msgspec.Meta(pattern=r'^[^"\r\n]$')] = ","
    rows_at_once: Annotated[int, msgspec.Meta(ge=1)] = 100_000

    @property
    def address(self) -> str:
        """The absolute path or pattern."""
        return str(Path(self.path).absolute())

    def batches(self, position: Any, pages: Path, now: datetime) -> Iterator[Batch | End]:
        """The parts of each file that is new or has changed, in the order of their names."""
        del pages, now
        known = msgspec.convert(position or {}, dict[str, _Read])
        for file in self.files():
            name = str(file.absolute())
            state = file.stat()
            read = known.get(name, _Read(0, 0))
            if (read.size, read.changed_ns) != (state.st_size, state.st_mtime_ns):
                read = _Read(state.st_size, state.st_mtime_ns)
            if read.whole:
                continue
            group = f"file_{re.sub(r'[^A-Za-z0-9]', '_', file.stem)}_{mark(name)}"
            for original, unreadable in self._parts(file, read.rows):
                part = read.parts
                read = msgspec.structs.replace(read, rows=read.rows + original.num_rows, parts=part + 1)
                known = known | {name: read}
                form: Form = "typed" if file.suffix.lower() == ".parquet" else "text"
                yield Batch(name, group, part, form, original, original, msgspec.to_builtins(known), unreadable)
            known = known | {name: msgspec.structs.replace(read, whole=True)}
            yield End(group, read.parts, msgspec.to_builtins(known))

    def files(self) -> list[Path]:
        """The files; NotFound where there is none."""
        path = Path(self.path)
        if path.is_dir():
            found = [one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith(".")]
        elif path.is_file():
            found = [path]
        else:
            found = _matching(path)
        if not found:
            raise NotFound(
                f"There is no file {self.path}.", next_step="Name a .csv or .parquet file, or a folder of them."
            )
        for file in found:
            if file.suffix.lower() not in SUFFIXES:
                raise InvalidInput(f"{file} is neither .csv nor .parquet.", next_step="Convert it, or leave it out.")
        return sorted(found)

    def _parts(self, file: Path, skip: int) -> Iterator[tuple[pa.Table, Mapping[int, str]]]:
        """Tables of the file's rows after the first `skip`, and which of their rows cannot be read."""
        try:
            if file.suffix.lower() == ".parquet":
                yield from ((table, {}) for table in _parquet_parts(file, skip, self.rows_at_once))
            else:
                yield from _csv_parts(file, self.delimiter, skip, self.rows_at_once)
        except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise InvalidData(
                f"{file} cannot be read: {reason}.", next_step="Repair the file, or leave it out; then go on."
            ) from None


def _matching(pattern: Path) -> list[Path]:
    """The files that a pattern names."""
    fixed = list(itertools.takewhile(lambda part: not set(part) & set("*?["), pattern.parts))
    rest = "/".join(pattern.parts[len(fixed) :])
    try:
        return [file for file in Path(*fixed).glob(rest) if file.is_file()] if rest else []
    except ValueError as error:
        raise InvalidInput(f"source.path: {error}.", next_step="Write a pattern such as data/*.csv.") from None


def _parquet_parts(file: Path, skip: int, rows_at_once: int) -> Iterator[pa.Table]:
    with open_parquet(file) as parquet:
        if len(set(parquet.schema_arrow.names)) < len(parquet.schema_arrow.names):
            raise InvalidData(f"{file} has a column twice.", next_step="Rename one of the two.")
        for batch in parquet.iter_batches(batch_size=rows_at_once):
            skipped = min(skip, len(batch))
            skip -= skipped
            if skipped < len(batch):
                yield pa.Table.from_batches([batch.slice(skipped)])


def _csv_parts(
    file: Path, delimiter: str, skip: int, rows_at_once: int
) -> Iterator[tuple[pa.Table, Mapping[int, str]]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = next(lines, [])
            if not header:
                raise InvalidData(f"{file} is empty: it has no header line.", next_step="Write one, or leave it out.")
            if len(set(header)) < len(header) or not all(header):
                raise InvalidData(
                    f"{file}: the header line is no list of different names.", next_step="Name each column."
                )
            rows = itertools.islice(filter(None, lines), skip, None)
            while part := list(itertools.islice(rows, rows_at_once)):
                yield table_of(header, part)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidData(
                f"{file} cannot be read beyond line {lines.line_num}: {error}.",
                next_step="Repair the file, or leave it out; then go on.",
            ) from None


def table_of(names: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[pa.Table, dict[int, str]]:
    """A table of text, and which rows have another number of fields: their text is in the column `record`."""
    wrong = {i: "wrong_number_of_fields" for i, row in enumerate(rows) if len(row) != len(names)}
    nothing = (None,) * len(names)
    columns = (
        zip(*((nothing if i in wrong else row) for i, row in enumerate(rows)), strict=True)
        if rows
        else [()] * len(names)
    )
    table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})
    if wrong and "record" not in names:
        records = [msgspec.json.encode(row).decode() if i in wrong else None for i, row in enumerate(rows)]
        table = table.append_column("record", pa.array(records, pa.string()))
    return table, wrong
