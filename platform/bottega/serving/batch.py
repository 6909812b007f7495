"""Batch prediction: a file of request rows answered by one version, in this process, in segments that survive a kill.

The output is a folder: `answers/` and `rejected/` with Parquet segments, each complete or absent, and `manifest.json`,
which says what the segments are of. A run that finds finished segments of the same job goes on after them.
"""

import contextlib
import fcntl
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidData, InvalidInput
from bottega.features.plan import Columns
from bottega.files import disk_errors, sha256, write_atomic, write_json
from bottega.progress import Progress, silent
from bottega.serving.batch_input import Chunk, RowSource, open_rows
from bottega.serving.endpoint import Endpoint
from bottega.serving.local import open_endpoint
from bottega.serving.rows import to_column
from bottega.workspace import Workspace

SEGMENT_ROWS = 50_000
ID = "id"
_PARTS = ("answers", "rejected")


class Job(msgspec.Struct, frozen=True):
    """What an output folder holds the answers of."""

    usecase: str
    version: int
    artifact_sha256: str
    input_sha256: str
    segment_rows: int


class Manifest(msgspec.Struct, frozen=True):
    """Content of `manifest.json`; the counts of rows are there once all of them are answered or rejected."""

    job: Job
    input: str
    complete: bool = False
    answered: int = 0
    rejected: int = 0


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
    with _alone(output):
        _begin(output, manifest, restart)
        done = next(n for n in range(10**9) if not _segment(output, "answers", n).exists())
        computed = _compute(endpoint, rows, output, segment_rows, done, progress)
        segments = done + computed
        answered, rejected = (_count(output, part, segments) for part in _PARTS)
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
            write_atomic(_segment(output, "rejected", number), _parquet(_rejected(chunk, checked.rejected)))
        write_atomic(_segment(output, "answers", number), _parquet(_answers(endpoint, chunk, checked)))
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


def _answers(endpoint: Endpoint, chunk: Chunk, checked: Checked) -> dict[str, tuple[np.ndarray | list, str]]:
    """Columns of an answers segment with their Arrow types; of a chunk without good rows they are empty."""
    plan, count = endpoint.plan, len(checked.places)
    answers = endpoint.answer(checked.columns) if count else {}
    table: dict[str, tuple[np.ndarray | list, str]] = {"row": (checked.places + chunk.first, "int64")}
    if ID in chunk.values:
        ids = chunk.values[ID]
        table[ID] = ([None if ids[i] is None else str(ids[i]) for i in checked.places.tolist()], "string")
    for field in plan.request:
        kind = "time" if field.is_time else field.datatype
        table[field.name] = (checked.columns.get(field.name, []), kind)
    for field in plan.answer:
        table[field.name] = (answers.get(field.name, []), field.datatype)
    table["model_version"] = (np.full(count, endpoint.version, np.int32), "INT32")
    return table


def _rejected(chunk: Chunk, reasons: Mapping[int, str]) -> dict[str, tuple[np.ndarray | list, str]]:
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


def _parquet(columns: Mapping[str, tuple[np.ndarray | list, str]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        **{"time": pa.timestamp("us", "UTC"), "int64": pa.int64(), "string": pa.string(), "BYTES": pa.string()},
        **{"BOOL": pa.bool_(), "INT32": pa.int32(), "INT64": pa.int64(), "FP32": pa.float32(), "FP64": pa.float64()},
    }
    arrays = [pa.array(values, types[kind], from_pandas=False) for values, kind in columns.values()]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), buffer)
    return buffer.getvalue()


def _segment(output: Path, part: str, number: int) -> Path:
    return output / part / f"{number:06d}.parquet"


def _count(output: Path, part: str, segments: int) -> int:
    import pyarrow.parquet as pq

    paths = [_segment(output, part, number) for number in range(segments)]
    return sum(pq.read_metadata(path).num_rows for path in paths if path.exists())


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output folder's lock, which a killed process gives back."""
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is a file.", next_step="Name a folder for the output.")
    lock = output / ".lock"
    with disk_errors(lock):
        output.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"Another process writes to {output}.", next_step="Wait until it ends.") from None
            yield


def _begin(output: Path, manifest: Manifest, restart: bool) -> None:
    """Start a job in the folder, or find its own there. Raises Conflict for another's."""
    path = output / "manifest.json"
    if restart and path.exists():
        for part in _PARTS:
            shutil.rmtree(output / part, ignore_errors=True)
        path.unlink(missing_ok=True)
    if path.exists():
        _check_same(output, _read(path).job, manifest.job)
    elif any(each.name != ".lock" for each in output.iterdir()):
        raise Conflict(f"{output} is not empty, and no batch prediction.", next_step="Name another folder.")
    for part in _PARTS:
        (output / part).mkdir(exist_ok=True)
        for left in (output / part).glob(".*"):  # half a segment of a killed run
            left.unlink()
    write_json(path, manifest)


def _read(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is damaged: {error}.", next_step="Start anew with --restart.") from None


def _check_same(output: Path, found: Job, job: Job) -> None:
    if found == job:
        return
    said = {
        "usecase": f"is of use case {found.usecase}, not {job.usecase}",
        "version": f"is of version {found.version}, not {job.version}",
        "artifact_sha256": f"is of another artefact of version {job.version}",
        "input_sha256": "is of another input, or the input has changed",
        "segment_rows": f"has segments of {found.segment_rows} rows, not {job.segment_rows}",
    }
    reason = next(text for name, text in said.items() if getattr(found, name) != getattr(job, name))
    raise Conflict(f"What is in {output} {reason}.", next_step="Name another folder, or start anew with --restart.")
