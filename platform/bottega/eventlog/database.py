"""The file of the embedded log: one SQLite connection, its transactions, and its errors said plainly."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bottega.errors import Conflict, InvalidData, StorageError, Unavailable
from bottega.files import disk_errors

FORMAT = 1
_LONG_BYTES = 4_000_000  # a write-ahead log that is longer makes readers slower
_APPLICATION = 0x4254476C  # "BTGl" in the file's header: an event log of Bottega
_TABLES = (
    "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " begin_offset INTEGER NOT NULL, end_offset INTEGER NOT NULL)",
    "CREATE TABLE readers (reader TEXT NOT NULL, topic TEXT NOT NULL, committed_offset INTEGER NOT NULL,"
    " PRIMARY KEY (reader, topic)) WITHOUT ROWID",
)


class _Opened(NamedTuple):
    process: int
    connection: sqlite3.Connection
    lock: threading.Lock


_inherited: list[_Opened] = []
"""Connections that came over a fork: never used, and never closed, since the file's locks are the parent's."""


class Database:
    """One connection to the file, which threads use one after the other and a forked process opens anew."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._long_bytes = _LONG_BYTES
        self._opened: _Opened | None = self._open()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the file for the whole block."""
        opened = self._mine()
        with opened.lock, database_errors(self._path, self._timeout_s), _transaction(opened.connection, "BEGIN"):
            yield opened.connection

    @contextlib.contextmanager
    def writing(self, otherwise: str) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it: `otherwise` is what the error then says, "nothing was appended"."""
        opened = self._mine()
        with opened.lock, database_errors(self._path, self._timeout_s, otherwise):
            with _transaction(opened.connection, "BEGIN IMMEDIATE"):
                yield opened.connection
            self._checkpoint(opened.connection)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move a long write-ahead log into the file, while no other process can commit.

        SQLite's own checkpoints run beside commits, which before 3.51.3 can lose a commit
        (https://sqlite.org/wal.html#walresetbug). TRUNCATE holds the lock that a commit needs.
        """
        log = self._path.with_name(f"{self._path.name}-wal")
        if not log.exists() or log.stat().st_size < self._long_bytes:
            return
        connection.execute("PRAGMA busy_timeout = 1000")
        with contextlib.suppress(sqlite3.Error):  # what was committed stays in the write-ahead log
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            # Where a reader keeps an old state open, not every append waits for it.
            self._long_bytes = log.stat().st_size + _LONG_BYTES if busy else _LONG_BYTES
        connection.execute(f"PRAGMA busy_timeout = {int(self._timeout_s * 1000)}")

    def close(self) -> None:
        """Close the connection; a transaction after that is refused."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.process == os.getpid():
            with opened.lock:
                opened.connection.close()

    def _mine(self) -> _Opened:
        opened = self._opened
        if opened is None:
            raise Conflict(f"The event log {self._path} is closed.", next_step="Open it again.")
        if opened.process != os.getpid():
            _inherited.append(opened)
            opened = self._opened = self._open()
        return opened

    def _open(self) -> _Opened:
        _make_folder(self._path)
        with database_errors(self._path, self._timeout_s):
            connection = sqlite3.connect(
                self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection, self._path)
            except BaseException:
                connection.close()
                raise
        return _Opened(os.getpid(), connection, threading.Lock())


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make_folder(path: Path) -> None:
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StorageError(
            f"The event log {path} cannot be used: a part of its path is a file.", next_step="Name another path."
        ) from None


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables where the file is new; refuse a file that is not a log, or that a newer Bottega wrote."""
    if not _is_log(connection, path):
        connection.execute("BEGIN IMMEDIATE")
        if not _is_log(connection, path):  # another process may have made it meanwhile
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")


def _is_log(connection: sqlite3.Connection, path: Path) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application and not found and not tables:
        return False
    if application != _APPLICATION:
        raise InvalidData(f"{path} is a database, but not an event log.", next_step="Name another file.")
    if found > FORMAT:
        raise StorageError(
            f"The event log {path} has format {found}, this Bottega knows up to {FORMAT}: a newer version wrote it.",
            next_step="Update Bottega, or name another file.",
        )
    return True


@contextlib.contextmanager
def database_errors(path: Path, timeout_s: float, otherwise: str = "") -> Iterator[None]:
    """Turn SQLite's errors into ours: what happened to which file, what is kept, and what to do."""
    kept = f": {otherwise}" if otherwise else ""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            raise Unavailable(
                f"Another process kept {path} locked for {timeout_s:g} s{kept}.",
                next_step="Try again, or find the process that writes for so long.",
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise StorageError(
                f"No space is left on the disk while writing {path}{kept}.",
                next_step="Free some space, or trim the log's oldest records.",
            ) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise InvalidData(
                f"The event log {path} is damaged ({error}){kept}.",
                next_step="Restore it from a copy, or move it away and append again from the source.",
            ) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
            raise StorageError(
                f"The event log {path} cannot be used ({error}){kept}.",
                next_step="It must be a file that this user may read and write, beside files of its own name.",
            ) from error
        raise
