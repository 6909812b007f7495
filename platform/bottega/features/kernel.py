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
from bottega.features.tiles import Cells

SOURCE = Path(__file__).with_name("kernel.c")
MOST_WINDOWS = 64
_DECLARATIONS = """
typedef long long word;
typedef struct {
  word tile_us, states, windows, features, ttl;
  const word *kind, *cap, *neutral, *window;
  const word *numerator, *counted, *of_window, *squares, *divide, *scale;
  const double *fallback;
} Layout;
typedef struct { const word *tile, *available; const word *const *value; const word *const *pool; } Rows;
int read_windows(const Layout *, word rows, const word *at_us, const word *start, const word *const *records,
                 double *values, double *age_s, word *totals);
int read_one(const Layout *, word at_us, word count, const void *one, const void *other, double *values);
void merge_records(const Layout *, word count, const word *const *old, const Rows *fresh, const word *first,
                   const Rows *late, const word *late_first, word *out, word *ends);
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
    """The library's two functions on numpy arrays and a storage's buffers."""

    def __init__(self, path: Path) -> None:
        import cffi

        self._ffi: Any = cffi.FFI()
        self._ffi.cdef(_DECLARATIONS)
        self._library = self._ffi.dlopen(str(path))
        self._read_one, self._null = self._library.read_one, self._ffi.NULL
        self._bytes, self._integers, self._doubles = map(self._ffi.typeof, ("char[]", "word[]", "double[]"))
        self._view = self._ffi._backend.from_buffer  # ffi.from_buffer without its look at text for a type
        self._layouts: dict[int, tuple[Layout, Any, list[Any]]] = {}

    def read_one(
        self, layout: Layout, records: Sequence[bytes | memoryview], at_us: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One entity's features at a moment: values (features + 1, 1), the last being age_s (1,) float64."""
        if len(records) > 2:
            return self.read(layout, records, np.arange(len(records)), np.array([0, len(records)]), np.array([at_us]))
        view, pointer = self._view, self._layout(layout)
        found = np.empty((layout.room, 1))
        one = view(self._bytes, records[0]) if records else self._null
        other = view(self._bytes, records[1]) if len(records) == 2 else self._null
        failed = self._read_one(pointer, at_us, len(records), one, other, view(self._doubles, found))
        if failed:
            _explain(failed, records)
        return found, found[-1]

    def read(
        self,
        layout: Layout,
        records: Sequence[bytes | memoryview | None],
        which: np.ndarray,
        start: np.ndarray,
        at_us: np.ndarray,
        totals: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features of rows (batch,), each at `at_us`: values (features, batch) and age_s (batch,) float64.

        Row i reads the records `which[start[i]]` to `which[start[i + 1] - 1]`. `totals` (states, W, batch) int64 takes
        the window totals, where given.
        """
        ffi, view, kind = self._ffi, self._view, self._integers
        values, age_s = np.empty((len(layout.numerator), len(at_us))), np.empty(len(at_us))
        buffers = [ffi.NULL if content is None else view(kind, content) for content in records]
        pointers = ffi.new("word *[]", [buffers[i] for i in which.tolist()])
        failed = self._library.read_windows(
            self._layout(layout),
            len(at_us),
            self._words(at_us),
            self._words(start),
            pointers,
            ffi.from_buffer("double[]", values),
            ffi.from_buffer("double[]", age_s),
            ffi.NULL if totals is None else self._words(totals),
        )
        if failed:
            _explain(failed, records)
        return values, age_s

    def merge(
        self,
        layout: Layout,
        old: Sequence[bytes | memoryview | None],
        on_time: Cells,
        first: np.ndarray,
        late: Cells,
        late_first: np.ndarray,
    ) -> list[memoryview]:
        """Records with more cells: record i takes on-time cells first[i] to first[i + 1], and late ones likewise."""
        ffi, view, kind = self._ffi, self._view, self._integers
        for content in old:
            if content is not None:
                check_format(int.from_bytes(content[:8], "little", signed=True))
        room = sum(len(content) for content in old if content is not None) // 8 + _room(layout, on_time, late, len(old))
        out, ends = np.empty(room, np.int64), np.empty(len(old), np.int64)
        buffers = [ffi.NULL if content is None else view(kind, content) for content in old]
        fresh, kept = self._rows(layout, on_time)
        more, also_kept = self._rows(layout, late)
        self._library.merge_records(
            self._layout(layout),
            len(old),
            ffi.new("word *[]", buffers),
            fresh,
            self._words(first),
            more,
            self._words(late_first),
            self._words(out),
            self._words(ends),
        )
        del kept, also_kept
        whole = memoryview(out.view(np.uint8))  # type: ignore[arg-type]
        cuts = [0, *(8 * ends).tolist()]
        return [whole[begin:end] for begin, end in itertools.pairwise(cuts)]

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
        known = self._layouts.get(id(layout))
        if known is None:
            known = self._layouts[id(layout)] = (layout, *self._describe(layout))
        return known[1]

    def _describe(self, layout: Layout) -> tuple[Any, list[Any]]:
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
        }
        return self._ffi.new("Layout *", {**sizes, **pointers}), list(pointers.values())


def _room(layout: Layout, on_time: Cells, late: Cells, records: int) -> int:
    """Words that new cells may add to records at most: block sums may grow by one a record and state."""
    words = (len(on_time) + len(late)) * (2 * len(layout.states) + 2) + records * (3 * len(layout.states) + 3)
    return words + sum(len(values) for part in (on_time, late) for _, values in part.sets.values())


def _explain(failed: int, records: Sequence[bytes | memoryview | None]) -> None:
    if failed == 1:
        for content in records:
            if content is not None:
                check_format(int.from_bytes(content[:8], "little", signed=True))
    raise MemoryError("The feature kernel has no memory left.")
