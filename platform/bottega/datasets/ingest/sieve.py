"""The sieve: a batch's rows in their declared types, and which rule each of them broke first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bottega.datasets.catalog import Check, Column, reasons_of
from bottega.datasets.ingest.convert import TYPES, Converted, convert
from bottega.datasets.ingest.keys import Keys, hashes
from bottega.datasets.ingest.source import Batch
from bottega.datasets.ingest.spec import Spec
from bottega.datasets.rules import Verdict, broken_by, first_broken
from bottega.errors import InvalidData

NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
"""pandas' types that hold null without turning whole numbers into floats."""


@dataclass(frozen=True)
class Sifted:
    """The good rows, the hashes of their keys (none without a rule about duplicates), and the verdict on all rows."""

    good: pd.DataFrame
    keys: np.ndarray  # (good rows,) uint64
    verdict: Verdict


def sift(batch: Batch, spec: Spec, keys: Keys, now: datetime) -> Sifted:
    """Convert and check a batch; `keys` are those of the rows that are written already.

    Raises InvalidData where a column is not there, or of another type as a whole.
    """
    converted = {
        column.name: convert(_values(batch, column), batch.form, column, spec.timezone, batch.origin)
        for column in spec.columns
    }
    checks = (*standing_checks(spec.columns, spec.timezone), *spec.checks)
    reasons = (*sorted(set(batch.unreadable.values())), *reasons_of(spec.columns, checks))
    rows = pa.table({name: one.values for name, one in converted.items()}).to_pandas(types_mapper=NULLABLE.get)
    verdict = Verdict(
        first_broken(len(rows), reasons, _broken(batch, spec.columns, checks, converted, rows, now)), reasons
    )
    found = np.zeros(len(rows), np.uint64)
    for check in checks:
        if check.kind == "duplicate":
            found = hashes(rows[list(check.columns)])
            repeated = keys.repeated(batch.group, batch.part, found, verdict.good)
            verdict = Verdict(np.where(repeated, np.int16(reasons.index(check.reason)), verdict.reason), reasons)
    return Sifted(_plain(rows[verdict.good], spec.columns), found[verdict.good], verdict)


def standing_checks(columns: tuple[Column, ...], timezone: str) -> tuple[Check, ...]:
    """The rules that hold without being declared: the type, a moment for a time, a value where one must be."""
    clock = "nonexistent_local_time" if timezone else "no_offset"
    return (
        *(Check(f"wrong_type_{column.name}", "type", column.name) for column in columns),
        *(Check(f"{clock}_{column.name}", "local_time", column.name) for column in columns if column.type == "time"),
        Check("null", "null"),
    )


def no_rows(columns: tuple[Column, ...]) -> pd.DataFrame:
    """The table without rows."""
    table = pa.table({column.name: pa.array([], TYPES[column.type]) for column in columns})
    return _plain(table.to_pandas(types_mapper=NULLABLE.get), columns)


def _values(batch: Batch, column: Column) -> Any:
    name = column.official or column.name
    if not isinstance(batch.rows, pa.Table):
        return [None if row is None else row.get(name) for row in batch.rows]
    if name in batch.rows.column_names:
        return batch.rows.column(name).combine_chunks()
    if column.nullable:
        return pa.nulls(batch.rows.num_rows, pa.string() if batch.form == "text" else pa.null())
    raise InvalidData(
        f"{batch.origin} has no column {name!r}.", next_step=f"It has: {', '.join(batch.rows.column_names)}."
    )


def _broken(
    batch: Batch,
    columns: tuple[Column, ...],
    checks: tuple[Check, ...],
    converted: dict[str, Converted],
    rows: pd.DataFrame,
    now: datetime,
) -> Iterator[tuple[str, np.ndarray]]:
    for reason in sorted(set(batch.unreadable.values())):
        yield reason, np.array([batch.unreadable.get(i) == reason for i in range(len(rows))], bool)
    values = {str(name): rows[name] for name in rows.columns}
    for check in checks:
        match check.kind:
            case "type":
                yield check.reason, converted[check.column].wrong
            case "local_time":
                yield check.reason, converted[check.column].local
            case _:
                yield from broken_by(check, columns, values, now)


def _plain(rows: pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    """numpy's types for the columns that are never null."""
    plain = {"integer": "int64", "bool": "bool"}
    dtypes = {one.name: plain[one.type] for one in columns if one.type in plain and not one.nullable}
    return rows.astype(dtypes).reset_index(drop=True)
