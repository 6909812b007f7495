"""What makes a row that row, over all segments of a table: a 64-bit hash of its key, kept beside each segment."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from bottega.files import write_atomic

_NONE = np.array([], np.uint64)


def hashes(rows: pd.DataFrame) -> np.ndarray:
    """A hash of each row, (rows,) uint64."""
    return pd.util.hash_pandas_object(rows, index=False).to_numpy()


class Keys:
    """Keys below one folder, a file for each part of each group; one process uses the folder at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = set(folder.glob("*/*.npy"))
        self._known = _NONE  # sorted: the keys of all files but those in `_without`
        self._without = set(self._files)

    def repeated(self, group: str, part: int, keys: np.ndarray, good: np.ndarray) -> np.ndarray:
        """The good rows whose key an earlier good one of this part has, or any other segment.

        Parts of the same group from this one on do not count: they are about to be replaced.
        """
        known = self._others(group, part)
        at = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
        seen = known[at] == keys if len(known) else np.zeros(len(keys), bool)
        candidates = np.flatnonzero(good & ~seen)
        again = pd.Series(keys[candidates]).duplicated().to_numpy()
        seen[candidates[again]] = True
        return seen & good

    def keep(self, group: str, part: int, keys: np.ndarray) -> None:
        """Remember the keys of a part, whose repetitions were asked for just before."""
        file = self._file(group, part)
        buffer = io.BytesIO()
        np.save(buffer, keys)
        write_atomic(file, buffer.getvalue())
        self._files.add(file)
        self._without.discard(file)
        self._known = np.sort(np.concatenate([self._known, keys]), kind="stable")

    def forget(self, group: str, part: int) -> None:
        """Forget a part that is no more."""
        file = self._file(group, part)
        file.unlink(missing_ok=True)
        self._files.discard(file)
        self._known, self._without = _NONE, set(self._files)

    def _others(self, group: str, part: int) -> np.ndarray:
        replaced = {file for file in self._files if file.parent.name == group and int(file.stem) >= part}
        if replaced != self._without:
            counted = sorted(self._files - replaced)
            self._known = np.sort(np.concatenate([_NONE, *(np.load(file) for file in counted)]))
            self._without = replaced
        return self._known

    def _file(self, group: str, part: int) -> Path:
        return self._folder / group / f"{part:012d}.npy"
