"""Records in Redis: for readers on several machines. The only file that imports redis.

What survives a crash of the server is Redis' own setting: with `appendonly yes` and `appendfsync always` every write
that was answered. A write here is one MULTI/EXEC: after a crash all of it is there, or nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bottega.errors import Conflict, InvalidInput, StorageError, Unavailable, Unsupported
from bottega.features.storage import Content, Reading, T, Writing

PREFIX = b"bottega:"
_GENERATION, _KEYS = PREFIX + b"generation", PREFIX + b"keys"
"""A number that every write raises, and a sorted set of all keys, which makes prefixes searchable."""
TIMEOUT_S = 2.0
ATTEMPTS = 5


class RedisStorage:
    """Records in one database of a Redis server: `redis://[:password@]host:port/number`."""

    def __init__(self, address: str) -> None:
        try:
            import redis
        except ImportError:
            raise Unsupported(
                "The online store is in Redis, and the package for it is missing.",
                next_step="pip install 'bottega[redis]'",
            ) from None
        self._errors = redis.exceptions
        try:
            self._redis: Any = redis.Redis.from_url(
                address, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, decode_responses=False
            )
        except ValueError as error:
            raise InvalidInput(
                f"{address!r} is no address of a Redis database: {error}.", next_step="Write redis://host:port/0."
            ) from error
        self._address = address.partition("//")[2].rpartition("@")[2]

    def exists(self) -> bool:
        """Whether anything was ever written."""
        with self._told():
            return bool(self._redis.exists(_GENERATION))

    def read(self, use: Callable[[Reading], T]) -> T:
        """What `use` makes of the database; one `get_many` is one consistent look, several are not."""
        with self._told():
            return use(_Snapshot(self._redis))

    def write(self, change: Callable[[Writing], T]) -> T:
        """Run `change`, then send its puts and deletes as one transaction; again where another writer came first.

        Raises Conflict where other writers keep coming first.
        """
        with self._told():
            for _ in range(ATTEMPTS):
                with self._redis.pipeline() as pipe:
                    pipe.watch(_GENERATION)
                    changes = _Changes(_Snapshot(pipe))
                    found = change(changes)
                    pipe.multi()
                    changes.send(pipe)
                    pipe.incr(_GENERATION)
                    try:
                        pipe.execute()
                    except self._errors.WatchError:
                        continue
                return found
        raise Conflict(
            f"Other writers of the online store at {self._address} came first {ATTEMPTS} times.",
            next_step="Let one process write at a time.",
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Redis' errors as ours."""
        errors = self._errors
        try:
            yield
        except errors.AuthenticationError as error:
            raise Unavailable(
                f"Redis at {self._address} refuses the password: {error}.",
                next_step="Write redis://:password@host:port/0.",
            ) from error
        except (errors.ConnectionError, errors.TimeoutError) as error:
            raise Unavailable(
                f"Redis at {self._address} does not answer: {error}.",
                next_step="Start it (redis-server), or choose another online store.",
            ) from error
        except errors.OutOfMemoryError as error:
            raise StorageError(
                f"Redis at {self._address} has no memory left: nothing was changed.",
                next_step="Raise its maxmemory, or trim the store.",
            ) from error
        except errors.ReadOnlyError as error:
            raise StorageError(
                f"Redis at {self._address} is a replica that only reads: nothing was changed.",
                next_step="Write to its primary.",
            ) from error
        except errors.ResponseError as error:
            raise StorageError(f"Redis at {self._address} refuses: {error}.") from error


class _Snapshot:
    """Redis as Reading."""

    version: int | None = None

    def __init__(self, server: Any) -> None:
        self._server = server

    def get(self, key: bytes) -> Content | None:
        found: bytes | None = self._server.get(PREFIX + key)
        return found

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        return list(self._server.mget([PREFIX + key for key in keys])) if keys else []

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        keys = self._server.zrangebylex(_KEYS, b"[" + prefix, b"(" + prefix + b"\xff" * 8)
        contents = self.get_many(keys)
        yield from ((key, bytes(c)) for key, c in zip(keys, contents, strict=True) if c is not None)


class _Changes:
    """Puts and deletes that wait for the transaction's end, seen by its own reads."""

    version: int | None = None

    def __init__(self, before: _Snapshot) -> None:
        self._before = before
        self._changed: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> Content | None:
        return self._changed[key] if key in self._changed else self._before.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        asked = [key for key in keys if key not in self._changed]
        found = dict(zip(asked, self._before.get_many(asked), strict=True))
        return [self._changed[key] if key in self._changed else found[key] for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        found = dict(self._before.scan(prefix))
        mine = {key: content for key, content in self._changed.items() if key.startswith(prefix)}
        merged = {**found, **mine}
        yield from ((key, content) for key in sorted(merged) if (content := merged[key]) is not None)

    def put(self, key: bytes, content: bytes | memoryview) -> None:
        self._changed[key] = bytes(content)

    def put_many(self, items: Sequence[tuple[bytes, bytes | memoryview]]) -> None:
        self._changed.update((key, bytes(content)) for key, content in items)

    def delete(self, key: bytes) -> None:
        self._changed[key] = None

    def send(self, pipe: Any) -> None:
        """Queue all changes in a transaction."""
        kept = {key: content for key, content in self._changed.items() if content is not None}
        gone = [key for key, content in self._changed.items() if content is None]
        if kept:
            pipe.mset({PREFIX + key: content for key, content in kept.items()})
            pipe.zadd(_KEYS, dict.fromkeys(kept, 0))
        if gone:
            pipe.delete(*(PREFIX + key for key in gone))
            pipe.zrem(_KEYS, *gone)
