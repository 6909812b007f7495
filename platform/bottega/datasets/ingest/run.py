"""One ingestion: batches of a source, checked, transformed, and written as segments of a table."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import msgspec
import pandas as pd

from bottega.datasets.ingest.keys import Keys
from bottega.datasets.ingest.sieve import NULLABLE, no_rows, sift
from bottega.datasets.ingest.source import Batch, End, Source, mark
from bottega.datasets.ingest.spec import Spec, check_spec
from bottega.datasets.quarantine import quarantine
from bottega.errors import InvalidData
from bottega.files import write_json
from bottega.progress import Progress, silent
from bottega.workspace import Workspace

Write = Callable[[str, pd.DataFrame, str], object]
"""(table, rows, segment): write a segment, in place of the one of that name."""
Step = Callable[[ibis.Table], ibis.Table]
"""An ETL step: a plain Ibis function."""


class Ingested(msgspec.Struct, frozen=True):
    """What one ingestion did: the segments written, rows read and written, and the refused rows by reason."""

    table: str
    segments: tuple[str, ...]
    rows_read: int
    rows: int
    refused: dict[str, int]


class _State(msgspec.Struct, frozen=True):
    """How far a source was read, under which declaration, and how many parts each group has by now."""

    spec: str
    position: Any = None
    parts: dict[str, int] = {}


def ingest(
    spec: Spec,
    write: Write,
    workspace: Workspace,
    now: datetime,
    steps: Sequence[Step] = (),
    progress: Progress = silent,
    *,
    again: bool = False,
) -> Ingested:
    """Ingest what is new since the last time; an interrupted run goes on where it stopped.

    `now` (aware) is the moment that rules about the past are held against. `steps` run on DuckDB, on the good rows of
    one batch at a time. `again`, like a changed declaration, reads everything once more, into the same segments.
    Refused rows go to the workspace's quarantine. Raises InvalidInput, InvalidData or Unavailable; what was read until
    then is written.
    """
    check_spec(spec)
    source: Source = spec.source
    folder = workspace.data / "ingest"
    state_file = folder / spec.table / f"{mark(type(source).__name__, source.address)}.json"
    declared = mark(msgspec.json.encode(spec).decode())
    state = _read_state(state_file)
    if again or state.spec != declared:
        state = _State(declared, None, state.parts)
    target = _Target(spec, write, steps, workspace)
    for found in source.batches(state.position, folder / "pages", now):
        known = state.parts.get(found.group, 0)
        if isinstance(found, End):
            for part in range(found.parts, known):
                target.empty(found.group, part)
            parts = found.parts
        else:
            target.take(found, now)
            parts = max(known, found.part + 1)
        state = _State(declared, found.position, state.parts | {found.group: parts})
        write_json(state_file, state)
        progress(f"ingest {spec.table}", target.rows_read, 0)
    progress(f"ingest {spec.table}", target.rows_read, target.rows_read)
    return Ingested(spec.table, tuple(target.segments), target.rows_read, target.rows, target.refused)


class _Target:
    """The table, its quarantine and its keys; it counts what goes where."""

    def __init__(self, spec: Spec, write: Write, steps: Sequence[Step], workspace: Workspace) -> None:
        self._spec, self._write, self._steps = spec, write, steps
        self._quarantine = workspace.quarantine / spec.table
        self._unique = next((check.columns for check in spec.checks if check.kind == "duplicate"), ())
        self._keys = Keys(workspace.data / "ingest" / spec.table / f"keys_{mark(*self._unique)}")
        self.segments: list[str] = []
        self.rows_read = self.rows = 0
        self.refused: dict[str, int] = {}

    def take(self, batch: Batch, now: datetime) -> None:
        """Write a batch's good rows as its segment, and its refused rows to the quarantine."""
        segment = _segment(batch.group, batch.part)
        sifted = sift(batch, self._spec, self._keys, now)
        table = transform(sifted.good, self._steps)
        quarantine(self._quarantine / f"{segment}.parquet", batch.original, sifted.verdict)
        self._write(self._spec.table, table, segment)
        if self._unique:
            self._keys.keep(batch.group, batch.part, sifted.keys)
        self.segments.append(segment)
        self.rows_read += len(sifted.verdict.reason)
        self.rows += len(table)
        for reason, count in sifted.verdict.counts().items():
            self.refused[reason] = self.refused.get(reason, 0) + count

    def empty(self, group: str, part: int) -> None:
        """Take the rows out of a segment whose source has no such part any more."""
        segment = _segment(group, part)
        self._write(self._spec.table, transform(no_rows(self._spec.columns), self._steps), segment)
        self._keys.forget(group, part)
        (self._quarantine / f"{segment}.parquet").unlink(missing_ok=True)


def transform(rows: pd.DataFrame, steps: Sequence[Step]) -> pd.DataFrame:
    """The rows after the ETL steps, by DuckDB in memory; whole numbers and booleans are pandas' nullable types."""
    if not steps:
        return rows
    engine = ibis.duckdb.connect()
    try:
        table: Any = ibis.memtable(rows)
        for step in steps:
            table = step(table)
        return engine.to_pyarrow(table).to_pandas(types_mapper=NULLABLE.get)
    finally:
        engine.disconnect()


def _segment(group: str, part: int) -> str:
    return f"{group}_{part:012d}"


def _read_state(path: Path) -> _State:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        return _State("")
    except msgspec.MsgspecError as error:
        raise InvalidData(
            f"{path} is damaged: {error}.", next_step="Remove it: the source is then read from its beginning."
        ) from None
