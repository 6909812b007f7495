"""The compiled kernel: kernel.c as a shared library, built at first use and kept in a cache folder of the user.

Without a C compiler nothing is built, and `load` says so with None: chunks.py then computes the same values, slower.
"""

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bottega import toolchain
from bottega.errors import StorageError, Unavailable, Unsupported
from bottega.features.chunks import check_format
from bottega.features.definition import Layout
from bottega.features.tiles import Cells, Tiles

SOURCE = Path(__file__).with_name("kernel.c")
MOST_WINDOWS = 64
_DECLARATIONS = """
typedef long long word;
typedef unsigned char byte;
typedef struct {
  word tile_us, states, windows, features, ttl, unsettled;
  const word *kind, *cap, *neutral, *window;
  const word *numerator, *counted, *of_window, *squares, *divide, *scale;
  const double *fallback;
} Layout;
typedef struct { const word *tile, *available; const word *const *value; const word *const *pool; } Rows;
typedef struct { byte *bytes; word used, room; } Memory;
int read_windows(const Layout *, word rows, const word *at_us, const word *start, const byte *const *records,
                 double *values, word *totals);
int read_one(const Layout *, word at_us, const void *one, const void *two, const void *three, double *values);
int add_rows(const Layout *, word count, const byte *const *old, const Rows *whole, const word *whole_first,
             const Rows *parts, const word *parts_first, Memory *out, word *ends);
int join_records(const Layout *, word count, const byte *const *one, const word *range, const byte *const *other,
                 const word *other_range, word settled, Memory *out, word *ends);
void release(byte *bytes);
"""
_KINDS = {"min": 1, "max": 2, "last_at": 3, "last": 4, "distinct": 5}


@functools.lru_cache(maxsize=1)
def load() -> "Kernel | None":
    """The kernel of this process, built where it was not yet; None where there is no compiler, or it fails."""
    try:
        path = build()
    except (Unavailable, StorageError):
        return None
    return None if path is None else Kernel(path)


def build(folder: Path | None = None) -> Path | None:
    """The library's path, compiled first where it is not there; None without a compiler."""
    return toolchain.shared_library(SOURCE, folder)


class Kernel:
    """The library's functions on numpy arrays and a storage's buffers."""

    def __init__(self, path: Path) -> None:
        import cffi

        self._ffi: Any = cffi.FFI()
        self._ffi.cdef(_DECLARATIONS)
        self._library = self._ffi.dlopen(str(path))
        self._read_one, self._null = self._library.read_one, self._ffi.NULL
        self._bytes, self._doubles = map(self._ffi.typeof, ("byte[]", "double[]"))
        self._view = self._ffi._backend.from_buffer  # ffi.from_buffer without its look at text for a type
        self._layouts: dict[int, tuple[Any, Layout, list[Any]]] = {}

    def read_one(self, layout: Layout, records: Sequence[bytes | memoryview | None], at_us: int) -> np.ndarray:
        """One entity's features at a moment from its records, None for those that are not there.

        Values (features + 1, 1) float64, the last being age_s.
        """
        if len(records) == 2:
            (one, two), three = records, None
        elif len(records) == 3:
            one, two, three = records
        else:
            return self.read(layout, records, np.array([0, len(records)]), np.array([at_us]))
        view, kind, null = self._view, self._bytes, self._null
        found = np.empty((layout.room, 1))
        failed = self._read_one(
            (self._layouts.get(id(layout)) or self._described(layout))[0],
            at_us,
            null if one is None else view(kind, one),
            null if two is None else view(kind, two),
            null if three is None else view(kind, three),
            view(self._doubles, found),
        )
        if failed:
            raise _explained(failed, records)
        return found

    def read(
        self,
        layout: Layout,
        records: Sequence[bytes | memoryview | None],
        start: np.ndarray,
        at_us: np.ndarray,
        totals: np.ndarray | None = None,
    ) -> np.ndarray:
        """Features of rows (batch,), each at `at_us`: values (features + 1, batch) float64, the last being age_s.

        Row i is told by the records start[i] to start[i + 1], None for those that are not there. `totals` (states, W,
        batch) int64 takes the window totals, where given.
        """
        ffi = self._ffi
        found = np.empty((layout.room, len(at_us)))
        failed = self._library.read_windows(
            self._layout(layout),
            len(at_us),
            self._words(at_us),
            self._words(start),
            self._pointers(records),
            ffi.from_buffer("double[]", found),
            ffi.NULL if totals is None else self._words(totals),
        )
        if failed:
            raise _explained(failed, records)
        return found

    def add_rows(
        self,
        layout: Layout,
        old: Sequence[bytes | memoryview | None],
        tiles: Tiles,
        whole_first: np.ndarray,
        parts_first: np.ndarray,
    ) -> list[memoryview]:
        """Records with more rows: record i takes whole tiles whole_first[i] to whole_first[i + 1], parts likewise."""
        whole, kept = self._rows(layout, tiles.whole)
        parts, also_kept = self._rows(layout, tiles.parts)
        first, also_first = self._words(whole_first), self._words(parts_first)
        found = self._joined(self._library.add_rows, layout, old, (), whole, first, parts, also_first)
        del kept, also_kept
        return found

    def join(
        self,
        layout: Layout,
        one: Sequence[bytes | memoryview | None],
        ranges: np.ndarray,
        other: Sequence[bytes | memoryview | None],
        other_ranges: np.ndarray,
        settled: int,
    ) -> list[bytes | memoryview]:
        """Records joined in pairs, of each the tiles in its range (n, 2), without parts of tiles before `settled`.

        A record that nothing changes comes back itself.
        """
        range_, other_range = self._words(ranges), self._words(other_ranges)
        joined = self._joined(
            self._library.join_records, layout, one, other, range_, self._pointers(other), other_range, settled
        )
        return [was if was is not None and not len(made) else made for made, was in zip(joined, one, strict=True)]

    def _joined(
        self,
        function: Any,
        layout: Layout,
        one: Sequence[bytes | memoryview | None],
        other: Sequence[bytes | memoryview | None],
        *arguments: Any,
    ) -> list[memoryview]:
        """What a function makes of records, one after the other in memory of its own."""
        if not one:
            return []
        ffi = self._ffi
        out, ends = ffi.new("Memory *"), np.empty(len(one), np.int64)
        failed = function(
            self._layout(layout), len(one), self._pointers(one), *arguments, out, ffi.from_buffer("word[]", ends)
        )
        owned = ffi.gc(out.bytes, self._library.release)
        if failed:
            raise _explained(failed, [*one, *other])
        whole = memoryview(ffi.buffer(owned, out.used))  # keeps the memory for as long as a part of it is in use
        return [whole[begin:end] for begin, end in itertools.pairwise([0, *ends.tolist()])]

    def _pointers(self, records: Sequence[bytes | memoryview | None]) -> Any:
        view, kind, null = self._view, self._bytes, self._null
        return self._ffi.new("byte *[]", [null if content is None else view(kind, content) for content in records])

    def _rows(self, layout: Layout, cells: Cells) -> tuple[Any, list[Any]]:
        ffi, kept = self._ffi, []
        value, pool = ffi.new("word *[]", len(layout.states)), ffi.new("word *[]", len(layout.states))
        state = np.ascontiguousarray(cells.state, np.int64)
        for i, one in enumerate(layout.states):
            if one.kind == "distinct":
                parts = [self._words(part) for part in cells.sets[i]]
                value[i], pool[i] = parts
                kept += parts
            else:
                value[i] = self._words(state[i])
        tile, available = self._words(cells.tile), self._words(cells.available_us)
        rows = ffi.new("Rows *", {"tile": tile, "available": available, "value": value, "pool": pool})
        return rows, [*kept, state, value, pool, tile, available]

    def _words(self, values: np.ndarray) -> Any:
        """An int64 array as the kernel sees it; the pointer keeps the array alive."""
        return self._ffi.from_buffer("word[]", np.ascontiguousarray(values, np.int64))

    def _layout(self, layout: Layout) -> Any:
        return (self._layouts.get(id(layout)) or self._described(layout))[0]

    def _described(self, layout: Layout) -> tuple[Any, Layout, list[Any]]:
        """A layout as the kernel sees it, with what it points to: kept, as reads come again and again."""
        if len(layout.windows) > MOST_WINDOWS:
            raise Unsupported(
                f"A view has {len(layout.windows)} different windows; {MOST_WINDOWS} is the limit.",
                next_step="Declare a second view for some of its features.",
            )
        divide = layout.per_count[:, 0] + 2 * layout.if_any[:, 0]
        arrays = {
            "kind": np.array([_KINDS.get(state.kind, 0) for state in layout.states]),
            "cap": np.array([state.cap for state in layout.states]),
            "neutral": layout.neutral,
            "window": layout.windows,
            "numerator": layout.numerator,
            "counted": layout.counted,
            "of_window": layout.window,
            "squares": layout.squares,
            "divide": divide,
            "scale": layout.scale[:, 0],
        }
        pointers: dict[str, Any] = {name: self._words(values) for name, values in arrays.items()}
        pointers["fallback"] = self._ffi.from_buffer("double[]", np.ascontiguousarray(layout.default[:, 0]))
        sizes = {
            "tile_us": layout.tile_us,
            "states": len(layout.states),
            "windows": len(layout.windows),
            "features": len(layout.numerator),
            "ttl": layout.ttl,
            "unsettled": layout.unsettled,
        }
        described = self._ffi.new("Layout *", {**sizes, **pointers})
        self._layouts[id(layout)] = found = (described, layout, list(pointers.values()))
        return found


def _explained(failed: int, records: Sequence[bytes | memoryview | None]) -> MemoryError:
    """Raise IntegrityError for the first record of another format; the other failure is a lack of memory."""
    if failed == 1:
        for content in records:
            if content is not None:
                check_format(content)
    return MemoryError("The feature kernel has no memory left.")
