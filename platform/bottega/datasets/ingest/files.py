"""Rows of Parquet and CSV files: one batch a file, again only where the file has changed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bottega.datasets.ingest.source import Batch
from bottega.errors import InvalidData, InvalidInput, NotFound


class FileSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="files"):
    """Files of one folder or pattern (`data/*.csv`), or a single one; `.parquet` and `.csv`, all with one schema."""

    path: str
    delimiter: str = ","

    def batches(self, position: Any) -> Iterator[Batch]:
        """One batch a file that is new or has changed, in the order of their names."""
        known: dict[str, list[int]] = dict(position or {})
        schema: pa.Schema | None = None
        for file in self.files():
            table = self._read(file)
            schema = schema or table.schema
            if table.schema.names != schema.names:
                columns, first = (", ".join(one.names) for one in (table.schema, schema))
                raise InvalidData(
                    f"{file} has columns {columns}; the first file has {first}.",
                    next_step="Ingest files of one schema together.",
                )
            state = file.stat()
            stamp = [state.st_size, state.st_mtime_ns]
            if known.get(str(file)) != stamp:
                known = {**known, str(file): stamp}
                yield Batch(re.sub(r"\W", "_", f"file_{file.stem}"), table.to_pandas(), known)

    def files(self) -> list[Path]:
        """The files; NotFound where there is none."""
        path = Path(self.path)
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix in (".csv", ".parquet"))
        elif any(mark in self.path for mark in "*?["):
            found = sorted(path.parent.glob(path.name))
        else:
            found = [path] if path.is_file() else []
        if not found:
            raise NotFound(
                f"There is no file {self.path}.", next_step="Name a .csv or .parquet file, or a folder of them."
            )
        names = [file.stem for file in found]
        if len(set(names)) < len(names):
            raise InvalidInput(f"Two files of {self.path} have the same name.", next_step="Rename one of them.")
        return found

    def done(self, position: Any) -> None:
        """Files stay where they are."""

    def _read(self, file: Path) -> pa.Table:
        try:
            if file.suffix == ".parquet":
                return pq.read_table(file)
            if file.suffix == ".csv":
                options = pyarrow.csv.ParseOptions(delimiter=self.delimiter)
                return pyarrow.csv.read_csv(
                    file, parse_options=options, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
                )
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidData(
                f"{file} cannot be read: {error}.", next_step="Repair the file, or leave it out."
            ) from error
        raise InvalidInput(f"{file} is neither .csv nor .parquet.", next_step="Convert it.")


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table of objects, each value as it came."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
