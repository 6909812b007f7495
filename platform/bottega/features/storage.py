"""Where the online store keeps its records: keys and values as bytes, in one of two databases.

LMDB by default: a memory map that many processes read while one writes. Redis where several machines read.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from bottega.errors import InvalidInput

T = TypeVar("T")
Content = bytes | memoryview


class Reading(Protocol):
    """A consistent snapshot. Its memory views are valid while it is open only.

    Two snapshots of the same `version` hold the same; None tells nothing.
    """

    version: int | None

    def get(self, key: bytes) -> Content | None:
        """The content of a key, or None."""

    def get_many(self, keys: Sequence[bytes]) -> list[Content | None]:
        """The contents of several keys, in their order."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and contents below a prefix, copied, in the order of the keys."""


class Writing(Reading, Protocol):
    """A snapshot that also takes changes; all of them or none become visible."""

    def put(self, key: bytes, content: bytes | memoryview) -> None:
        """Set the content of a key."""

    def put_many(self, items: Sequence[tuple[bytes, bytes | memoryview]]) -> None:
        """Set the contents of several keys; fastest where they are sorted."""

    def delete(self, key: bytes) -> None:
        """Remove a key, if it is there."""


class Storage(Protocol):
    """A database of records. Reading creates nothing."""

    def exists(self) -> bool:
        """Whether anything was ever written."""

    def read(self, use: Callable[[Reading], T]) -> T:
        """What `use` makes of a snapshot. It may run more than once, and must not mind."""

    def write(self, change: Callable[[Writing], T]) -> T:
        """Run `change` in one transaction, all or nothing. It may run more than once; one run takes effect."""


def open_storage(address: Path | str) -> Storage:
    """The database at an address: a folder for LMDB, or `redis://host:port/number`."""
    text = str(address)
    if text.startswith(("redis://", "rediss://")):
        from bottega.features.redis_storage import RedisStorage

        return RedisStorage(text)
    if isinstance(address, str) and "://" in address:
        raise InvalidInput(
            f"No online store is known at {address.partition('://')[0]}:// addresses.",
            next_step="Give a folder, or redis://host:port/0 (rediss:// with TLS).",
        )
    from bottega.features.lmdb_storage import LmdbStorage

    return LmdbStorage(Path(address).expanduser())
