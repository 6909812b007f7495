"""Trip files as they are: Parquet or CSV, in the publisher's schema or the trimmed one, told apart by their columns."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bottega.datasets.catalog import Column, Dataset
from bottega.errors import InvalidData, NotFound

TRIP_SUFFIXES = (".parquet", ".csv")
ROWS_PER_MONTH = 1_000_000_000
"""A trip_id is the month of its file (YYYYMM, 0 without one) times this, plus the row in that month's files."""
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?$"
_US_TIME = r"^\d{2}/\d{2}/\d{4} \d{2}:\d{2}:\d{2} [AP]M$"
_MONTH_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d\d-(?:0[1-9]|1[0-2]))(?!\d)")


@dataclass(frozen=True)
class RawTrips:
    """One file's rows: typed columns, which rows had text that is no such value, and the rows as they were."""

    values: dict[str, np.ndarray]
    """By our column names: datetime64[us] wall clock (NaT: null) or float64 (nan: null), each (rows,)."""
    wrong_type: np.ndarray  # (rows,) bool
    original: pa.Table


def trip_files(path: Path, name: str = "tlc_green_trips") -> tuple[Path, ...]:
    """The trip files at `path`: itself, or those of the folder or of its sub-folder `name`, in name order.

    Raises NotFound where nothing is there, InvalidData where a folder has no trip files.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise NotFound(f"{path} does not exist.", next_step="Name a Parquet or CSV file, or a folder of such files.")
    for folder in (path / name, path):
        files = [file for file in sorted(folder.glob("*")) if file.suffix.lower() in TRIP_SUFFIXES and file.is_file()]
        files = [file for file in files if not file.name.startswith(".")]
        if files:
            return tuple(files)
    raise InvalidData(
        f"The folder {path} holds no trip files.",
        next_step=f"Put .parquet or .csv files into it or into {path / name}, or fetch some with 'bottega data get'.",
    )


def month_in_name(file: Path) -> str | None:
    """The one YYYY-MM in the file's name; None without one, or with several different ones."""
    found = set(_MONTH_IN_NAME.findall(file.name))
    return found.pop() if len(found) == 1 else None


def read_trips(file: Path, dataset: Dataset, only: Sequence[str] | None = None) -> RawTrips:
    """Read the columns of `dataset` (or `only` some of them) from one file; a nullable column may be absent.

    Raises InvalidData saying which file and which column or row is not what it claims to be, and the next step.
    """
    suffix = file.suffix.lower()
    if suffix not in TRIP_SUFFIXES:
        raise InvalidData(f"{file} is neither .parquet nor .csv.", next_step="Give a trip file of one of these kinds.")
    if not os.access(file, os.R_OK):
        raise InvalidData(f"{file} cannot be read: permission denied.", next_step="Change its permissions.")
    parquet = open_parquet(file) if suffix == ".parquet" else None
    names = parquet.schema_arrow.names if parquet is not None else _csv_header(file)
    columns = [column for column in dataset.columns if only is None or column.name in only]
    found = _match(file, columns, names)
    if parquet is not None:
        table = _read_parquet(file, parquet, list(found.values()))
    else:
        table = _read_csv(file, list(found.values()))
    if table.num_rows == 0:
        raise InvalidData(f"{file} has no rows.", next_step="Remove it, or fetch it again.")
    values: dict[str, np.ndarray] = {}
    wrong = np.zeros(table.num_rows, bool)
    for column in columns:
        if column.name not in found:
            values[column.name] = np.full(table.num_rows, np.nan)
            continue
        source = table.column(found[column.name]).combine_chunks()
        if parquet is not None:
            values[column.name] = _typed(file, column, found[column.name], source)
        else:
            values[column.name], bad = _parsed(file, column, found[column.name], source)
            wrong |= bad
    return RawTrips(values, wrong, table)


def _match(file: Path, columns: Sequence[Column], names: Sequence[str]) -> dict[str, str]:
    """Our column name to the file's, by whichever of the two schemas fits better."""
    lowered: dict[str, list[str]] = {}
    for name in names:
        lowered.setdefault(name.strip().lower(), []).append(name)
    official = {column.name: (column.official or column.name) for column in columns}
    trimmed = {column.name: column.name for column in columns}
    schema = max((official, trimmed), key=lambda s: sum(wanted.lower() in lowered for wanted in s.values()))
    found: dict[str, str] = {}
    for column in columns:
        hits = lowered.get(schema[column.name].lower(), [])
        if len(hits) > 1:
            raise InvalidData(f"{file} has the column {hits[0]!r} twice.", next_step="Keep one of them.")
        if hits:
            found[column.name] = hits[0]
    missing = [schema[column.name] for column in columns if not column.nullable and column.name not in found]
    if not found:
        raise InvalidData(
            f"{file} is no trip file: it has none of the columns {', '.join(missing)}; it has {_some(names)}.",
            next_step="Give trips in TLC's schema or the trimmed one (see the card of the dataset).",
        )
    if missing:
        raise InvalidData(
            f"{file} lacks the column {', '.join(missing)}; it has {_some(names)}.",
            next_step="Add the column, or fetch the file again.",
        )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")


def open_parquet(file: Path) -> pq.ParquetFile:
    """Open a Parquet file; InvalidData says what else it is: empty, something else, truncated, damaged."""
    with file.open("rb") as stream:
        head = stream.read(64)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 4))
        tail = stream.read()
    if size == 0:
        raise InvalidData(f"{file} is empty (0 bytes).", next_step="Fetch it again.")
    if head[:4] != b"PAR1":
        looks_like_text = b"," in head and head.isascii() and b"\0" not in head
        what = "CSV text" if looks_like_text else "something else"
        next_step = "Rename it to .csv." if looks_like_text else "Fetch it again."
        raise InvalidData(f"{file} is named .parquet but holds {what}.", next_step=next_step)
    if tail != b"PAR1" or size < 12:
        raise InvalidData(f"{file} is a truncated Parquet file: its end is missing.", next_step="Fetch it again.")
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _read_parquet(file: Path, parquet: pq.ParquetFile, names: list[str]) -> pa.Table:
    try:
        return parquet.read(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> InvalidData:
    reason = str(error).splitlines()[0].rstrip(".")
    return InvalidData(f"{file} is a damaged Parquet file: {reason}.", next_step="Fetch it again.")


def _csv_header(file: Path) -> list[str]:
    with file.open("rb") as stream:
        line = stream.readline(1 << 16)
    if not line.strip():
        raise InvalidData(f"{file} is empty: it has no header line.", next_step="Fetch it again.")
    if line.startswith(b"PAR1"):
        raise InvalidData(f"{file} is named .csv but holds Parquet.", next_step="Rename it to .parquet.")
    try:
        return [name.strip().strip('"') for name in line.decode("utf-8-sig").rstrip("\r\n").split(",")]
    except UnicodeDecodeError:
        raise InvalidData(f"{file} is no CSV text: row 0 is not UTF-8.", next_step="Save it as UTF-8.") from None


def _read_csv(file: Path, names: list[str]) -> pa.Table:
    """Columns as text; row numbers in messages count data rows from 1."""
    header = _csv_header(file)
    try:
        return pa_csv.read_csv(
            file,
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=header, skip_rows=1),
            convert_options=pa_csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(header, pa.string()),
                strings_can_be_null=True,
                null_values=["", "NA", "NaN", "nan", "null", "NULL", "None"],
            ),
        )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].removeprefix("CSV parse error: ").rstrip(".")
        raise InvalidData(f"{file} is no sound CSV: {reason}.", next_step="Correct that row.") from None


def _typed(file: Path, column: Column, name: str, source: pa.Array) -> np.ndarray:
    """A Parquet column as datetime64[us] or float64; the file's type must be right as a whole."""
    if pa.types.is_dictionary(source.type):
        source = source.dictionary_decode()
    kind = source.type
    if column.type == "time":
        if pa.types.is_null(kind):
            return np.full(len(source), np.datetime64("NaT"), "datetime64[us]")
        if not pa.types.is_timestamp(kind) or kind.tz is not None:
            raise _wrong_column(file, name, str(kind), "timestamps of the wall clock, without a time zone")
        return source.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
    if pa.types.is_null(kind):
        return np.full(len(source), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise _wrong_column(file, name, str(kind), "numbers")
    return source.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _wrong_column(file: Path, name: str, found: str, wanted: str) -> InvalidData:
    return InvalidData(
        f"{file}: the column {name!r} is {found}; it must hold {wanted}.",
        next_step="Convert the column, or fetch the file again.",
    )


def _parsed(file: Path, column: Column, name: str, source: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A CSV column as datetime64[us] or float64, and which rows hold text that is no such value."""
    text = pc.utf8_trim_whitespace(source)
    filled = text.is_valid().to_numpy(zero_copy_only=False) & pc.not_equal(pc.fill_null(text, ""), "").to_numpy(
        zero_copy_only=False
    )
    if column.type == "time":
        values = wall_clock_times(text)
        bad = filled & np.isnat(values)
    else:
        series = pd.Series(text.to_numpy(zero_copy_only=False), dtype=object)
        values = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        bad = filled & np.isnan(values)
    if filled.any() and bad.sum() == filled.sum():
        row = int(np.argmax(bad))
        wanted = "a time such as 2023-01-31 08:30:00" if column.type == "time" else "a number"
        raise InvalidData(
            f"{file}: the column {name!r} holds {source[row].as_py()!r} in data row {row + 1}; it must hold {wanted}.",
            next_step="Correct the column.",
        )
    return values, bad


def wall_clock_times(text: pa.Array) -> np.ndarray:
    """Wall-clock times of ISO 8601 text, or of NYC Open Data's `01/31/2023 08:30:00 AM`; NaT for any other text."""
    values = np.full(len(text), np.datetime64("NaT"), "datetime64[us]")
    for pattern, layout in ((_ISO_TIME, "ISO8601"), (_US_TIME, "%m/%d/%Y %I:%M:%S %p")):
        fits = pc.fill_null(pc.match_substring_regex(text, pattern), False).to_numpy(zero_copy_only=False)
        if fits.any():
            matching = text.filter(pa.array(fits)).to_numpy(zero_copy_only=False)
            parsed = pd.to_datetime(pd.Series(matching, dtype=object), format=layout, errors="coerce")
            values[fits] = parsed.to_numpy("datetime64[us]")
    return values
