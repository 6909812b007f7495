"""Native libraries at run time: TVM's runtime (3 MB) and its calling convention, without TVM's compiler or Python."""

import contextlib
import ctypes
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from bottega.errors import IntegrityError, Unavailable

_SUFFIX = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
ALIGNMENT = 64
"""Compiled code loads whole vector registers: its buffers start at a multiple of this many bytes."""

NativeFunction = Callable[..., None]
"""Tensors in, results into the last tensors; raises ValueError or TypeError for a wrong number, shape or datatype."""


def load(path: Path) -> Callable[[str], NativeFunction]:
    """Open a compiled library; the result looks up its functions by name.

    Raises IntegrityError where the file is no library of this machine.
    """
    ffi = _ffi()
    try:
        module = ffi.load_module(str(path.absolute()))
    except (RuntimeError, OSError) as error:
        raise IntegrityError(f"{path} does not load: {error}.", next_step="Compile the model again here.") from None
    return module.get_function


def tensor(array: np.ndarray) -> object:
    """The array as an argument of native functions; shares memory with it and keeps it alive."""
    return _ffi().from_dlpack(array)


def aligned(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array of zeros that starts at a multiple of `ALIGNMENT` bytes."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    block = np.zeros(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size].view(kind).reshape(shape)


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A C-contiguous copy that starts at a multiple of `ALIGNMENT` bytes."""
    copy = aligned(array.shape, array.dtype)
    copy[...] = array
    return copy


@functools.cache
def _ffi() -> ModuleType:
    """tvm_ffi, with TVM's runtime library in the process."""
    with _hidden("torch"):
        import tvm_ffi
    found = importlib.util.find_spec("tvm")  # finds the package's folder, imports nothing
    places = list(found.submodule_search_locations or []) if found else []
    for place in places:
        library = Path(place) / "lib" / f"libtvm_runtime.{_SUFFIX}"
        if library.is_file():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            return tvm_ffi
    raise Unavailable("TVM's runtime library was not found.", next_step="Install apache-tvm, as the lock says.")


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Keep an optional import of another package from succeeding: tvm_ffi loads torch (230 MB) wherever it finds it."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
