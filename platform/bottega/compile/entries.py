"""Entries of a plan's tables, for a server: those that `Table.entries` finds, with less work for each request."""

from collections.abc import Sequence

import numpy as np

from bottega.features.tables import Table


class Entries:
    """Entries of key tuples in a table; one past the last where a key is out of range."""

    def __init__(self, table: Table) -> None:
        self.table, self.missing = table, len(table.known)
        bounds = (self.missing, *table.strides)
        self.keyed = [(stride, bound // stride) for bound, stride in zip(bounds, table.strides, strict=False)]

    def of_row(self, keys: Sequence[np.ndarray]) -> int:
        """Of the one row of a batch: no call of numpy's but one for each key."""
        entry = 0
        for key, (stride, size) in zip(keys, self.keyed, strict=True):
            whole = key.item()
            if not (0 <= whole < size and whole == int(whole)):
                return self.missing
            entry += int(whole) * stride
        return entry

    def of_rows(self, keys: Sequence[np.ndarray]) -> np.ndarray:
        """Of a batch: (batch,) int64."""
        if any(key.dtype.kind == "f" for key in keys):
            entry, known = self.table.entries(keys)
            return np.where(known, entry, self.missing)
        whole = [key.astype(np.int64) for key in keys]
        outside = whole[0].view(np.uint64) >= self.keyed[0][1]  # a negative number is a large one without its sign
        for key, (_, size) in zip(whole[1:], self.keyed[1:], strict=True):
            outside |= key.view(np.uint64) >= size
        entry = whole[-1]  # the last stride is 1
        for key, (stride, _) in zip(whole[:-1], self.keyed[:-1], strict=True):
            entry = entry + key * stride
        return np.where(outside, self.missing, entry) if outside.any() else entry


def with_default(table: Table, name: str) -> np.ndarray:
    """A column of the table, its default where an entry is unknown, and at the end; shared, so not to be written."""
    default = table.defaults[name]
    values = np.append(np.where(table.known, table.columns[name], default), default)
    values.flags.writeable = False
    return values
