"""Batch prediction: a file of request rows answered by one version, in this process, in segments that survive a kill.

A run that finds finished segments of the same job in the output folder goes on after them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.features.steps import Columns
from bottega.files import sha256, write_json
from bottega.progress import Progress, silent
from bottega.serving.batch_input import Chunk, RowSource, open_rows
from bottega.serving.batch_output import (
    PARTS,
    Column,
    Job,
    Manifest,
    alone,
    begin,
    count_rows,
    segment,
    write_segment,
)
from bottega.serving.endpoint import Endpoint
from bottega.serving.local import open_endpoint
from bottega.serving.rows import to_column
from bottega.workspace import Workspace

SEGMENT_ROWS = 50_000
ID = "id"


class BatchResult(msgspec.Struct, frozen=True):
    """What became of a file; `computed` of its `segments` were computed by this run, the others were there."""

    usecase: str
    version: int
    rows: int
    answered: int
    rejected: int
    segments: int
    computed: int
    output: str


def predict_file(
    workspace: Workspace,
    usecase: str,
    source: Path,
    output: Path,
    version: int | None = None,
    *,
    restart: bool = False,
    segment_rows: int = SEGMENT_ROWS,
    progress: Progress = silent,
) -> BatchResult:
    """Answer the request rows of a CSV or Parquet file, or a folder of Parquet files, into the folder `output`.

    Answers have the input's `row` (from 0), its `id` where it has that column, the request's and the answer's fields
    and the model's version; other columns of the input are left out. A row that a server would refuse is in
    `rejected/` with the reason. Nothing goes to the prediction log. Raises Conflict where `output` is another job's,
    unless `restart` has it removed, and where another process writes there.
    """
    endpoint = open_endpoint(workspace, usecase, version)
    rows = open_rows(source, endpoint.plan.request, (ID,))
    artifact = sha256(workspace.repository / usecase / str(endpoint.version) / "manifest.json")
    job = Job(usecase, endpoint.version, artifact, rows.digest(), segment_rows)
    manifest = Manifest(job, str(source))
    with alone(output):
        begin(output, manifest, restart)
        done = next(n for n in range(10**9) if not segment(output, "answers", n).exists())
        computed = _compute(endpoint, rows, output, segment_rows, done, progress)
        segments = done + computed
        answered, rejected = (count_rows(output, part, segments) for part in PARTS)
        final = msgspec.structs.replace(manifest, complete=True, answered=answered, rejected=rejected)
        write_json(output / "manifest.json", final)
    return BatchResult(usecase, job.version, answered + rejected, answered, rejected, segments, computed, str(output))


def _compute(
    endpoint: Endpoint, rows: RowSource, output: Path, segment_rows: int, done: int, progress: Progress
) -> int:
    """Write the segments after the first `done`; how many there were."""
    computed = 0
    progress("rows", min(done * segment_rows, rows.rows) if rows.rows else done * segment_rows, rows.rows)
    for chunk in rows.chunks(segment_rows, done * segment_rows):
        checked = check(endpoint, chunk)
        number = done + computed
        if checked.rejected:
            write_segment(output, "rejected", number, _rejected(chunk, checked.rejected))
        write_segment(output, "answers", number, _answers(endpoint, chunk, checked))
        computed += 1
        progress("rows", chunk.first + len(chunk), rows.rows)
    return computed


@dataclass(frozen=True)
class Checked:
    """The rows of a chunk that can be answered, by their `places`, as request columns; of the others the reasons."""

    places: np.ndarray
    columns: Columns
    rejected: Mapping[int, str]


def check(endpoint: Endpoint, chunk: Chunk) -> Checked:
    """Check all rows at once and, where one is bad, halves of them until it is found."""
    rejected = dict(chunk.broken)
    good: list[tuple[int, int, Columns]] = []
    waiting = [(0, len(chunk))]
    while waiting:
        start, stop = waiting.pop()
        try:
            columns = _columns(endpoint, chunk, start, stop)
        except InvalidInput as error:
            if stop - start == 1:
                rejected.setdefault(start, str(error))
                continue
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
        else:
            good.append((start, stop, columns))
    places = np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop, _ in good)])
    fields = [field.name for field in endpoint.plan.request] if good else []
    return Checked(places, {name: np.concatenate([c[name] for _, _, c in good]) for name in fields}, rejected)


def _columns(endpoint: Endpoint, chunk: Chunk, start: int, stop: int) -> Columns:
    columns: Columns = {}
    for field in endpoint.plan.request:
        values = chunk.values[field.name][start:stop]
        columns[field.name] = values if isinstance(values, np.ndarray) else to_column(field, values)
    endpoint.check(columns)
    return columns


def _answers(endpoint: Endpoint, chunk: Chunk, checked: Checked) -> dict[str, Column]:
    """Columns of an answers segment with their Arrow types; of a chunk without good rows they are empty."""
    plan, count = endpoint.plan, len(checked.places)
    answers = endpoint.answer(checked.columns) if count else {}
    table: dict[str, Column] = {"row": (checked.places + chunk.first, "int64")}
    if ID in chunk.values:
        ids = chunk.values[ID]
        table[ID] = ([None if ids[i] is None else str(ids[i]) for i in checked.places.tolist()], "string")
    for part, fields in ((checked.columns, plan.request), (answers, plan.answer)):
        for field in fields:
            if field.is_logged:
                kind = "time" if field.is_time else field.datatype
                table[field.name] = (part.get(field.name, []), f"{kind} list" if field.shape else kind)
    table["model_version"] = (np.full(count, endpoint.version, np.int32), "INT32")
    return table


def _rejected(chunk: Chunk, reasons: Mapping[int, str]) -> dict[str, Column]:
    """Columns of a rejected segment: row, reason, and as JSON what was given."""
    places = sorted(reasons)
    given = [{name: values[place] for name, values in chunk.values.items()} for place in places]
    return {
        "row": (np.array(places, np.int64) + chunk.first, "int64"),
        "reason": ([reasons[place] for place in places], "string"),
        "given": ([msgspec.json.encode(row, enc_hook=_plain).decode() for row in given], "string"),
    }


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)
