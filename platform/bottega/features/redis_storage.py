"""Records in Redis: for readers on several machines. The only file that imports redis.

Every write changes one key, the generation, in the same MULTI/EXEC. Each look takes the generation with it, so a
snapshot notices a write that came between two looks, and starts again; a write that lost its answer finds out whether
it arrived. The server stands still while it executes a write, and with it all readers: 100,000 records take it about
a third of a second.

What survives a crash of the server is Redis' own setting: with `appendonly yes` and `appendfsync always` every write
that was answered, with `appendfsync everysec` all but the last second. A write is there whole, or not at all.
"""

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from bottega.errors import BottegaError, Conflict, InvalidInput, StorageError, Unavailable, Unsupported
from bottega.features.changes import Changes
from bottega.features.storage import Content, Reading, T, Writing

PREFIX = b"bottega:"
_GENERATION, _WRITES, _KEYS = PREFIX + b"generation", PREFIX + b"writes", PREFIX + b"keys"
"""A random number that every write replaces, the last of them in a list, and a sorted set of all keys."""
REMEMBERED = 100
"""Writes that the list holds: so many others may come between a write and the question whether it arrived."""
READ_TIMEOUT_S, WRITE_TIMEOUT_S = 1.0, 60.0
ATTEMPTS = 30
PIECE = 1000
"""Records of one command."""
_START = "Start it (redis-server), or choose another online store."
_ERRORS: tuple[tuple[str, str, type[BottegaError], str, str], ...] = (
    ("AuthenticationError", "", Unavailable, "refuses the password: {}.", "Write redis://:password@host:port/0."),
    ("BusyLoadingError", "", Unavailable, "is still loading its records.", "Repeat it in a moment."),
    ("ConnectionError", "", Unavailable, "does not answer: {}.", _START),
    ("TimeoutError", "", Unavailable, "does not answer: {}.", _START),
    ("OutOfMemoryError", "", StorageError, "has no memory left: nothing was changed.", "Raise its maxmemory."),
    ("ReadOnlyError", "", StorageError, "is a replica that only reads: nothing was changed.", "Write to its primary."),
    ("NoPermissionError", "", StorageError, "forbids it to this user: {}.", "Let the user use the keys bottega:*."),
    ("ResponseError", "MISCONF", StorageError, "cannot save: nothing was changed.", "Free some space on its disk."),
    ("RedisError", "", StorageError, "refuses: {}.", "Check that this is the address of a Redis server."),
)
"""Redis' errors by their class and a word that they hold, the first that fits."""


class RedisStorage:
    """Records in one database of a Redis server: `redis://[[user]:password@]host:port/number`."""

    def __init__(self, address: str) -> None:
        try:
            import redis
        except ImportError:
            raise Unsupported(
                "The online store is in Redis, and the package for it is missing.",
                next_step="pip install 'bottega[redis]'",
            ) from None
        self._errors = redis.exceptions
        self._address = address.partition("//")[2].rpartition("@")[2]  # without the password
        self._reader: Any
        self._writer: Any
        try:
            self._reader, self._writer = (
                redis.Redis.from_url(address, socket_timeout=timeout_s, socket_connect_timeout=READ_TIMEOUT_S)
                for timeout_s in (READ_TIMEOUT_S, WRITE_TIMEOUT_S)
            )
            self._reader.connection_pool.make_connection()  # connects nowhere, but knows which options there are
        except (ValueError, TypeError) as error:
            raise InvalidInput(
                f"{self._address!r} is no address of a Redis database: {error}.", next_step="Write redis://host:port/0."
            ) from None
        self._version: int | None = None
        self._keeps_all = False

    def exists(self) -> bool:
        """Whether anything was ever written."""
        if not self._version:
            with self._told():
                self._version = _version(self._reader.get(_GENERATION))
        return bool(self._version)

    def read(self, use: Callable[[Reading], T]) -> T:
        """What `use` makes of a snapshot: the version seen last, or else, with its first look, the present one."""
        with self._told():
            for _ in range(ATTEMPTS):
                if self._version is None:
                    self._version = _version(self._reader.get(_GENERATION))
                try:
                    return use(_Snapshot(self._reader, self._version))
                except _MovedOn as moved:
                    self._version = moved.version
        raise Unavailable(
            f"Redis at {self._address} was written {ATTEMPTS} times in the midst of a read.",
            next_step="Repeat it, and write in larger batches.",
        )

    def write(self, change: Callable[[Writing], T]) -> T:
        """Run `change`, then send its puts and deletes as one transaction; again where another writer came first.

        Raises Conflict where other writers keep coming first.
        """
        sent: dict[bytes, T] = {}  # by the generation that each attempt would have made
        with self._told(sent):
            self._check_keeps_all()
            for _ in range(ATTEMPTS):
                with contextlib.suppress(self._errors.WatchError, _MovedOn), self._writer.pipeline() as pipe:
                    pipe.watch(_GENERATION)
                    if sent:
                        for arrived in sent.keys() & set(pipe.lrange(_WRITES, 0, REMEMBERED)):
                            return sent[arrived]
                    changes = Changes(_Snapshot(pipe, _version(pipe.get(_GENERATION))))
                    found = change(changes)
                    if changes.changed:
                        generation = secrets.token_bytes(8)
                        _queue(pipe, changes.changed, generation)
                        sent[generation] = found
                        pipe.execute()  # a lost connection is a WatchError too
                    return found
        raise Conflict(
            f"Other writers of the online store at {self._address} came first {ATTEMPTS} times.",
            next_step="Let one process write at a time.",
        )

    def _check_keeps_all(self) -> None:
        """Refuse a server that may drop records to make room: a lost record would read as no events."""
        if self._keeps_all:
            return
        with contextlib.suppress(self._errors.NoPermissionError):
            memory = self._writer.info("memory")
            if memory.get("maxmemory") and memory.get("maxmemory_policy", "").startswith("allkeys"):
                raise StorageError(
                    f"Redis at {self._address} drops records when its memory is full "
                    f"(maxmemory-policy {memory['maxmemory_policy']}): nothing was changed.",
                    next_step="Set its maxmemory-policy to noeviction.",
                )
        self._keeps_all = True

    @contextlib.contextmanager
    def _told(self, sent: Collection[bytes] = ()) -> Iterator[None]:
        """Redis' errors as ours; `sent` are the writes of which some may have arrived."""
        try:
            yield
        except self._errors.RedisError as error:
            raise self._explained(error, bool(sent)) from error

    def _explained(self, error: Exception, sent: bool) -> BottegaError:
        fits = (row[2:] for row in _ERRORS if isinstance(error, getattr(self._errors, row[0])) and row[1] in str(error))
        kind, what, next_step = next(fits)
        if kind is Unavailable and sent:
            what += " Whether the write arrived is not known."
        return kind(f"Redis at {self._address} {what.format(error)}", next_step=next_step)


class _MovedOn(Exception):
    """Somebody wrote between two looks of a snapshot."""

    def __init__(self, version: int) -> None:
        self.version = version


class _Snapshot:
    """The database at one version as Reading; raises _MovedOn where it is at another by now."""

    def __init__(self, server: Any, version: int) -> None:
        self._server = server
        self.version: int | None = version

    def get(self, key: bytes) -> Content | None:
        return self.get_many((key,))[0]

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        contents: list[Content | None] = []
        for begin in range(0, max(len(keys), 1), PIECE):
            names = (PREFIX + key for key in keys[begin : begin + PIECE])
            generation, *found = self._server.mget((_GENERATION, *names))
            if _version(generation) != self.version:
                raise _MovedOn(_version(generation))
            contents += found
        return contents

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        first, end = b"[" + prefix, _end(prefix)
        keys = [b""] * PIECE
        while len(keys) == PIECE:
            keys = self._server.zrangebylex(_KEYS, first, end, 0, PIECE)
            contents = self.get_many(keys)
            yield from ((key, bytes(c)) for key, c in zip(keys, contents, strict=True) if c is not None)
            first = b"(" + keys[-1] if keys else end


def _version(generation: bytes | None) -> int:
    """A generation as a number; 0 for an empty database."""
    return int.from_bytes(generation or b"", "big")


def _end(prefix: bytes) -> bytes:
    """Where the keys below a prefix end, in Redis' words: before the next prefix of this length, or never."""
    cut = prefix.rstrip(b"\xff")
    return b"(" + cut[:-1] + bytes((cut[-1] + 1,)) if cut else b"+"


def _queue(pipe: Any, changed: dict[bytes, bytes | None], generation: bytes) -> None:
    """Queue a transaction of all changes."""
    pipe.multi()
    kept = [(key, content) for key, content in changed.items() if content is not None]
    gone = [key for key, content in changed.items() if content is None]
    for begin in range(0, len(kept), PIECE):
        piece = dict(kept[begin : begin + PIECE])
        pipe.mset({PREFIX + key: content for key, content in piece.items()})
        pipe.zadd(_KEYS, dict.fromkeys(piece, 0))
    for begin in range(0, len(gone), PIECE):
        names = gone[begin : begin + PIECE]
        pipe.delete(*(PREFIX + key for key in names))
        pipe.zrem(_KEYS, *names)
    pipe.set(_GENERATION, generation)
    pipe.lpush(_WRITES, generation)
    pipe.ltrim(_WRITES, 0, REMEMBERED - 1)
