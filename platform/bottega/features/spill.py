"""Spill: tables in parts, in Arrow files of a temporary folder that is gone afterwards."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from bottega.files import disk_errors


class Spill:
    """Rows of named tables, each row in one of `parts` parts. Open it with `open_spill`."""

    def __init__(self, folder: Path, parts: int) -> None:
        self.parts = parts
        self._folder = folder
        self._files: dict[tuple[str, int], pa.OSFile] = {}
        self._writers: dict[tuple[str, int], pa.RecordBatchFileWriter] = {}

    def add(self, name: str, rows: pa.Table, part: np.ndarray) -> None:
        """Add rows to a table, each to its part (n,); rows of a part keep their order."""
        order = np.argsort(part.astype(np.uint16), kind="stable")  # two bytes sort by radix
        ordered = rows.take(pa.array(order))
        first = 0
        with disk_errors(self._folder):
            for number, count in enumerate(np.bincount(part, minlength=self.parts).tolist()):
                place = name, number
                if place not in self._files:
                    self._files[place] = pa.OSFile(str(self._path(*place)), "wb")
                    self._writers[place] = pa.ipc.new_file(self._files[place], rows.schema)
                self._writers[place].write_table(ordered.slice(first, count))
                first += count

    def read(self, name: str, part: int) -> pa.Table:
        """A table's rows in a part, which is given up with that. No row may be added afterwards."""
        path = self._path(name, part)
        with disk_errors(path):
            self._writers.pop((name, part)).close()
            self._files.pop((name, part)).close()
        with pa.memory_map(str(path)) as file:
            rows = pa.ipc.open_file(file).read_all()
        path.unlink()
        return rows

    def close(self) -> None:
        """Close all files."""
        for stream in (*self._writers.values(), *self._files.values()):
            with contextlib.suppress(OSError):  # what a full disk did not take is not wanted any more
                stream.close()

    def _path(self, name: str, part: int) -> Path:
        return self._folder / f"{name}.{part}.arrow"


@contextlib.contextmanager
def open_spill(parts: int) -> Iterator[Spill]:
    """An empty spill. Raises StorageError where the disk is full."""
    folder = Path(tempfile.mkdtemp(prefix="bottega-spill-"))
    spill = Spill(folder, parts)
    try:
        yield spill
    finally:
        spill.close()
        shutil.rmtree(folder, ignore_errors=True)
