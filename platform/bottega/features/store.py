"""The offline store: tables as Parquet segments beside a small manifest that says which of them count.

A segment is written under a new name, then the manifest is swapped: a reader sees the old or the new table. One process
writes a table at a time; any number read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.errors import InvalidData, NotFound
from bottega.features.checks import check_name
from bottega.files import sha256, write_atomic, write_json

if TYPE_CHECKING:
    import pandas as pd


class Segment(msgspec.Struct, frozen=True):
    """One Parquet file of a table: its name in the table, its file, how many rows, and its checksum."""

    name: str
    file: str
    rows: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    segments: tuple[Segment, ...] = ()
    generation: int = 0


class OfflineStore:
    """Offline tables below one folder."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(sorted(file.parent.name for file in self._path.glob("*/manifest.json")))

    def segments(self, table: str) -> tuple[Segment, ...]:
        """A table's segments, in the order in which they were first written."""
        return self._manifest(table).segments

    def write(self, table: str, rows: "pd.DataFrame", segment: str = "all") -> Segment:
        """Write a segment, in place of the one of that name; its columns must be the table's (InvalidData)."""
        check_name("Table", table)
        check_name(f"A segment of table {table!r}:", segment)
        content = pa.Table.from_pandas(rows, preserve_index=False)
        manifest = self._manifest(table)
        others = [known for known in manifest.segments if known.name != segment]
        if others:
            _check_schema(table, pq.read_schema(self._path / table / others[0].file), content.schema)
        sink = pa.BufferOutputStream()
        pq.write_table(content, sink, compression="zstd")
        path = self._path / table / f"{segment}.{manifest.generation + 1}.parquet"
        write_atomic(path, sink.getvalue().to_pybytes())
        written = Segment(segment, path.name, len(rows), sha256(path))
        replaced = [known for known in manifest.segments if known.name == segment]
        listed = [written if known.name == segment else known for known in manifest.segments]
        listed += [] if replaced else [written]
        write_json(self._path / table / "manifest.json", _Manifest(tuple(listed), manifest.generation + 1))
        for old in replaced:
            (path.parent / old.file).unlink(missing_ok=True)
        return written

    def read(self, table: str, columns: Sequence[str] | None = None, segment: str | None = None) -> "pd.DataFrame":
        """All rows of a table, segment after segment, or those of one; NotFound where there is no such table."""
        while True:
            manifest = self._manifest(table)
            wanted = [known for known in manifest.segments if segment in (None, known.name)]
            if not wanted:
                raise NotFound(
                    f"There is no offline table {table!r}{f' with a segment {segment!r}' if segment else ''}.",
                    next_step=f"There are: {', '.join(self.tables()) or 'none'}.",
                )
            try:
                parts = [self._segment(table, one, columns) for one in wanted]
            except FileNotFoundError:
                if self._manifest(table) == manifest:
                    raise
                continue  # a writer replaced a segment meanwhile
            return pa.concat_tables(parts).to_pandas()

    def _segment(self, table: str, segment: Segment, columns: Sequence[str] | None) -> pa.Table:
        path = self._path / table / segment.file
        try:
            return pq.read_table(path, columns=None if columns is None else list(columns))
        except pa.ArrowInvalid as error:
            raise InvalidData(f"{path} is damaged: {error}.", next_step="Write the segment again.") from error

    def _manifest(self, table: str) -> _Manifest:
        path = self._path / table / "manifest.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except FileNotFoundError:
            return _Manifest()
        except msgspec.MsgspecError as error:
            raise InvalidData(
                f"{path} is damaged: {error}.", next_step="Remove the table and write it again."
            ) from error


def _check_schema(table: str, known: pa.Schema, given: pa.Schema) -> None:
    if known.names != given.names or known.types != given.types:
        changed = [f.name for f in given if f.name not in known.names or known.field(f.name).type != f.type]
        missing = [name for name in known.names if name not in given.names]
        problems = [
            *(f"{name} is new or of another type" for name in changed),
            *(f"{name} is missing" for name in missing),
        ]
        raise InvalidData(
            f"The segment does not fit table {table!r}: {'; '.join(problems) or 'the columns are in another order'}.",
            next_step=f"Its columns are {', '.join(f'{f.name} {f.type}' for f in known)}.",
        )
