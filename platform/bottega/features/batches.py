"""Batches: a source's table bit by bit, from a data frame or from Parquet files that need not fit in memory."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from bottega.errors import InvalidData, NotFound

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 500_000


class Batches:
    """One source's table, in batches of its needed columns.

    Raises NotFound for a file that is not there, InvalidData for one that is no Parquet file, or where a needed column
    is missing or of another type than in the first file.
    """

    def __init__(self, what: str, table: "pd.DataFrame | Path | str | Sequence[Path | str]") -> None:
        self._what = what
        self.frame: pd.DataFrame | None = None if isinstance(table, str | Path | list | tuple) else table
        self.files = () if self.frame is not None else tuple(_open(what, path) for path in _paths(what, table))
        self.rows = len(self.frame) if self.frame is not None else sum(f.metadata.num_rows for _, f in self.files)

    def read(self, columns: Sequence[str], paths: Collection[Path] | None = None) -> Iterator["pd.DataFrame"]:
        """The rows in their order, file after file, at least one batch; unneeded columns may be left out.

        `paths` names the files to read, where that is not all of them.
        """
        if self.frame is not None:
            for first in range(0, max(len(self.frame), 1), BATCH_ROWS):
                yield self.frame.iloc[first : first + BATCH_ROWS]
            return
        self._check_schemas(columns)
        some = [(path, file) for path, file in self.files if paths is None or path in paths]
        for path, file in some:
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                    yield _to_pandas(batch)
            except (pa.ArrowInvalid, OSError) as error:
                raise _damaged(self._what, path, error) from error
        if not any(file.metadata.num_rows for _, file in some):
            yield self.files[0][1].schema_arrow.empty_table().to_pandas()

    def _check_schemas(self, columns: Sequence[str]) -> None:
        first_path, first = self.files[0]
        for path, file in self.files:
            schema = file.schema_arrow
            for name in columns:
                if name not in schema.names:
                    raise InvalidData(
                        f"{self._what}: {path} has no column {name!r}.",
                        next_step=f"It has: {', '.join(schema.names)}.",
                    )
                known = first.schema_arrow.field(name).type
                if schema.field(name).type != known:
                    raise InvalidData(
                        f"{self._what}: {name} is {schema.field(name).type} in {path}, but {known} in {first_path}.",
                        next_step="Write the files with one schema.",
                    )


def _paths(what: str, table: "Path | str | Sequence[Path | str]") -> list[Path]:
    given = [Path(table)] if isinstance(table, str | Path) else [Path(path) for path in table]
    found = [file for path in given for file in (sorted(path.glob("**/*.parquet")) if path.is_dir() else [path])]
    if not found:
        raise NotFound(f"{what}: there is no Parquet file in {', '.join(map(str, given)) or 'an empty list'}.")
    return found


def _open(what: str, path: Path) -> tuple[Path, pq.ParquetFile]:
    try:
        return path, pq.ParquetFile(path)
    except FileNotFoundError:
        raise NotFound(f"{what}: there is no file {path}.") from None
    except pa.ArrowInvalid as error:
        raise _damaged(what, path, error) from error


def _damaged(what: str, path: Path, error: Exception) -> InvalidData:
    return InvalidData(f"{what}: {path} cannot be read as Parquet: {error}.", next_step="Write the file again.")


def _to_pandas(batch: pa.RecordBatch) -> "pd.DataFrame":
    """As a data frame in which whole numbers stay whole, also beside nulls."""
    import pandas as pd

    wholes = {pa.from_numpy_dtype(name): getattr(pd, f"{name.replace('i', 'I')}Dtype")() for name in ("int32", "int64")}
    gaps = any(pa.types.is_integer(column.type) and column.null_count for column in batch.columns)
    return batch.to_pandas(types_mapper=wholes.get if gaps else None)
