"""One ingestion: batches of a source, checked, transformed, written as segments of an offline table."""

import io
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import msgspec
import pandas as pd

from bottega.datasets.ingest.api import ApiSource
from bottega.datasets.ingest.files import FileSource
from bottega.datasets.ingest.page import PageSource
from bottega.datasets.ingest.queue import QueueSource
from bottega.datasets.ingest.rules import Checked, Column, check_declaration, check_rows
from bottega.datasets.ingest.source import Batch, Source
from bottega.errors import InvalidInput
from bottega.files import write_atomic, write_json
from bottega.progress import Progress, silent

Write = Callable[[str, pd.DataFrame, str], object]
"""(table, rows, segment): write a segment, in place of the one of that name."""
Step = Callable[[ibis.Table], ibis.Table]
"""An ETL step: a plain Ibis function."""


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to ingest: the table's name, its columns and key, and where the rows come from."""

    table: str
    source: FileSource | ApiSource | PageSource | QueueSource
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = ()


class Ingested(msgspec.Struct, frozen=True):
    """What one ingestion did: segments and rows written, and the refused rows by reason."""

    table: str
    segments: tuple[str, ...]
    rows: int
    refused: dict[str, int]


def read_spec(path: Path) -> Spec:
    """Read a TOML file that declares an ingestion. Raises InvalidInput that names the key and the rule."""
    try:
        spec = msgspec.toml.decode(path.read_bytes(), type=Spec)
    except FileNotFoundError:
        raise InvalidInput(f"There is no file {path}.", next_step="Write one: see docs/INGESTION.md.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}.", next_step="See docs/INGESTION.md for the format.") from error
    check_declaration(spec.table, spec.columns, spec.unique)
    return spec


def ingest(
    spec: Spec,
    write: Write,
    folder: Path,
    now: datetime,
    steps: Sequence[Step] = (),
    progress: Progress = silent,
) -> Ingested:
    """Ingest what is new since the last time; an interrupted run goes on where it stopped, and repeats nothing.

    `folder` keeps the position and, below `refused`, the rows that broke a rule, as they came, with the reason. `now`
    is the moment that no past time may lie after. `steps` run on DuckDB, on rows that obeyed the rules.
    """
    state = folder / f"{spec.table}.json"
    position = msgspec.json.decode(state.read_bytes()) if state.exists() else None
    source: Source = spec.source
    segments, rows, refused = list[str](), 0, dict[str, int]()
    for batch in source.batches(position):
        progress(f"ingest {spec.table}", len(segments), 0)
        checked = check_rows(batch.rows, spec.columns, spec.unique, now)
        _keep_refused(folder / "refused" / spec.table / f"{batch.segment}.parquet", batch, checked)
        table = transform(checked.rows, steps)
        write(spec.table, table, batch.segment)
        write_json(state, batch.position)
        source.done(batch.position)
        segments.append(batch.segment)
        rows += len(table)
        for reason in checked.reasons:
            refused[reason] = refused.get(reason, 0) + 1
    progress(f"ingest {spec.table}", len(segments), len(segments))
    return Ingested(spec.table, tuple(segments), rows, refused)


def transform(rows: pd.DataFrame, steps: Sequence[Step]) -> pd.DataFrame:
    """The rows after the ETL steps, by DuckDB in memory."""
    if not steps:
        return rows
    engine = ibis.duckdb.connect()
    try:
        table: Any = ibis.memtable(rows)
        for step in steps:
            table = step(table)
        return engine.to_pyarrow(table).to_pandas()
    finally:
        engine.disconnect()


def _keep_refused(path: Path, batch: Batch, checked: Checked) -> None:
    """Write refused rows as text with their position and reason; an older report of the same segment is replaced."""
    if not len(checked.positions):
        path.unlink(missing_ok=True)
        return
    rows = batch.rows.iloc[checked.positions]
    text = {str(name): [None if pd.isna(v) else str(v) for v in rows[name]] for name in rows.columns}
    kept = pd.DataFrame({"row": checked.positions, "reason": list(checked.reasons), **text})
    buffer = io.BytesIO()
    kept.to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())
