"""Records in LMDB: a map that grows when full, follows growth by another process, and opens once a process."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import lmdb

from bottega.errors import StorageError
from bottega.features.storage import Content, Reading, T, Writing
from bottega.files import disk_errors

FIRST_BYTES = 1 << 26
_open: "weakref.WeakValueDictionary[tuple[int, str], _Environment]" = weakref.WeakValueDictionary()
"""LMDB forbids opening a path twice in a process; after a fork a child opens its own."""


class LmdbStorage:
    """Records in the LMDB file of a folder, which the first write creates."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._environment: _Environment | None = None

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._environment is not None or (self._path / "data.mdb").exists()

    def read(self, use: Callable[[Reading], T]) -> T:
        """What `use` makes of a snapshot."""
        return (self._environment or self._opened()).read(use)

    def write(self, change: Callable[[Writing], T]) -> T:
        """Run `change` in one transaction, all or nothing; again where the map was too small for it."""
        return (self._environment or self._opened()).write(change)

    def _opened(self) -> "_Environment":
        key = (os.getpid(), os.path.realpath(self._path))
        found = _open.get(key)
        if found is None:
            found = _open[key] = _Environment(self._path)
        self._environment = found
        return found


class _Environment:
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
        self._snapshot = _Transaction()

    def read(self, use: Callable[[Reading], T]) -> T:
        with self._lock:
            try:
                transaction = self._lmdb.begin(None, None, False, True)  # read-only, with buffers: by place, for speed
            except lmdb.MapResizedError:
                self._lmdb.set_mapsize(0)
                transaction = self._lmdb.begin(buffers=True)
            try:
                return use(self._snapshot.of(transaction, transaction.id()))
            finally:
                transaction.abort()

    def write(self, change: Callable[[Writing], T]) -> T:
        with self._lock:
            while True:
                try:
                    with self._lmdb.begin(write=True, buffers=True) as transaction:
                        return change(_Transaction().of(transaction, None))
                except lmdb.MapResizedError:
                    self._lmdb.set_mapsize(0)
                except lmdb.MapFullError:
                    self._lmdb.set_mapsize(2 * self._lmdb.info()["map_size"])
                except lmdb.Error as error:
                    raise StorageError(
                        f"The online store {self._path} cannot be written: {error}.",
                        next_step="Free some space on the disk, then repeat: nothing was changed.",
                    ) from error


class _Transaction:
    """An LMDB transaction as Reading and Writing."""

    __slots__ = ("_transaction", "get", "version")

    get: Callable[[bytes], Content | None]
    version: int | None

    def of(self, transaction: lmdb.Transaction, version: int | None) -> "_Transaction":
        """This object for another transaction: making one for each read would cost more than the read's look-ups."""
        self._transaction = transaction
        self.get = transaction.get
        self.version = version
        return self

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        return list(map(self.get, keys))

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._transaction.cursor()
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            yield bytes(cursor.key()), bytes(cursor.value())
            found = cursor.next()

    def put(self, key: bytes, content: bytes | memoryview) -> None:
        self._transaction.put(key, content)

    def put_many(self, items: Sequence[tuple[bytes, bytes | memoryview]]) -> None:
        self._transaction.cursor().putmulti(items)

    def delete(self, key: bytes) -> None:
        self._transaction.delete(key)
