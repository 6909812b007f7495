"""One of a dataset's tables from its file: converted to the declared types, its rows judged one by one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bottega.datasets.catalog import Column, Dataset, reasons_of
from bottega.datasets.ingest.convert import convert
from bottega.datasets.ingest.source import Form
from bottega.datasets.rules import Verdict, broken_by, first_broken
from bottega.errors import InvalidData, NotFound

_PANDAS = {"integer": "Int64", "number": "float64", "text": "str", "bool": "boolean", "time": "datetime64[us, UTC]"}


@dataclass(frozen=True)
class Relation:
    """A table's rows in the order of its file, and which rows break which rule so far."""

    rows: pd.DataFrame
    broken: tuple[tuple[str, np.ndarray], ...]
    """(reason, (rows,) bool) of the rules about a row alone and about duplicates, in declared order."""
    reasons: tuple[str, ...]

    def judge(self, *more: tuple[str, np.ndarray]) -> Verdict:
        """The first rule that each row breaks: those so far, then `more`, which only other tables can tell."""
        return Verdict(first_broken(len(self.rows), self.reasons, (*self.broken, *more)), self.reasons)


def table_file(folder: Path, table: str) -> Path | None:
    """The table's file in `folder`, Parquet before CSV; None where there is none."""
    files = (folder / f"{table}{suffix}" for suffix in (".parquet", ".csv"))
    return next((file for file in files if file.is_file()), None)


def read_relation(folder: Path, declared: Dataset, table: str) -> Relation:
    """Read the table from its Parquet or CSV file; columns that are not declared are left out.

    Raises NotFound where there is no file, InvalidData for one that cannot be read, lacks a column, or holds another
    type in all of it.
    """
    file = table_file(folder, table)
    if file is None:
        raise NotFound(f"{folder} has no {table}.parquet.", next_step="Put it there, or name another folder.")
    return read_table(file, declared, table)


def read_table(file: Path, declared: Dataset, table: str) -> Relation:
    """As `read_relation`, from a file whatever its name."""
    columns = [column for column in declared.columns if column.table == table]
    raw = _read(file, columns)
    values: dict[str, pd.Series] = {}
    wrong = np.zeros(raw.num_rows, bool)
    for column in columns:
        if column.type == "texts":
            values[column.name] = _texts(raw[column.name], file, column)
            continue
        form: Form = "text" if file.suffix == ".csv" else "typed"
        array = raw[column.name].combine_chunks()
        found = convert(array, form, column, declared.timezone, str(file))
        values[column.name] = found.values.to_pandas(types_mapper=_nullable).astype(_PANDAS[column.type])
        wrong |= found.wrong | found.local
    checks = tuple(check for check in declared.checks if check.table == table)
    broken = tuple(_broken(declared, table, pd.DataFrame(values), wrong))
    return Relation(pd.DataFrame(values), broken, reasons_of(columns, checks))


def _broken(declared: Dataset, table: str, rows: pd.DataFrame, wrong: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    columns = [column for column in declared.columns if column.table == table]
    for check in declared.checks:
        if check.table != table:
            continue
        match check.kind:
            case "type":
                yield check.reason, wrong
            case "duplicate":
                yield check.reason, rows.duplicated(list(check.columns)).to_numpy()
            case "null" | "range" | "allowed" | "hour":
                yield from broken_by(check, columns, {name: rows[name] for name in rows})


def _nullable(kind: pa.DataType) -> pd.Int64Dtype | None:
    """Whole numbers stay whole beside nulls."""
    return pd.Int64Dtype() if kind == pa.int64() else None


def _read(file: Path, columns: list[Column]) -> pa.Table:
    """The columns as they stand in the file; those of a CSV file as text."""
    names = [column.official or column.name for column in columns]
    try:
        if file.suffix == ".csv":
            types = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            table = pa_csv.read_csv(file, convert_options=types)
        else:
            table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InvalidData(f"{file} cannot be read: {reason}.", next_step="Replace the file.") from None
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise InvalidData(
            f"{file} lacks the column {', '.join(missing)}.", next_step=f"It has {', '.join(table.column_names)}."
        )
    return table.select(names).rename_columns([column.name for column in columns])


def _texts(values: pa.ChunkedArray, file: Path, column: Column) -> pd.Series:
    """Lists of texts; in a CSV file they stand in one cell, with bars between. None where there is none."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        found = [None if cell is None else [part for part in cell.split("|") if part] for cell in values.to_pylist()]
    elif pa.types.is_null(values.type) or pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        found = values.to_pylist()
    else:
        raise InvalidData(
            f"{file}: the column {column.name!r} is {values.type}; it must hold lists of texts.",
            next_step="Write lists, or texts with bars between the parts.",
        )
    return pd.Series(found, dtype=object)
