"""Records in LMDB: a map that grows when full, follows growth by another process, and opens once a process.

A write that returned is on the disk; after a crash it is there whole, or not at all.
"""

import functools
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
_open: "weakref.WeakValueDictionary[str, _Environment]" = weakref.WeakValueDictionary()
"""LMDB forbids opening a path twice in a process."""
_storages: "weakref.WeakSet[LmdbStorage]" = weakref.WeakSet()
_opening = threading.Lock()


class LmdbStorage:
    """Records in the LMDB file of a folder, which the first write creates."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._environment: _Environment | None = None
        _storages.add(self)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._environment is not None or (self._path / "data.mdb").exists()

    def read(self, use: Callable[[Reading], T]) -> T:
        """What `use` makes of a snapshot."""
        if self._environment is None and not self.exists():
            return use(_Nothing())
        return (self._environment or self._opened()).read(use)

    def write(self, change: Callable[[Writing], T]) -> T:
        """Run `change` in one transaction, all or nothing; again where the map was too small for it."""
        return (self._environment or self._opened()).write(change)

    def _opened(self) -> "_Environment":
        _forget_after_fork()
        with _opening:
            path = os.path.realpath(self._path)
            found = _open.get(path)
            if found is None:
                found = _open[path] = _Environment(self._path)
            self._environment = found
        return found


@functools.cache
def _forget_after_fork() -> None:
    """From now on a forked child opens its own environments: LMDB's must not cross a fork."""

    def forget() -> None:
        global _opening
        _opening = threading.Lock()
        _open.clear()
        for storage in _storages:
            storage._environment = None

    os.register_at_fork(after_in_child=forget)


class _Environment:
    """One LMDB file: many readers, in this process and others, beside one writer, who does not hold them up.

    Two locks of this process, taken in this order: `_writing` for a writer's whole transaction, `_reading` for a
    read. To move the map takes both, since nobody may use it then.
    """

    def __init__(self, path: Path) -> None:
        try:
            with disk_errors(path):
                path.mkdir(parents=True, exist_ok=True)
            self._lmdb = lmdb.open(str(path), map_size=FIRST_BYTES, max_readers=512, max_dbs=0)
        except (FileExistsError, NotADirectoryError):
            raise StorageError(
                f"The online store {path} cannot be opened: that is a file.", next_step="Name a folder."
            ) from None
        except lmdb.Error as error:
            raise StorageError(
                f"The online store {path} cannot be opened: {error}.",
                next_step="Check that its files may be written; if damaged, remove them and materialise again.",
            ) from error
        self._lmdb.reader_check()
        self._path = path
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._snapshot = _Transaction()

    def read(self, use: Callable[[Reading], T]) -> T:
        while True:
            try:
                with self._reading:
                    transaction = self._lmdb.begin(None, None, False, True)  # read-only, with buffers: by place, fast
                    try:
                        return use(self._snapshot.of(transaction, transaction.id()))
                    finally:
                        transaction.abort()
            except lmdb.MapResizedError:
                with self._writing:
                    self._resize(0)
            except lmdb.Error as error:
                raise StorageError(
                    f"The online store {self._path} cannot be read: {error}.",
                    next_step="With too many readers, end some; if its files are damaged, materialise again.",
                ) from error

    def write(self, change: Callable[[Writing], T]) -> T:
        with self._writing:
            while True:
                try:
                    with self._lmdb.begin(write=True, buffers=True) as transaction:
                        return change(_Transaction().of(transaction, None))
                except lmdb.MapResizedError:
                    self._resize(0)
                except lmdb.MapFullError:
                    if not self._lmdb.reader_check():  # a reader that died holds on to pages nobody needs
                        self._resize(2 * self._lmdb.info()["map_size"])
                except lmdb.Error as error:
                    raise StorageError(
                        f"The online store {self._path} cannot be written: {error}.",
                        next_step="Free some space on the disk, then repeat: nothing was changed.",
                    ) from error

    def _resize(self, size: int) -> None:
        """Move the map to one of `size` bytes, 0 for the size that another process gave it."""
        with self._reading:
            self._lmdb.set_mapsize(size)


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


class _Nothing:
    """The snapshot of a store that nobody wrote yet."""

    version: int | None = None

    def get(self, key: bytes) -> Content | None:
        return None

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        return [None] * len(keys)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())
