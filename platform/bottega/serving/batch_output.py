"""The output folder of a batch prediction: segments, each complete or absent, and what they are of.

`answers/` and `rejected/` hold Parquet segments; `manifest.json` names the job. One process at a time writes there.
"""

import contextlib
import fcntl
import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidData, InvalidInput
from bottega.files import disk_errors, write_atomic, write_json

PARTS = ("answers", "rejected")
Column = tuple[np.ndarray | list, str]
"""Values, and their datatype: the protocol's, or `time`, `int64`, `string`."""


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


def write_segment(output: Path, part: str, number: int, columns: Mapping[str, Column]) -> None:
    """Write one segment; until it is there, there is nothing of it."""
    write_atomic(segment(output, part, number), _parquet(columns))


def _parquet(columns: Mapping[str, Column]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        **{"time": pa.timestamp("us", "UTC"), "int64": pa.int64(), "string": pa.string(), "BYTES": pa.string()},
        **{"BOOL": pa.bool_(), "INT32": pa.int32(), "INT64": pa.int64(), "FP32": pa.float32(), "FP64": pa.float64()},
    }
    types |= {f"{kind} list": pa.list_(found) for kind, found in types.items()}
    arrays = [
        pa.array(list(values) if kind.endswith(" list") else values, types[kind], from_pandas=False)
        for values, kind in columns.values()
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), buffer)
    return buffer.getvalue()


def segment(output: Path, part: str, number: int) -> Path:
    """Where a segment is."""
    return output / part / f"{number:06d}.parquet"


def count_rows(output: Path, part: str, segments: int) -> int:
    """Rows of one part in the first `segments` segments."""
    import pyarrow.parquet as pq

    paths = [segment(output, part, number) for number in range(segments)]
    return sum(pq.read_metadata(path).num_rows for path in paths if path.exists())


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
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


def begin(output: Path, manifest: Manifest, restart: bool) -> None:
    """Start a job in the folder, or find its own there. Raises Conflict for another's."""
    path = output / "manifest.json"
    if restart and path.exists():
        for part in PARTS:
            shutil.rmtree(output / part, ignore_errors=True)
        path.unlink(missing_ok=True)
    if path.exists():
        _check_same(output, _read(path).job, manifest.job)
    elif any(each.name != ".lock" for each in output.iterdir()):
        raise Conflict(f"{output} is not empty, and no batch prediction.", next_step="Name another folder.")
    for part in PARTS:
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
