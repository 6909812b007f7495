"""Static tables of a plan: values by integer keys, as dense arrays, kept in a file without code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottega.errors import InvalidInput


@dataclass(frozen=True)
class Table:
    """A static table, addressed by integer keys: entry `sum(key * stride)`.

    `known` (size,) marks the entries that exist, `columns` (size,) float64 each, `defaults` answer for the rest.
    """

    strides: tuple[int, ...]
    known: np.ndarray
    columns: dict[str, np.ndarray]
    defaults: dict[str, float]

    @classmethod
    def from_keys(
        cls,
        keys: Sequence[np.ndarray],
        columns: Mapping[str, np.ndarray],
        defaults: Mapping[str, float] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> "Table":
        """Build from key columns (rows,) of non-negative integers and value columns (rows,).

        `sizes` bounds each key (exclusive); without it, each key's largest value does.
        """
        bounds = [int(size) for size in sizes] if sizes is not None else [int(key.max()) + 1 for key in keys]
        strides = tuple(int(np.prod(bounds[i + 1 :], dtype=np.int64)) for i in range(len(bounds)))
        for key, bound in zip(keys, bounds, strict=True):
            if len(key) and not 0 <= np.min(key) <= np.max(key) < bound:
                raise InvalidInput(
                    f"A table's keys lie between {np.min(key)} and {np.max(key)}, not in 0 to {bound - 1}."
                )
        entry = sum(
            (np.asarray(k, np.int64) * s for k, s in zip(keys, strides, strict=True)), np.zeros(len(keys[0]), np.int64)
        )
        size = int(np.prod(bounds, dtype=np.int64))
        known = np.zeros(size, bool)
        known[entry] = True
        fill = {name: float((defaults or {}).get(name, np.nan)) for name in columns}
        dense = {name: np.full(size, fill[name]) for name in columns}
        for name, values in columns.items():
            dense[name][entry] = values
        return cls(strides, known, dense, fill)

    def entries(self, keys: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Entry of each key tuple and whether it is known: (batch,) int64 and (batch,) bool."""
        size = len(self.known)
        entry = np.zeros(len(keys[0]), np.int64)
        inside = np.ones(len(keys[0]), bool)
        bound = size
        for key, stride in zip(keys, self.strides, strict=True):
            given = np.asarray(key)
            if given.dtype.kind == "f":
                inside &= (given == np.floor(given)) & (np.abs(given) < 2**62)
                given = np.where(inside, given, 0)
            whole = given.astype(np.int64)
            inside &= (whole >= 0) & (whole < bound // stride)
            entry += whole * stride
            bound = stride
        entry = np.where(inside, entry, 0)
        return entry, inside & self.known[entry]

    def read(self, keys: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """The named columns at the keys, each (batch,) float64, with the default where a key is unknown."""
        entry, known = self.entries(keys)
        if known.all():
            return [self.columns[name][entry] for name in names]
        return [np.where(known, self.columns[name][entry], self.defaults[name]) for name in names]


Tables = dict[str, Table]


def save_tables(path: Path, tables: Tables) -> None:
    """Write tables to one `.npz` file (arrays only, no pickle)."""
    arrays: dict[str, np.ndarray] = {}
    for name, table in tables.items():
        arrays[f"{name}|strides"] = np.array(table.strides, np.int64)
        arrays[f"{name}|known"] = table.known
        for column, values in table.columns.items():
            arrays[f"{name}|column|{column}"] = values
            arrays[f"{name}|default|{column}"] = np.array(table.defaults[column])
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_tables(path: Path) -> Tables:
    """Read tables that `save_tables` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        loaded = {key: arrays[key] for key in arrays.files}
    tables: Tables = {}
    for name in dict.fromkeys(key.split("|")[0] for key in loaded):
        columns = {k.split("|")[2]: v for k, v in loaded.items() if k.startswith(f"{name}|column|")}
        defaults = {k.split("|")[2]: float(v) for k, v in loaded.items() if k.startswith(f"{name}|default|")}
        strides = tuple(int(s) for s in loaded[f"{name}|strides"])
        tables[name] = Table(strides, loaded[f"{name}|known"], columns, defaults)
    return tables
