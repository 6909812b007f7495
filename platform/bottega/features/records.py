"""What lies in the online store: definitions, offsets, and each entity's chunks, as keys and bytes.

Keys: `view:<name>` and `offset:<name>` as text; a chunk's key is a zero byte, the view's number, the entity's keys and
the chunk's number.
"""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import lmdb
import msgspec
import numpy as np

from bottega.errors import Conflict, InvalidInput
from bottega.features import chunks
from bottega.features.chunks import CHUNK
from bottega.features.definition import Definition, Layout, layout_of
from bottega.features.tiles import Tiles

_NUMBER, _CHUNK_ID = struct.Struct(">BI"), struct.Struct(">I")
LAST_CHUNK = 2**32 - 1
"""The largest number of a chunk."""
_LONGEST_KEY = 400


class _Stored(msgspec.Struct, frozen=True):
    number: int
    definition: Definition


@dataclass(frozen=True, eq=False)
class Entry:
    """A view in the store: the prefix of its chunks' keys, its definition, and the layout that follows from it."""

    prefix: bytes
    definition: Definition
    layout: Layout

    @classmethod
    def decode(cls, content: bytes) -> "Entry":
        """Read what `declare` wrote."""
        stored = msgspec.json.decode(content, type=_Stored)
        return cls(_NUMBER.pack(0, stored.number), stored.definition, layout_of(stored.definition))

    def entity_prefix(self, keys: tuple[int | str, ...]) -> bytes:
        """The prefix of an entity's chunks; InvalidInput for a text key that is too long or holds a zero byte."""
        if self.definition.key_dtype != "string":
            return self.prefix + struct.pack(f">{len(keys)}q", *keys)
        text = "".join(f"{key}\0" for key in keys)
        if text.count("\0") != len(keys) or len(text.encode()) > _LONGEST_KEY:
            raise InvalidInput(
                f"The key {keys!r} of view {self.definition.view!r} is too long or holds a zero character.",
                next_step=f"Keys have at most {_LONGEST_KEY - len(keys)} bytes.",
            )
        return self.prefix + text.encode()


def entry_key(view: str) -> bytes:
    """Key of a view's definition."""
    return b"view:" + view.encode()


def offset_key(view: str) -> bytes:
    """Key of a view's offset."""
    return b"offset:" + view.encode()


def offset(transaction: lmdb.Transaction, view: str) -> int:
    """The position after the last row that was ingested."""
    return int(bytes(transaction.get(offset_key(view)) or b"0"))


def entries(transaction: lmdb.Transaction) -> list[Entry]:
    """All views in the store."""
    return [Entry.decode(content) for _, content in scan(transaction, b"view:")]


def declare(transaction: lmdb.Transaction, definition: Definition) -> Entry:
    """Note a view's definition; Conflict where the store's tiles do not fit it."""
    stored = [(msgspec.json.decode(content, type=_Stored)) for _, content in scan(transaction, b"view:")]
    same = next((s for s in stored if s.definition.view == definition.view), None)
    if same is not None and not definition.fits(same.definition):
        raise Conflict(
            f"The online store holds view {definition.view!r} with another tile, key or aggregation.",
            next_step="Drop it there (OnlineStore.drop) and materialise it again, or give the new view another name.",
        )
    number = same.number if same is not None else max((s.number for s in stored), default=0) + 1
    content = msgspec.json.encode(_Stored(number, definition))
    transaction.put(entry_key(definition.view), content)
    return Entry.decode(content)


def scan(transaction: lmdb.Transaction, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and contents below a prefix, copied."""
    cursor = transaction.cursor()
    found = cursor.set_range(prefix)
    while found and bytes(cursor.key()).startswith(prefix):
        yield bytes(cursor.key()), bytes(cursor.value())
        found = cursor.next()


def write_tiles(transaction: lmdb.Transaction, entry: Entry, tiles: Tiles) -> None:
    """Add tiles to what the store has."""
    keys = [key.tolist() for key in tiles.keys]
    start = tiles.start.tolist()
    for i, (begin, end) in enumerate(itertools.pairwise(start)):
        prefix = entry.entity_prefix(tuple(key[i] for key in keys))
        number = tiles.tile[begin:end] // CHUNK
        cuts = [begin, *(begin + 1 + np.flatnonzero(number[1:] != number[:-1])).tolist(), end]
        for first, last in itertools.pairwise(cuts):
            key = prefix + chunk_id(int(number[first - begin]))
            tile, state = tiles.tile[first:last], tiles.state[:, first:last]
            transaction.put(key, chunks.merge(transaction.get(key), entry.layout, tile, state))


def clear_tiles(transaction: lmdb.Transaction, entry: Entry, first_tile: int, end_tile: int) -> None:
    """Remove a view's tiles first_tile to end_tile (exclusive)."""
    for key, content in list(scan(transaction, entry.prefix)):
        chunk = _CHUNK_ID.unpack(key[-4:])[0]
        if (chunk + 1) * CHUNK <= first_tile or chunk * CHUNK >= end_tile:
            continue
        tile, state = chunks.unpack(content, entry.layout)
        keep = (tile < first_tile) | (tile >= end_tile)
        if keep.any():
            transaction.put(key, chunks.pack(entry.layout, tile[keep], state[:, keep]))
        else:
            transaction.delete(key)


def chunk_id(chunk: int) -> bytes:
    """The end of a chunk's key."""
    if not 0 <= chunk <= LAST_CHUNK:
        raise InvalidInput(
            f"An event lies in tile {chunk * CHUNK}, which the online store cannot hold.",
            next_step="Event times lie after 1970 and within a million years.",
        )
    return _CHUNK_ID.pack(chunk)
