"""An LMDB environment that grows when full, follows growth by another process, and opens once a process."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb

from bottega.errors import StorageError
from bottega.files import disk_errors

FIRST_BYTES = 1 << 26
_T = TypeVar("_T")
_open: "weakref.WeakValueDictionary[tuple[int, str], Environment]" = weakref.WeakValueDictionary()
"""LMDB forbids opening a path twice in a process; after a fork a child opens its own."""


class Environment:
    """One LMDB file: many reading processes beside one that writes.

    The lock keeps readers of this process away while the map is moved; other processes are kept apart by LMDB.
    """

    def __init__(self, path: Path) -> None:
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        try:
            self._lmdb = lmdb.open(str(path), map_size=FIRST_BYTES, max_readers=512, max_dbs=0)
        except lmdb.Error as error:
            raise StorageError(
                f"The online store {path} cannot be opened: {error}.",
                next_step="Remove the folder and materialise again, or choose another workspace.",
            ) from error
        self._lmdb.reader_check()
        self._path = path
        self._lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A read transaction; its buffers are valid inside the block only."""
        with self._lock:
            try:
                transaction = self._lmdb.begin(buffers=True)
            except lmdb.MapResizedError:
                self._lmdb.set_mapsize(0)
                transaction = self._lmdb.begin(buffers=True)
            with transaction:
                yield transaction

    def write(self, change: Callable[[lmdb.Transaction], _T]) -> _T:
        """Run `change` in one write transaction, all or nothing; where the map is full, again in one twice as large."""
        with self._lock:
            while True:
                try:
                    with self._lmdb.begin(write=True) as transaction:
                        return change(transaction)
                except lmdb.MapResizedError:
                    self._lmdb.set_mapsize(0)
                except lmdb.MapFullError:
                    self._lmdb.set_mapsize(2 * self._lmdb.info()["map_size"])
                except lmdb.Error as error:
                    raise StorageError(
                        f"The online store {self._path} cannot be written: {error}.",
                        next_step="Free some space on the disk, then repeat: nothing was changed.",
                    ) from error


def environment(path: Path) -> Environment:
    """The process's environment at `path`, opened on first use."""
    key = (os.getpid(), os.path.realpath(path))
    found = _open.get(key)
    if found is None:
        found = _open[key] = Environment(path)
    return found
